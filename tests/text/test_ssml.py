"""SSML: the subset, what is refused by name, and that no document makes a traceback."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mamtra_cli.errors import TextError
from mamtra_cli.text.segments import Segment, stand_in
from mamtra_cli.text.tags import parse


def words(text: str) -> str:
    return " ".join(" ".join(segment.text for segment in parse(text).segments).split())


def test_breaks_voices_and_rates() -> None:
    script = parse(
        '<speak>One<break time="250ms"/><voice name="amy">two '
        '<prosody rate="slow">three</prosody></voice> <prosody rate="+20%">four</prosody></speak>'
    )
    assert list(script.segments) == [
        Segment(text="One"),
        Segment(pause=0.25),
        Segment(text="two ", voice="amy"),
        Segment(text="three ", voice="amy", rate=0.75),
        Segment(text="four", rate=1.2),
    ]


@pytest.mark.parametrize(
    ("inside", "spoken"),
    [
        ('<sub alias="World Wide Web">WWW</sub>', "World Wide Web"),
        ('<say-as interpret-as="characters">abc</say-as>', "A B C"),
        ('<say-as interpret-as="digits">2024</say-as>', "2 0 2 4"),
        ('<say-as interpret-as="ordinal">21</say-as>', "twenty first"),
        ('<say-as interpret-as="date">May 5</say-as>', "May 5"),
        ("<p>One</p><s>two</s>", "One two"),
        ("a &amp; b <!-- c -->", "a & b"),
    ],
)
def test_elements_of_words(inside: str, spoken: str) -> None:
    assert words(f"<speak>{inside}</speak>") == spoken


def test_phones_of_a_word() -> None:
    script = parse('<speak>say <phoneme ph="k ae1 t">cat</phoneme></speak>')
    assert script.given.phones == {stand_in(0): ("k", "ae1", "t")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<speak>a", "not well formed"),
        ("<speak><audio src='x'/></speak>", "`<audio>` is not read"),
        ("<speak><sub>x</sub></speak>", "needs `alias`"),
        ("<speak><prosody rate='9'>x</prosody></speak>", "outside 0.25 to 4"),
        ("<speak><prosody rate='quick'>x</prosody></speak>", "no rate"),
        ("<speak><say-as interpret-as='song'>x</say-as></speak>", "read as `song`"),
        ("<speak>" + "<s>" * 60 + "</s>" * 60 + "</speak>", "nested"),
        ('<speak><!DOCTYPE x [<!ENTITY a "b">]>&a;</speak>', "DOCTYPE"),
        ("<speaker>x</speaker>", "begins with"),
        ('<?xml version="1.0"?><!DOCTYPE speak [<!ENTITY a "b">]><speak>&a;</speak>', "DOCTYPE"),
        ("<!DOCTYPE speak SYSTEM 'x.dtd'>\n<speak>a</speak>", "DOCTYPE"),
    ],
)
def test_what_is_not_in_the_subset_is_named(text: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        parse(text)


PARTS = ["<p>", "</p>", "<s>", "</s>", "<break/>", '<break time="1s"/>', '<voice name="a">',
"</voice>",
         "a", "&amp;", "&", "<", "<sub alias='b'>", "</sub>", "<?x?>", "<![CDATA[x]]>",
         "\x00"]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=12))
def test_no_document_makes_a_traceback(parts: list[str]) -> None:
    try:
        parse(f"<speak>{''.join(parts)}</speak>")
    except TextError:
        return


@pytest.mark.parametrize(
    "head", ['<?xml version="1.0" encoding="UTF-8"?>\n', "<!-- a note -->\n", "\n "]
)
def test_a_document_may_say_first_that_it_is_xml(head: str) -> None:
    script = parse(f"{head}<speak>one <break time='1s'/> two</speak>")
    assert [part.text.strip() or part.pause for part in script.segments] == ["one", 1.0, "two"]
