"""English text as the symbols a phone model reads: phones with stress, pauses, sentence ends.

`PhoneFrontEnd` looks words up in a lexicon, guesses between noun and verb readings, builds forms of
known words and leaves the rest to `letter_to_sound.py`. Text becomes words in `english.py`. Symbols
are those of the festival voice that the first mini learned from: `#` first pause, `,` inner pause,
`.` or `?` last; stressed vowels carry a `1`. Nothing here knows ids beyond their order in
`symbols.json`.
"""

import lzma
import operator
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path

from mamtra_cli.config import parse_json, read_small
from mamtra_cli.errors import CheckpointError, TextError, UsageError
from mamtra_cli.text import homographs
from mamtra_cli.text.english import normalise, sentences
from mamtra_cli.text.letter_to_sound import LetterToSound
from mamtra_cli.text.phrases import parted
from mamtra_cli.text.reading import Word
from mamtra_cli.text.signs import unreadable

LARGEST = 64 << 20  # bytes of an unpacked lexicon
LEXICON, SYMBOLS, LETTERS = "lexicon.txt.xz", "symbols.json", "letter_to_sound.safetensors"
_LETTER_NAMES = {"a": "ey1"}
_SIBILANTS = frozenset({"s", "z", "sh", "zh", "ch", "jh"})
_VOICELESS = frozenset({"p", "t", "k", "f", "th", "s", "sh", "ch", "hh"})
_CLIPPED = {"th'": "dh ax", "o'": "ax v"}
_SPELLINGS = (
    (r"our", "or"), (r"is(?=e|ing|ation)", "iz"), (r"ys(?=e|ing)", "yz"), (r"re\b", "er"),
    (r"ogue\b", "og"), (r"ll(?=ed|ing|er)", "l"), (r"ae|oe", "e"),
)  # fmt: skip
_ENDINGS = {
    "n't": "ax n t", "'ll": "ax l", "'ve": "v", "'re": "r", "'d": "d", "'m": "m",
}  # fmt: skip


class Lexicon:
    """Words and their phones, with one line for each reading of a homograph."""

    def __init__(self, lines: str) -> None:
        # Looked up by halves: a table of all words would take longer to make than a text to read.
        self._lines = lines.splitlines()
        if any(map(operator.gt, self._lines, self._lines[1:])):
            self._lines.sort()

    @staticmethod
    def load(path: Path) -> "Lexicon":
        """Read `word TAB phones` lines from an xz file; homographs are written `word(v)`."""
        if path.exists() and not path.is_file():
            raise CheckpointError(f"lexicon `{path}` is no regular file")
        try:
            return _unpacked(path.read_bytes())
        except FileNotFoundError:
            raise CheckpointError(f"no lexicon `{path}`") from None
        except (lzma.LZMAError, UnicodeDecodeError, ValueError) as error:
            raise CheckpointError(
                f"lexicon `{path}` is damaged: {error}", "install the package again"
            ) from error

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and self._found(word) is not None

    def words(self) -> list[str]:
        """Every entry, homographs with their kind."""
        return [line.partition("\t")[0] for line in self._lines]

    def find(self, word: str, kind: str = "") -> list[str] | None:
        """Phones of a word, of the reading `kind` (`n`, `v` or `j`) where there are several."""
        phones = self._found(f"{word}({kind})") or self._found(word)
        return phones.split() if phones is not None else None

    def readings(self, word: str) -> str:
        """Kinds of readings of a homograph, such as `nv`; `""` for all other words."""
        return "".join(kind for kind in "njv" if f"{word}({kind})" in self)

    def _found(self, word: str) -> str | None:
        """Phones of an entry."""
        start = f"{word}\t"
        place = bisect_left(self._lines, start)
        if place < len(self._lines) and self._lines[place].startswith(start):
            return self._lines[place][len(start) :]
        return None


