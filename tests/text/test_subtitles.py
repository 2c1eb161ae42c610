from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mamtra_cli.recipes.times import TimedWord
from mamtra_cli.text.subtitles import LONGEST, Cue, cues, srt, vtt

WRITTEN = "In 1999, the old ship left the harbour at 5 pm, and " + "nobody saw it again, " * 5


def said(text: str) -> list[TimedWord]:
    """Half a second a word, figures in two words."""
    words: list[str] = []
    for word in text.replace(",", "").lower().split():
        words += ["some", "number"] if word.isdigit() else [word]
    return [TimedWord(word=w, start=i / 2, end=i / 2 + 0.5) for i, w in enumerate(words)]


def test_a_short_piece_is_one_cue() -> None:
    assert list(cues("Hello there.", 1.0, 2.0)) == [Cue(text="Hello there.", start=1.0, end=2.0)]


def test_a_long_piece_is_parted_where_a_word_is_said_as_written() -> None:
    words = said(WRITTEN)
    found = list(cues(WRITTEN, 0.0, words[-1].end, words))
    assert len(found) > 1
    assert all(len(cue.text) <= LONGEST for cue in found)
    assert found[0].text.endswith(",")
    assert found[1].start in [word.start for word in words]


def test_a_long_piece_without_word_times_stays_whole() -> None:
    assert len(list(cues(WRITTEN, 0.0, 9.0))) == 1


@given(st.text(max_size=300), st.lists(st.text(min_size=1, max_size=8), max_size=40))
def test_cues_hold_every_word_once_and_follow_each_other(text: str, spoken: list[str]) -> None:
    words = [TimedWord(word=w, start=i, end=i + 1) for i, w in enumerate(spoken)]
    found = list(cues(text, 0.0, 41.0, words))
    assert " ".join(cue.text for cue in found).split() == text.split()
    assert all(one.end == two.start for one, two in pairwise(found))
    assert all(cue.start <= cue.end for cue in found)


def test_formats() -> None:
    cue = Cue(text="a <b> & c", start=3661.5, end=3662.0049)
    assert srt([cue]) == "1\n01:01:01,500 --> 01:01:02,005\na <b> & c\n\n"
    assert vtt([cue]) == "WEBVTT\n\n01:01:01.500 --> 01:01:02.005\na &lt;b&gt; &amp; c\n\n"
