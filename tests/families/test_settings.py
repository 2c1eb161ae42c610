"""`NAME=VALUE` words against a dataclass of knobs: kinds, bounds and what is told of a mistake."""

from dataclasses import dataclass
from typing import Annotated

import pytest

from mamtra_cli.errors import UsageError
from mamtra_cli.families.settings import told
from mamtra_cli.recipes.knob import Knob


@dataclass(frozen=True, kw_only=True)
class Settings:
    rate: Annotated[float | None, Knob("Phones a second.", low=0, high=40)] = 15.0
    shares: Annotated[tuple[float, ...] | None, Knob("Shares.", low=0, high=1)] = (1.0,)
    slow: Annotated[bool, Knob("Slow.")] = False
    name: Annotated[str, Knob("A name.")] = ""
    hidden: int = 3


def test_words_become_values_of_their_kind() -> None:
    words = ["rate=none", "shares=0.5, 0.25", "slow=on", "name=a=b"]
    assert told(Settings(), words) == Settings(rate=None, shares=(0.5, 0.25), slow=True, name="a=b")
    assert told(Settings(), []) == Settings()


@pytest.mark.parametrize(
    ("word", "fact", "hint"),
    [
        ("rat=3", "cannot be told `rat`", "did you mean `rate`"),
        ("hidden=3", "cannot be told `hidden`", "it can be told: rate"),
        ("rate", "has no value", "rate=VALUE"),
        ("rate=fast", "not a number", ""),
        ("rate=41", "`rate` cannot be 41", "from 0 to 40"),
        ("rate=nan", "cannot be nan", "from 0 to 40"),
        ("shares=0.5,2", "`shares` cannot be 2", "from 0 to 1"),
        ("shares=a", "numbers with commas", ""),
        ("slow=perhaps", "not on or off", ""),
    ],
)
def test_a_mistake_is_told_with_what_would_do(word: str, fact: str, hint: str) -> None:
    with pytest.raises(UsageError, match=fact) as said:
        told(Settings(), [word])
    assert hint in str(said.value.hint or "")