@lru_cache(maxsize=1)  # a student's lexicon is its teacher's
def _unpacked(packed: bytes) -> Lexicon:
    """The lexicon of an xz file's bytes."""
    unpacking = lzma.LZMADecompressor()
    unpacked = unpacking.decompress(packed, LARGEST)
    if not unpacking.eof:
        raise ValueError(f"it is cut off, or unfolds to more than {LARGEST >> 20} MB")
    return Lexicon(unpacked.decode())


class PhoneFrontEnd:
    """English text to phone symbols.

    Args:
        symbols: all symbols in the order of their ids.
        lexicon: the words that need no guess.
        letters: makes the network for the rest; called once, when first needed.
    """

    def __init__(
        self, symbols: list[str], lexicon: Lexicon, letters: Callable[[], LetterToSound]
    ) -> None:
        self.vocabulary = tuple(symbols)
        self.lexicon = lexicon
        self._ids = {symbol: index for index, symbol in enumerate(symbols)}
        self._make_letters = letters
        self._given: dict[str, tuple[str, ...]] = {}

    @classmethod
    def load(cls, folder: Path) -> "PhoneFrontEnd":
        """Open the front end files of a model folder."""
        try:
            symbols = parse_json(read_small(folder / SYMBOLS))
            if not isinstance(symbols, list) or not all(isinstance(one, str) for one in symbols):
                raise ValueError("it is no list of texts")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"cannot read `{folder / SYMBOLS}`: {error}") from error
        lexicon = Lexicon.load(folder / LEXICON)
        return cls(symbols, lexicon, lambda: LetterToSound.load(folder / LETTERS))

    @cached_property
    def _letters(self) -> LetterToSound:
        return self._make_letters()

    def words(self, text: str) -> list[tuple[str, list[str]]]:
        """Words of a text with their phones; pauses stand among them as (`,`, [`,`]).

        Raises:
            TextError: nothing to say, or characters that are not English.
        """
        spoken = normalise(text, self.lexicon.__contains__).split()
        if not any(token[0].isalpha() or token[0] == "^" for token in spoken):
            shown = " ".join(text.split())
            if not shown:
                raise TextError("the text is empty", "give a sentence to speak")
            raise TextError(f"nothing to speak in `{shown[:40]}`", "write at least one word")
        result = []
        for index, token in enumerate(spoken):
            if token in ",.?":
                last = index == len(spoken) - 1
                result.append((token, [token if last else ","]))
            else:
                sense = homographs.phones(token, spoken[:index], spoken[index + 1 :])
                before = spoken[index - 1] if index else ""
                after = spoken[index + 1]
                result.append((token, sense or self._pronounce(token, before, after)))
        return result

    def symbols(self, text: str) -> list[str]:
        """Symbols of a text, `#` first and `.` or `?` last."""
        return ["#", *(phone for _, phones in self.words(text) for phone in phones)]

    def ids(self, text: str) -> list[int]:
        """Symbols of a text as ids."""
        try:
            return [self._ids[symbol] for symbol in self.symbols(text)]
        except KeyError as error:
            raise CheckpointError(
                f"`{SYMBOLS}` of the model lacks the symbol {error}", "fetch the model again"
            ) from None

    def prompt_ids(self, text: str) -> list[int]:
        """Ids of what the recording of a voice says."""
        return self.ids(text)

    def instruction_ids(self, text: str) -> list[int]:
        """Refuse: phones can be spoken, not followed."""
        del text
        raise UsageError(
            "this model reads phones and follows no instructions",
            "leave out `--instruct`, or use a CosyVoice 2 model",
        )

    def unreadable(self, character: str) -> bool:
        """Whether English has no reading for a character."""
        return unreadable(character)

    def shown(self, piece: str) -> list[Word]:
        """Words and phones of a piece."""
        return [Word(word=word, phones=tuple(phones)) for word, phones in self.words(piece)]

    def spans(self, piece: str) -> list[tuple[str, int]]:
        """Words of a piece, each with how many symbols are its own."""
        words = [("" if word in ",.?" else word, len(phones)) for word, phones in self.words(piece)]
        return [("", 1), *((_written(word), count) for word, count in words)]

    def with_phones(self, phones: Mapping[str, tuple[str, ...]]) -> "PhoneFrontEnd":
        """The front end with words that are said by given phones."""
        for given in phones.values():
            if wrong := [phone for phone in given if phone not in self._ids or phone in "#,.?"]:
                known = " ".join(symbol for symbol in self.vocabulary if symbol[0].isalpha())
                raise TextError(
                    f"there is no phone `{wrong[0][:20]}` in `{' '.join(given)[:60]}`",
                    f"the phones are {known}",
                )
        other = PhoneFrontEnd(list(self.vocabulary), self.lexicon, self._make_letters)
        other._given = {**self._given, **phones}
        return other

    def with_rules(self, rules: str) -> "PhoneFrontEnd":
        """Refuse: phones are made of words, and no rules were published for them."""
        if rules != "own":
            raise UsageError(
                f"`--text {rules}`: this model reads phones, by our own rules only",
                "leave out `--text`",
            )
        return self

    def split(self, text: str, max_symbols: int) -> list[str]:
        """Cut a text into pieces of at most `max_symbols` symbols, at sentences where possible.

        A sentence too long is cut at its punctuation, else at the borders of phrases, a word that
        is too long into parts.

        Raises:
            TextError: nothing to say.
        """
        self.words(text)
        pieces: list[str] = []
        for sentence in sentences(text):
            if self._speakable(sentence):
                pieces += self._cut(sentence, max_symbols)
        return pieces

    def _speakable(self, text: str) -> bool:
        return re.search(r"[a-z]", normalise(text, self.lexicon.__contains__)) is not None

    def _cut(self, text: str, limit: int) -> list[str]:
        if len(self.symbols(text)) <= limit:
            return [text]
        # Inside a sentence a full stop belongs to an abbreviation.
        for separator in (r"(?<=[;:])\s+|\s+(?=[(\[—–])", r"(?<=[,)\]])\s+|\s+-+\s+"):
            parts = [part for part in re.split(separator, text) if part]
            if len(parts) > 1:
                pieces: list[str] = []
                for part in self._gather(parts, limit):
                    pieces += self._cut(part, limit)
                return pieces
        # Between words the cut is made in the spoken form: `Dr.` or `10 am` must not be torn.
        spoken = [(word, len(phones)) for word, phones in self.words(text) if word not in ",.?"]
        spoken = [part for word, length in spoken for part in _broken(word, length, limit)]
        words, lengths = [word for word, _ in spoken], [length for _, length in spoken]
        ranges = parted(words, lengths, limit - 2)
        pieces = [" ".join(_written(words[i]) for i in place) for place in ranges]
        if text.rstrip()[-1] == "?":
            pieces[-1] += "?"
        # Read alone, a piece may be a sound longer than in its sentence.
        return [part for piece in pieces for part in self._fitting(piece, limit)]

    def _fitting(self, piece: str, limit: int) -> list[str]:
        if len(self.symbols(piece)) <= limit or " " not in piece:
            return [piece]
        return self._gather(piece.split(), limit)

    def _gather(self, parts: list[str], limit: int) -> list[str]:
        """Join neighbouring parts as long as they fit."""
        pieces: list[str] = []
        for part in parts:
            joined = f"{pieces[-1]} {part}" if pieces else part
            if not self._speakable(part) or (pieces and len(self.symbols(joined)) <= limit):
                pieces[-1:] = [joined]
            else:
                pieces.append(part)
        return pieces

    def _pronounce(self, word: str, before: str, after: str) -> list[str]:
        if given := self._given.get(word):
            return list(given)
        if word[0] == "^":
            phones = self._letter(word[1])
            return phones + (_ending_phones(phones[-1], "s") if word.endswith("'s") else [])
        if word == "a" and (after in ",.?" or after[0] == "^"):
            return ["ey1"]
        found = self.lexicon.find(word, self._kind(word, before, after))
        return found or self._formed(word, before, after) or self._guess(word)

    def _known(self, word: str) -> list[str]:
        found = self.lexicon.find(word)
        if found is None:
            raise CheckpointError(f"the lexicon has no `{word}`", "install the package again")
        return found

    def _kind(self, word: str, before: str, after: str) -> str:
        kinds = self.lexicon.readings(word)
        return homographs.kind(word, kinds, before, after) if kinds else ""

    def _formed(self, word: str, before: str, after: str) -> list[str] | None:
        """Build possessives, contractions and inflections of known words.

        These beat the network on held-out words (83-88 % right against 74-83 %); joining two
        known words and adding `-ly` did not, and are left to it.
        """
        if "'" in word:
            return self._with_apostrophe(word, before, after)
        for british, american in _SPELLINGS:
            other = re.sub(british, american, word)
            if other != word and other in self.lexicon:
                return self._known(other)
        for stem, ending in _stems(word):
            phones = self.lexicon.find(stem, "n")
            if phones:
                return phones + _ending_phones(phones[-1], ending)
        return None

    def _with_apostrophe(self, word: str, before: str, after: str) -> list[str]:
        if word.startswith("'"):
            return self._pronounce(word.lstrip("'"), before, after)
        if word in _CLIPPED:
            return _CLIPPED[word].split()
        if word.endswith("'"):
            return self._pronounce(word.rstrip("'"), before, after)
        for ending, sound in _ENDINGS.items():
            if word.endswith(ending) and word != ending:
                return self._pronounce(word[: -len(ending)], before, after) + sound.split()
        stem, _, rest = word.rpartition("'")
        if rest != "s" and word.replace("'", "") in self.lexicon:
            # The dictionary writes `o'clock` and `O'Brien` as one word.
            return self._known(word.replace("'", ""))
        phones = self._pronounce(stem, before, after)
        if rest == "s":
            return phones + _ending_phones(phones[-1], "s")
        return phones + self._pronounce(rest, "", after)

    def _guess(self, word: str) -> list[str]:
        phones = self._letters.pronounce(word)
        if not any(phone[0] in "aeiou" for phone in phones):
            # No vowel, such as `pfft`: its letters are the only certain reading.
            return [phone for letter in word if letter != "'" for phone in self._letter(letter)]
        return phones

    def _letter(self, letter: str) -> list[str]:
        return _LETTER_NAMES.get(letter, "").split() or self._known(letter)


