"""A text to pieces, and pieces to the ids of phones, in one language.

Words are pronounced alone, so the ids of joined pieces are the joined ids, and a text can be cut
anywhere between words. Knows no model; which program pronounces is in `phones.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mamtra_cli.errors import TextError, UsageError
from mamtra_cli.families.zonos.phones import Pronounce, check_language, espeak, phones
from mamtra_cli.families.zonos.symbols import phone_ids
from mamtra_cli.text.english import written_out
from mamtra_cli.text.reading import Word
from mamtra_cli.text.signs import pictorial

ENDS = (  # where a text may be cut, best first
    re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])\s*"),
    re.compile(r"(?<=[,;:—])\s+|(?<=[、，；：])\s*"),
    re.compile(r"\s+"),
)
AROUND = 2  # begin and end


@dataclass(frozen=True, kw_only=True)
class ZonosFrontEnd:
    """See `families.front_end.FrontEnd`.

    Attributes:
        language: code of the language.
        pronounce: words to phones.
        given: phones to use in place of those of the text, "" for none.
        own: write English numbers and signs as words by our own rules, before words are pronounced;
            else that is left to the program that pronounces, as it was published.
    """

    language: str = "en-us"
    pronounce: Pronounce = espeak
    given: str = ""
    own: bool = True

    def __post_init__(self) -> None:
        check_language(self.language)

    def split(self, text: str, max_ids: int) -> list[str]:
        """Pieces of at most `max_ids` ids: sentences together where they fit, else cut smaller.

        Raises:
            TextError: there is nothing to speak, or a word that is too long.
        """
        text = " ".join(self._written(text).split())
        if self.given:
            if len(self.ids(text)) > max_ids:
                raise TextError(
                    f"the phones given are more than {max_ids - AROUND}", "give fewer at a time"
                )
            return [text]
        return self._cut(text, max_ids, 0)

    def ids(self, text: str) -> list[int]:
        """Rows of the phones of one piece, between begin and end."""
        return phone_ids(self.given or phones(text, self.language, self.pronounce))

    def prompt_ids(self, text: str) -> list[int]:
        """Rows of the phones of what a clip says."""
        return phone_ids(phones(self._written(text), self.language, self.pronounce))

    def instruction_ids(self, text: str) -> list[int]:
        """Refuse: the model follows settings, not words.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "this model does not follow instructions in words", "use `--set`, such as emotion=..."
        )

    def unreadable(self, character: str) -> bool:
        """Whether a character is a picture or a control, which no speaker says."""
        return pictorial(character)

    def shown(self, piece: str) -> list[Word]:
        """Words of a piece, each with its phones."""
        if self.given:
            return [Word(word=piece, phones=tuple(self.given.split()))]
        return [
            Word(word=word, phones=(phones(word, self.language, self.pronounce),))
            for word in piece.split()
        ]

    def spans(self, piece: str) -> list[tuple[str, int]]:
        """All ids as one: no model of these tells when it says which."""
        return [("", len(self.ids(piece)))]

    def with_phones(self, phones: Mapping[str, tuple[str, ...]]) -> "ZonosFrontEnd":
        """Refuse phones for single words."""
        if phones:
            raise TextError(
                "this model takes phones for a whole text only", "respell the word with letters"
            )
        return self

    def with_rules(self, rules: str) -> "ZonosFrontEnd":
        """The front end with our own rules for English; none were published beside espeak's."""
        return replace(self, own=rules == "own")

    def _written(self, text: str) -> str:
        english = self.own and not self.given and self.language.startswith("en")
        return written_out(text) if english else text

    def _cut(self, text: str, limit: int, level: int) -> list[str]:
        if not any(character.isalnum() for character in text):
            raise TextError("there is nothing to speak", "give a text with words")
        if self._length(text) <= limit:
            return [text]
        if level == len(ENDS):
            raise TextError(f"`{text[:40]}` is too long for one word", "put spaces into it")
        parts = [part for part in ENDS[level].split(text) if part and not part.isspace()]
        pieces: list[str] = []
        for part in parts:
            if not any(character.isalnum() for character in part):
                continue
            joined = f"{pieces[-1]} {part}" if pieces else part
            if pieces and self._length(joined) <= limit:
                pieces[-1] = joined
            else:
                pieces += self._cut(part, limit, level + 1)
        return pieces

    def _length(self, text: str) -> int:
        """Ids of a text."""
        return len(phones(text, self.language, self.pronounce)) + AROUND
