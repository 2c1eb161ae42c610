"""What is said for a text, with the lexicon of mini."""

from functools import cache
from pathlib import Path

from mamtra_cli import models
from mamtra_cli.families.phones import LEXICON, Lexicon
from mamtra_cli.text.english import normalise


@cache
def lexicon() -> Lexicon:
    """The lexicon of mini, read once."""
    return Lexicon.load(Path(models.__file__).parent / "mini" / LEXICON)


def said(text: str) -> str:
    """Spoken words of a text."""
    return normalise(text, lexicon().__contains__)
