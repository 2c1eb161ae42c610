"""A user's lexicon: entries, case, phones, and lines that are none."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mamtra_cli.errors import DataError
from mamtra_cli.text.respelling import Respelling
from mamtra_cli.text.segments import Given, stand_in

LINES = "# names\nXiaomi\tshau me\nnginx = engine x\nGIF  /jh ih1 f/\n\n"


def test_words_are_said_as_the_lexicon_has_them() -> None:
    words = Given()
    said = Respelling.parse(LINES).apply("Nginx, NGINX and Xiaomi; a GIF, gif, nginxs", words)
    assert said == f"engine x, engine x and shau me; a {stand_in(0)}, gif, nginxs"
    assert words.phones == {stand_in(0): ("jh", "ih1", "f")}
    assert words.restored(said) == "engine x, engine x and shau me; a GIF, gif, nginxs"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a\tb\nword", "line 2: `word` is no entry"),
        ("a = /x", "phones stand as"),
        ("a = //", "phones stand as"),
        ("... = b", "is no word"),
        ("a = " + "b" * 300, "longer than"),
    ],
)
def test_a_line_that_is_no_entry_is_named(lines: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Respelling.parse(lines)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt"):
        Respelling.read(tmp_path / "none.txt")
    (tmp_path / "l.txt").write_bytes(b"\xff\xfea")
    with pytest.raises(DataError, match="UTF-8"):
        Respelling.read(tmp_path / "l.txt")


@given(st.text(max_size=80), st.text(max_size=40))
def test_no_lexicon_makes_a_traceback(lines: str, text: str) -> None:
    try:
        respelling = Respelling.parse(lines)
    except DataError:
        return
    respelling.apply(text, Given())


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(DataError, match="more than"):
        Respelling.read(Path("/dev/zero"))
