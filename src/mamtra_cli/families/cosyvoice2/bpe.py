"""Text to ids for the published model: byte-level BPE of Qwen2 plus the speech markup.

Knows two files, `vocab.json` and `merges.txt`, and the order of the markup strings
(FunAudioLLM/CosyVoice, cosyvoice/tokenizer/tokenizer.py). Markup is cut out of the text before
the BPE sees it, so a text that is not trusted simply keeps the control strings as characters.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from mamtra_cli.errors import CheckpointError, TextError
from mamtra_cli.families.cosyvoice2.text import (
    Normalizers,
    is_only_punctuation,
    normalize_prompt,
    text_normalize,
)

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

VOCAB_FILE = "vocab.json"
MERGES_FILE = "merges.txt"


def _any_of(strings: Iterable[str]) -> re.Pattern[str]:
    # Longest first: alternation takes the first that fits, the published cut the longest.
    ordered = sorted(strings, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, ordered)) + ")")


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
            vocab = json.loads((folder / VOCAB_FILE).read_text("utf-8"))
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


class BpeFrontend:
    """The text front end of the published model: normalise, cut into pieces, encode.

    Args:
        tokenizer: text to ids.
        normalizers: rewriting of dates and amounts; `None` for the plain rules.
        compat: exactly the published rules; else numbers are read whole (see `text.py`).
    """

    def __init__(
        self,
        tokenizer: BytePairTokenizer,
        *,
        normalizers: Normalizers | None = None,
        compat: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.normalizers = normalizers
        self.compat = compat

    def _length(self, text: str) -> int:
        return len(self.tokenizer.encode(text))

    def pieces(self, text: str) -> list[str]:
        """Speakable pieces of a text, at least one."""
        pieces = text_normalize(
            text, self._length, normalizers=self.normalizers, compat=self.compat
        )
        if all(is_only_punctuation(piece) for piece in pieces):
            raise TextError("the text has no word to speak", "give at least one letter or digit")
        return pieces

    def prompt(self, text: str) -> str:
        """The transcript of a voice prompt as the model wants it."""
        return normalize_prompt(text, normalizers=self.normalizers, compat=self.compat)

    def instruction(self, text: str) -> list[int]:
        """Ids of an instruction: not normalised, closed by the end-of-prompt id."""
        text = text.removesuffix(END_OF_PROMPT)
        return [*self.tokenizer.encode(text), self.tokenizer.markup[END_OF_PROMPT]]

    def encode(self, text: str, *, trusted: bool = False) -> list[int]:
        """Ids of one piece; control strings count as characters unless `trusted`."""
        return self.tokenizer.encode(text, trusted=trusted)
