"""Tags in plain text: pauses, voices, phones; and that nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mamtra_cli.errors import TextError
from mamtra_cli.text.segments import Script, Segment, stand_in
from mamtra_cli.text.tags import parse


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("plain [text] <b>", [Segment(text="plain [text] <b>")]),
        ("wait [pause:1s] here", [Segment(text="wait "), Segment(pause=1), Segment(text=" here")]),
        ("a [pause:300ms]", [Segment(text="a "), Segment(pause=0.3)]),
        ("a [pause] b", [Segment(text="a "), Segment(pause=0.5), Segment(text=" b")]),
        ('a <break time="1s"/>', [Segment(text="a "), Segment(pause=1)]),
        ('a <break strength="weak">', [Segment(text="a "), Segment(pause=0.25)]),
        ("[voice:bob] Hi. [voice:amy] Yes. [/voice] End.",
         [Segment(text=" Hi. ", voice="bob"), Segment(text=" Yes. ", voice="amy"),
          Segment(text=" End.")]),
        ("[Kokoro](/kˈOkəɹO/) is here", [Segment(text="Kokoro is here")]),
    ],
)  # fmt: skip
def test_tags_become_segments(text: str, segments: list[Segment]) -> None:
    assert list(parse(text).segments) == segments


def test_phones_stand_in_for_words() -> None:
    script = parse("say [[ k ae1 t ]] and [[ d ao1 g ]]")
    assert script.given.phones == {stand_in(0): ("k", "ae1", "t"), stand_in(1): ("d", "ao1", "g")}
    assert script.segments[0].text == f"say {stand_in(0)} and {stand_in(1)}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n[pause:soon]", "line 2.*no length"),
        ("[pause:90s]", "longer than 60"),
        ("[[  ]]", "no phones"),
        ("a [pause:60s] b" * 31, "1860 s together"),
        ('<break strength="loud"/>', "no strength"),
    ],
)
def test_a_tag_that_cannot_be_is_named_with_its_place(text: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        parse(text)


@given(st.text(alphabet="[]pausevoicr:1s. <b>/()k\n\"='", max_size=60))
def test_no_text_makes_a_traceback_and_no_word_is_lost(text: str) -> None:
    try:
        script = parse(text)
    except TextError:
        return
    assert isinstance(script, Script)
    if not any(sign in text for sign in "[<"):
        assert "".join(segment.text for segment in script.segments).split() == text.split()


def test_stand_ins_differ() -> None:
    assert len({stand_in(number) for number in range(2000)}) == 2000
