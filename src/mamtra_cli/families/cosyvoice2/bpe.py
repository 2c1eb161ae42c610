"""Text to ids for the published model: byte-level BPE of Qwen2 plus the speech markup.

Knows two files, `vocab.json` and `merges.txt`, and the order of the markup strings
(FunAudioLLM/CosyVoice, cosyvoice/tokenizer/tokenizer.py). Markup is cut out of the text before
the BPE sees it, so a text that is not trusted simply keeps the control strings as characters.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from mamtra_cli.config import parse_json, read_small
from mamtra_cli.errors import CheckpointError, TextError
from mamtra_cli.families.cosyvoice2.repository import MERGES_FILE, VOCAB_FILE
from mamtra_cli.families.cosyvoice2.text import (
    Normalizers,
    is_only_punctuation,
    normalize_prompt,
    text_normalize,
)
from mamtra_cli.text.reading import Word
from mamtra_cli.text.signs import pictorial

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
END_OF_PROMPT = "<|endofprompt|>"
CONTROLS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", END_OF_PROMPT)
EVENTS = (
    "[breath]",
    "<strong>",
    "</strong>",
    "[noise]",
    "[laughter]",
    "[cough]",
    "[clucking]",
    "[accent]",
    "[quick_breath]",
    "<laughter>",
    "</laughter>",
    "[hissing]",
    "[sigh]",
    "[vocalized-noise]",
    "[lipsmack]",
    "[mn]",
)
"""Markup a user may write; `CONTROLS` need a trusted text. Ids follow the BPE in this order."""

CUTS = tuple(re.compile(pattern) for pattern in (r"(?<=[,，、])", r"(?<= )", r"(?<=.)(?=.)"))
"""Where a piece that is too long may be cut, best first."""

SPECIAL_FILE = "tokenizer_config.json"


def _any_of(strings: Iterable[str]) -> re.Pattern[str]:
    # Longest first: alternation takes the first that fits, the published cut the longest.
    ordered = sorted(strings, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, ordered)) + ")")


def _check_special(folder: Path, count: int) -> None:
    """Fail where the published list of special ids does not follow a vocabulary of `count`."""
    path = folder / SPECIAL_FILE
    if not path.is_file():
        return
    try:
        table = parse_json(read_small(path)).get("added_tokens_decoder", {})
        ids = {entry["content"]: int(number) for number, entry in table.items()}
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"`{path}` is not understood: {error}", "download it again"
        ) from error
    first = ids.get(CONTROLS[0], count)
    if first != count:
        raise CheckpointError(
            f"`{path}` counts {first} ids before `{CONTROLS[0]}`, {VOCAB_FILE} has {count}",
            "the tokenizer files belong to different models; download them again",
        )


class BytePairTokenizer:
    """Text to ids and back.

    Args:
        vocab: token string (byte-level alphabet) to id, ids `0..len(vocab)-1`.
        merges: pairs in order of rank.
    """

    def __init__(self, vocab: dict[str, int], merges: list[tuple[str, str]]) -> None:
        missing = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - vocab.keys())
        if missing:
            raise CheckpointError(
                f"vocabulary lacks {len(missing)} of the 256 bytes, first {missing[:5]}",
                f"download {VOCAB_FILE} again",
            )
        if sorted(vocab.values()) != list(range(len(vocab))):
            raise CheckpointError(f"ids of {VOCAB_FILE} are not 0 to {len(vocab) - 1}")
        try:
            self._bpe = Tokenizer(models.BPE(vocab=vocab, merges=merges))
        except Exception as error:
            raise CheckpointError(f"{MERGES_FILE} does not fit {VOCAB_FILE}: {error}") from error
        self._bpe.normalizer = normalizers.NFC()
        self._bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(WORDS), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        first = len(vocab)
        self.markup = {text: first + index for index, text in enumerate(CONTROLS + EVENTS)}
        self.vocab_size = first + len(self.markup)
        self._cut = {True: _any_of(CONTROLS + EVENTS), False: _any_of(EVENTS)}

    @classmethod
    def read(cls, folder: Path) -> "BytePairTokenizer":
        """The tokenizer of the two files in `folder`."""
        try:
            vocab = parse_json(read_small(folder / VOCAB_FILE))
            lines = (folder / MERGES_FILE).read_text("utf-8").split("\n")
        except FileNotFoundError as error:
            name = Path(str(error.filename)).name
            raise CheckpointError(
                f"`{folder}` has no {name}", "the text front end needs it; download it again"
            ) from error
        except ValueError as error:
            raise CheckpointError(f"`{folder}`: a tokenizer file is damaged: {error}") from error
        if not isinstance(vocab, dict) or not all(isinstance(i, int) for i in vocab.values()):
            raise CheckpointError(f"`{folder / VOCAB_FILE}` is no table of tokens and ids")
        _check_special(folder, len(vocab))
        lines = [line for line in lines if line and not line.startswith("#version")]
        merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
        return cls(vocab, merges)

    def encode(self, text: str, *, trusted: bool = False) -> list[int]:
        """Ids of a text.

        Args:
            text: any string; `EVENTS` in it become their ids.
            trusted: `CONTROLS` become their ids too. Never set it for a user's text.
        """
        ids: list[int] = []
        for index, part in enumerate(self._cut[trusted].split(text)):
            if index % 2:
                ids.append(self.markup[part])
            elif part:
                ids.extend(self._bpe.encode(part, add_special_tokens=False).ids)
        return ids


class BpeFrontEnd:
    """The text front end of the published model: normalise, cut into pieces, encode.

    Args:
        tokenizer: text to ids.
        normalizers: rewriting of dates and amounts; `None` for the plain rules.
        compat: exactly the published rules; else our own (see `text.py`).
        normalize: read numbers and signs as words; without, the text is only cut.
    """

    def __init__(
        self,
        tokenizer: BytePairTokenizer,
        *,
        normalizers: Normalizers | None = None,
        compat: bool = False,
        normalize: bool = True,
    ) -> None:
        self.tokenizer = tokenizer
        self.normalizers = normalizers
        self.compat = compat
        self.normalize = normalize

    def split(self, text: str, max_ids: int) -> list[str]:
        """Speakable pieces of a text, at least one.

        The published rules make pieces of about 60 to 80 ids; where a sentence is longer than
        `max_ids`, it is cut at commas, else between words, else between characters.

        Args:
            text: what the user gave.
            max_ids: most ids of a piece.
        """
        if not text.strip():
            raise TextError("the text is empty", "give a sentence to speak")
        pieces = text_normalize(
            text,
            self._length,
            enabled=self.normalize,
            normalizers=self.normalizers,
            compat=self.compat,
        )
        cut = [part for piece in pieces for part in self._cut(piece, max_ids)]
        spoken = [piece for piece in cut if not is_only_punctuation(piece.replace(" ", ""))]
        if not spoken:
            raise TextError(f"nothing to speak in `{text.strip()[:40]}`", "write at least one word")
        return spoken

    def ids(self, text: str) -> list[int]:
        """Ids of one piece; control strings count as characters."""
        return self.tokenizer.encode(text)

    def prompt_ids(self, text: str) -> list[int]:
        """Ids of the transcript of a voice prompt, normalised in one piece."""
        prompt = normalize_prompt(
            text, enabled=self.normalize, normalizers=self.normalizers, compat=self.compat
        )
        return self.tokenizer.encode(prompt)

    def instruction_ids(self, text: str) -> list[int]:
        """Ids of an instruction: not normalised, closed by the end-of-prompt id."""
        text = text.removesuffix(END_OF_PROMPT)
        return [*self.tokenizer.encode(text), self.tokenizer.markup[END_OF_PROMPT]]

    def unreadable(self, character: str) -> bool:
        """Whether a character is a picture or a control, which no text the model learned has."""
        return pictorial(character)

    def shown(self, piece: str) -> list[Word]:
        """Words of a piece; the model reads their letters."""
        return [Word(word=word) for word in piece.split()]

    def spans(self, piece: str) -> list[tuple[str, int]]:
        """All ids as one: no model of these tells when it says which."""
        return [("", len(self.ids(piece)))]

    def with_phones(self, phones: Mapping[str, tuple[str, ...]]) -> "BpeFrontEnd":
        """Refuse phones for single words."""
        if phones:
            raise TextError("this model reads letters, not phones", "respell the word with letters")
        return self

    def with_rules(self, rules: str) -> "BpeFrontEnd":
        """The front end with our own rules, those published with the model, or none."""
        return BpeFrontEnd(
            self.tokenizer,
            normalizers=self.normalizers,
            compat=rules == "published",
            normalize=rules != "none",
        )

    def _length(self, text: str) -> int:
        return len(self.tokenizer.encode(text))

    def _cut(self, text: str, limit: int, level: int = 0) -> list[str]:
        if level == len(CUTS) or self._length(text) <= limit:
            return [text]
        pieces: list[str] = []
        current = ""
        for part in CUTS[level].split(text):
            if current and self._length(current + part) > limit:
                pieces += self._cut(current, limit, level + 1)
                current = ""
            current += part
        return pieces + self._cut(current, limit, level + 1)
