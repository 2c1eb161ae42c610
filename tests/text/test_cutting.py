"""Where a text is cut: sentences, list lines, verses, and stops that end nothing."""

import re
from typing import Any

import pytest

from mamtra_cli.text import cutting, rules
from mamtra_cli.text.cutting import sentence_at, sentences


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        pytest.param("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"], id="plain"),
        pytest.param("Dr. Smith left. He ran.", ["Dr. Smith left.", "He ran."], id="title"),
        pytest.param("At 5 p.m. he left. So?", ["At 5 p.m. he left.", "So?"], id="lower-goes-on"),
        pytest.param("J. R. Smith is no. 5.", ["J. R. Smith is no. 5."], id="initials"),
        pytest.param("It costs 3.5. Yes.", ["It costs 3.5.", "Yes."], id="decimal"),
        pytest.param('"Go." She went.', ['"Go."', "She went."], id="quotes"),
        pytest.param("A title\n\nSome text", ["A title", "Some text"], id="paragraphs"),
        pytest.param("Wait... what? No.", ["Wait...", "what?", "No."], id="dots"),
        pytest.param("I said no. He left.", ["I said no.", "He left."], id="no-is-a-word"),
    ],
)
def test_sentences_end_where_a_reader_stops(text: str, pieces: list[str]) -> None:
    assert sentences(text) == pieces


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        pytest.param("The U.S. Army is large.", ["The U.S. Army is large."], id="initials-go-on"),
        pytest.param("J.R.R. Tolkien. He wrote.", ["J.R.R. Tolkien.", "He wrote."], id="name"),
        pytest.param("In the U.S. She left.", ["In the U.S.", "She left."], id="initials-end"),
        pytest.param("Plan B. Go!", ["Plan B.", "Go!"], id="a-letter-ends"),
        pytest.param("At 9 Elm St. He slept.", ["At 9 Elm St.", "He slept."], id="street-ends"),
        pytest.param("It is 6 ft. He is tall.", ["It is 6 ft.", "He is tall."], id="unit-ends"),
        pytest.param("1. Mix it.\n2. Bake.", ["1. Mix it.", "2. Bake."], id="numbered"),
        pytest.param("a) one\nb) two", ["a) one", "b) two"], id="lettered"),
        pytest.param("- milk\n- bread", ["- milk", "- bread"], id="bullets"),
        pytest.param("Roses are red\nViolets are blue", ["Roses are red", "Violets are blue"],
                     id="verse"),
        pytest.param("# Title\nit goes", ["# Title", "it goes"], id="heading"),
        pytest.param("so it goes\non and on", ["so it goes on and on"], id="wrapped"),
        pytest.param("w " * 40 + "met\nJohn there.", ["w " * 40 + "met John there."],
                     id="long-line-is-wrapped"),
    ],
)  # fmt: skip
def test_lines_and_initials(text: str, pieces: list[str]) -> None:
    assert sentences(text) == pieces


def test_sentence_of_a_place() -> None:
    text = "One two.\nThree four. Five."
    assert sentence_at(text, text.index("four")) == "Three four."
    assert sentence_at(text, text.index("One")) == "One two."


class Watched(str):
    """A text that counts the characters that are sliced out of it."""

    read = 0

    def __getitem__(self, key: Any) -> str:
        part = super().__getitem__(key)
        Watched.read += len(part)
        return part


@pytest.mark.parametrize("text", ["It was so. ", "J. R. Smith. "], ids=["sentences", "initials"])
def test_a_stop_is_judged_by_what_is_near_however_long_the_text(text: str) -> None:
    whole = Watched(text * 1000)
    Watched.read = 0
    for stop in re.finditer(r"\.(?=\s)", whole):
        cutting.is_abbreviation(whole, stop)
        rules.before(stop)
        rules.after(stop)
    assert Watched.read < 16 * rules.NEAR * text.count(".") * 1000
