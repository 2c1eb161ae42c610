"""A text as it was written: tags, a lexicon, signs, and words that stand for phones."""

import pytest

from mamtra_cli.errors import TextError
from mamtra_cli.text.respelling import Respelling
from mamtra_cli.text.signs import Sieve, pictorial
from mamtra_cli.text.written import read_written, readable

TEXT = "A GIF [pause:1s] of [[k ae1 t]] [voice:m1]GIF."


def test_tags_and_lexicon_go_together() -> None:
    script = read_written(TEXT, lexicon=Respelling.parse("GIF\t/jh ih1 f/"))
    assert list(script.given.phones.values()) == [("k", "ae1", "t"), *[("jh", "ih1", "f")] * 2]
    shown = [script.given.restored(part.text).split() for part in script.segments]
    assert shown == [["A", "GIF"], [], ["of", "k", "ae1", "t"], ["GIF."]]
    assert [part.voice for part in script.segments] == ["", "", "", "m1"]


def test_without_tags_everything_is_text() -> None:
    (part,) = read_written(TEXT, tags=False).segments
    assert part.text == TEXT


def test_a_script_loses_its_unreadable_signs() -> None:
    script = readable(read_written("Well done! \U0001f389 [pause] Go on."), Sieve(pictorial))
    assert [part.text.strip() for part in script.segments] == ["Well done!", "", "Go on."]
    with pytest.raises(TextError):
        readable(read_written("\U0001f389"), Sieve(pictorial, "refuse"))