def _broken(word: str, length: int, limit: int) -> list[tuple[str, int]]:
    """A word, or its parts where it alone is longer than a piece may be."""
    if length <= limit - 2:
        return [(word, length)]
    size = max(1, len(word) * (limit - 2) // (2 * length))
    parts = [word[start : start + size] for start in range(0, len(word), size)]
    return [(part, (limit - 2) // 2 + 1) for part in parts]


def _written(token: str) -> str:
    """A spoken token as text: letters that are said by name in capitals."""
    return re.sub(r"\^([a-z])", lambda m: m[1].upper(), token)


def _stems(word: str) -> list[tuple[str, str]]:
    """Words that `word` may be a plural or a past, present or progressive form of."""
    stems = []
    if word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        stems.append((word[:-1], "s"))
        if word.endswith("es"):
            stems.append((word[:-2], "s"))
        if word.endswith("ies"):
            stems.append((word[:-3] + "y", "s"))
    for ending in ("ed", "ing"):
        base = word[: -len(ending)]
        if word.endswith(ending) and len(base) > 2:
            stems.append((base + "e", ending))
            stems.append((base, ending))
            if base[-1] == base[-2]:
                stems.append((base[:-1], ending))
    if word.endswith("ied") and len(word) > 4:
        stems.append((word[:-3] + "y", "ed"))
    if word.endswith("ness") and len(word) > 6:
        stems.append((word[:-4], "ness"))
    return stems


def _ending_phones(last: str, ending: str) -> list[str]:
    if ending == "s":
        if last in _SIBILANTS:
            return ["ax", "z"]
        return ["s"] if last in _VOICELESS else ["z"]
    if ending == "ed":
        if last in ("t", "d"):
            return ["ax", "d"]
        return ["t"] if last in _VOICELESS else ["d"]
    return {"ing": ["ih", "ng"], "ness": ["n", "ax", "s"]}[ending]
