"""Which kinds of layer there are: a letter, a name and the file that states the rest.

A new kind is one file that ends in `KIND = ...` (a `Kind`, see base.py) and one line in `_KINDS`.
Nothing is imported until a kind is asked for, so plans and the command line stay free of torch.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from mamtra_cli.errors import PlanError, UsageError

if TYPE_CHECKING:
    from mamtra_cli.backbone.kinds.base import Kind

ATTENTION = "T"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A kind as far as a plan knows it.

    Attributes:
        name: in words.
        file: module with the `KIND` of this letter.
        mixer: the word of `MixerConfig.mixer` that asks for it; "" for layers that models have of
            their own, which replace nothing.
        lone: choices made for this kind say nothing of other kinds.
    """

    name: str
    file: str
    mixer: str = ""
    lone: bool = False


_HERE = "mamtra_cli.backbone.kinds."

_KINDS: dict[str, Entry] = {
    "T": Entry(name="full attention", file=f"{_HERE}attention"),
    "M": Entry(name="Mamba-2", file=f"{_HERE}mamba2", mixer="mamba2"),
    "S": Entry(name="sliding-window attention", file=f"{_HERE}window", mixer="swa", lone=True),
    "W": Entry(name="window and state", file=f"{_HERE}window_state", mixer="swa+ssm"),
    "G": Entry(name="gated delta rule", file=f"{_HERE}gdn", mixer="gdn"),
    "N": Entry(name="native Mamba-2", file=f"{_HERE}native"),
}


def register(letter: str, entry: Entry) -> None:
    """Let `letter` stand for another kind."""
    if len(letter) != 1 or not letter.isupper():
        raise ValueError(f"a kind's letter is one capital, got {letter!r}")
    if letter in _KINDS:
        raise ValueError(f"letter {letter!r} is taken")
    _KINDS[letter] = entry


def kinds() -> dict[str, Entry]:
    """All kinds by letter, in the order in which they are told."""
    return dict(_KINDS)


def replacing() -> str:
    """Letters of the kinds that can stand in for attention."""
    return "".join(letter for letter, entry in _KINDS.items() if entry.mixer)


def told() -> str:
    """The kinds in words, for a hint."""
    return "kinds are " + ", ".join(f"{letter} {entry.name}" for letter, entry in _KINDS.items())


def letter_of(mixer: str) -> str:
    """The letter of the layers that a `MixerConfig.mixer` asks for."""
    for letter, entry in _KINDS.items():
        if entry.mixer == mixer and mixer:
            return letter
    known = ", ".join(entry.mixer for entry in _KINDS.values() if entry.mixer)
    raise UsageError(f"mixer option `mixer` cannot be `{mixer}`", f"choose one of {known}")


@cache
def _load(file: str) -> "Kind":
    kind: Kind = import_module(file).KIND
    return kind


def kind_of(letter: str) -> "Kind":
    """Everything that a letter's file states."""
    if letter not in _KINDS:
        raise PlanError(f"layer kind `{letter}` is unknown", told())
    return _load(_KINDS[letter].file)
