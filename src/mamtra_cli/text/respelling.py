"""A user's lexicon: how words are said, one a line, by other letters or by phones.

    # comments and empty lines
    Xiaomi    shau me
    GIF       /jh ih1 f/
    nginx  =  engine x

A word written with capitals stands for that writing only, one in small letters for any. Values
are text or, between slashes, phones of the model. Knows no model.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from mamtra_cli.errors import DataError
from mamtra_cli.text.encoding import read_text
from mamtra_cli.text.segments import Given

LONGEST = 200  # characters of a word or of what is said for it
_LINE = re.compile(r"(?P<word>[^\t=]+?)\s*(?:\t|=|\s{2,})\s*(?P<value>.+)")


@dataclass(frozen=True, kw_only=True)
class Respelling:
    """Words and what is said for them."""

    words: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Respelling":
        """Read a lexicon file.

        Raises:
            DataError: it cannot be read, or a line is no entry; the line is named.
        """
        return cls.parse(read_text(path, absent=DataError, foreign=DataError), str(path))

    @classmethod
    def parse(cls, text: str, name: str = "lexicon") -> "Respelling":
        """Read the lines of a lexicon; see `read`."""
        words: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            found = _LINE.fullmatch(line)
            if found is None:
                raise DataError(
                    f"`{name}`, line {number}: `{line[:40]}` is no entry",
                    "a line is the word, a tab or `=`, and how it is said",
                )
            word, value = found["word"].strip(), found["value"].strip()
            if len(word) > LONGEST or len(value) > LONGEST:
                raise DataError(f"`{name}`, line {number} is longer than {LONGEST} characters")
            if not re.search(r"\w", word):
                raise DataError(f"`{name}`, line {number}: `{word}` is no word")
            if value[0] == "/" and (len(value) < 3 or value[-1] != "/" or not value[1:-1].strip()):
                raise DataError(f"`{name}`, line {number}: phones stand as /k ae1 t/")
            words[word] = value
        return cls(words=words)

    def apply(self, text: str, given: Given) -> str:
        """Put what is said in the place of the words.

        Args:
            text: what the user wrote.
            given: words whose phones are given; those of this lexicon are added.
        """
        if not self.words:
            return text
        small = {word: value for word, value in self.words.items() if word == word.lower()}
        stand_ins: dict[str, str] = {}
        pattern = "|".join(re.escape(word) for word in sorted(self.words, key=len, reverse=True))

        def said(match: re.Match[str]) -> str:
            word = match[0] if match[0] in self.words else match[0].lower()
            value = self.words.get(word) or small.get(word)
            if value is None:
                return match[0]
            if value[0] != "/":
                return value
            if match[0] not in stand_ins:
                stand_ins[match[0]] = given.add(tuple(value[1:-1].split()), match[0])
            return stand_ins[match[0]]

        return re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", said, text, flags=re.I)
