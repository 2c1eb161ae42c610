"""Text to the ids of a language model: what a family's front end must do. Types only."""

from collections.abc import Mapping
from typing import Protocol

from mamtra_cli.text.reading import Word


class FrontEnd(Protocol):
    """Text to the ids a language model reads."""

    def split(self, text: str, max_ids: int) -> list[str]:
        """Speakable pieces of a text, normalised, each of at most `max_ids` ids.

        Raises:
            TextError: there is nothing to speak, or something that cannot be.
        """
        ...

    def ids(self, text: str) -> list[int]:
        """Ids of one piece. Nothing in the text can act as a control."""
        ...

    def prompt_ids(self, text: str) -> list[int]:
        """Ids of what the recording of a voice says."""
        ...

    def instruction_ids(self, text: str) -> list[int]:
        """Ids of how to speak, in the model's own template; nothing in it can act as a control.

        Raises:
            UsageError: the model was not taught to follow instructions.
        """
        ...

    def unreadable(self, character: str) -> bool:
        """Whether there is no reading for a character; such are taken out before `split`."""
        ...

    def shown(self, piece: str) -> list[Word]:
        """What is said for one piece, for a person to see."""
        ...

    def spans(self, piece: str) -> list[tuple[str, int]]:
        """What the ids of a piece say, in order: each word and how many ids are its own.

        Pauses and marks are "", and so is everything where ids cannot be told apart by words.
        """
        ...

    def with_phones(self, phones: Mapping[str, tuple[str, ...]]) -> "FrontEnd":
        """The same front end, which says these words by these phones.

        Raises:
            TextError: phones that the model does not have, or any where it reads letters.
        """
        ...

    def with_rules(self, rules: str) -> "FrontEnd":
        """The same front end with other rules for numbers and signs.

        Args:
            rules: `own`, `published` or `none`.

        Raises:
            UsageError: the model has no such rules.
        """
        ...
