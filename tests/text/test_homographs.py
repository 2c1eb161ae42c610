"""Homographs: the cues beside a word tell its sound."""

import pytest

from mamtra_cli.text.homographs import kind, phones


@pytest.mark.parametrize(
    ("text", "word", "sound"),
    [
        ("i read it yesterday .", "read", "r eh1 d"),
        ("they read books .", "read", "r iy1 d"),
        ("mary read it aloud .", "read", "r eh1 d"),
        ("a good read .", "read", "r iy1 d"),
        ("it was read aloud .", "read", "r eh1 d"),
        ("made of lead .", "lead", "l eh1 d"),
        ("she took the lead .", "lead", None),
        ("the wound hurts .", "wound", "w uw1 n d"),
        ("he wound the clock .", "wound", "w aw1 n d"),
        ("a bow and arrow .", "bow", "b ow1"),
        ("the bass guitar .", "bass", "b ey1 s"),
        ("he caught a bass .", "bass", "b ae1 s"),
        ("minute details matter .", "minute", "m ay n uw1 t"),
        ("a minute later .", "minute", None),
        ("content with life .", "content", "k ax n t eh1 n t"),
        ("live music tonight .", "live", "l ay1 v"),
        ("they live music .", "live", "l ih1 v"),
        ("she dove in .", "dove", "d ow1 v"),
        ("a dove flew .", "dove", None),
        ("arithmetic is fun .", "arithmetic", "ax r ih1 th m ax t ih k"),
        ("the arithmetic mean .", "arithmetic", None),
        ("send your resume .", "resume", "r eh1 z ax m ey"),
    ],
)
def test_sense_by_neighbours(text: str, word: str, sound: str | None) -> None:
    tokens = text.split()
    place = tokens.index(word)
    found = phones(word, tokens[:place], tokens[place + 1 :])
    assert found == (sound.split() if sound else None)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [("to", "it", "v"), ("a", "fell", "n"), ("", "them", "v"), ("she", ".", "n")],
)
def test_kind_by_neighbours(before: str, after: str, found: str) -> None:
    assert kind("record", "nv", before, after) == found
