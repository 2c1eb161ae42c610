"""Scores of what was heard against what was to be said: word and character errors.

`count` compares one sentence under the rules that say what a word is; `score` pools a set (a long
sentence weighs more), with a bootstrap interval over sentences. How the hypotheses came about is
the business of `recognise.py`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mamtra_cli.engine.judging.bootstrap import ROUNDS, Ratio, interval
from mamtra_cli.engine.judging.seed_tts import chinese_characters, english_words
from mamtra_cli.errors import MissingDependencyError


@dataclass(frozen=True, kw_only=True)
class WordErrors:
    """Error rates over a set of sentences, as fractions of the reference length.

    Args:
        wer: word errors (replaced, left out, put in) per reference word.
        cer: the same for characters, spaces included.
        ci_low: lower end of the 95 % bootstrap interval of `wer`.
        ci_high: upper end.
        n_words: reference words.
        n_sentences: sentences.
    """

    wer: float
    cer: float
    ci_low: float
    ci_high: float
    n_words: int
    n_sentences: int


def plain_words(text: str) -> str:
    """Reduce a text to lower-case words between single spaces, apostrophes kept inside words."""
    text = text.lower().replace("’", "'")
    return " ".join(re.findall(r"[^\W_]+(?:'[^\W_]+)*", text))


def whisper_words(text: str) -> str:
    """Reduce an English text to words as Whisper is scored: numbers as digits, one spelling.

    Source: Radford et al. (arXiv:2212.04356), appendix C.
    """
    return _whisper_normaliser()(text)


@lru_cache(maxsize=1)
def _whisper_normaliser() -> Callable[[str], str]:
    try:
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError:
        raise MissingDependencyError(
            "these rules for words need the package whisper-normalizer",
            "pip install 'mamtra-cli[eval]'",
        ) from None
    normaliser: Callable[[str], str] = EnglishTextNormalizer()
    return normaliser


RULES: Mapping[str, Callable[[str], list[str]]] = {
    "plain": lambda text: plain_words(text).split(),
    "whisper-en": lambda text: whisper_words(text).split(),
    "seed-tts-en": english_words,
    "seed-tts-zh": chinese_characters,
}
CHARACTERS = "seed-tts-zh"  # the rules whose words are characters


@dataclass(frozen=True, kw_only=True)
class ErrorCount:
    """Errors of one sentence.

    Args:
        substitutions, deletions, insertions: of words, or of what the rules take for words.
        words: in the reference.
        character_errors: of the words written with single spaces.
        characters: in the reference, those spaces included.
    """

    substitutions: int
    deletions: int
    insertions: int
    words: int
    character_errors: int
    characters: int

    @property
    def errors(self) -> int:
        """Words replaced, left out and put in."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors a word."""
        return self.errors / self.words


def count(reference: str, hypothesis: str, rules: str = "plain") -> ErrorCount:
    """Compare what was heard with what was to be said.

    Args:
        reference: at least one word.
        hypothesis: may be empty.
        rules: a name in `RULES`.
    """
    said, heard = RULES[rules](reference), RULES[rules](hypothesis)
    if not said:
        raise ValueError(f"the reference {reference!r} has no words")
    replaced, left_out, put_in = _align(said, heard)
    if rules == CHARACTERS:
        letters, wrong = len(said), replaced + left_out + put_in
    else:
        letters = len(" ".join(said))
        wrong = sum(_align(list(" ".join(said)), list(" ".join(heard))))
    return ErrorCount(
        substitutions=replaced,
        deletions=left_out,
        insertions=put_in,
        words=len(said),
        character_errors=wrong,
        characters=letters,
    )


def score(
    references: Sequence[str], hypotheses: Sequence[str], *, rounds: int = ROUNDS, seed: int = 0
) -> WordErrors:
    """Compare hypotheses with references, case and punctuation put aside.

    Args:
        references: what was to be said; at least one word in each.
        hypotheses: what was heard, in the same order.
        rounds: bootstrap samples of the interval.
        seed: of the bootstrap.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references for {len(hypotheses)} hypotheses")
    if not references or not all(plain_words(text) for text in references):
        raise ValueError("every reference needs at least one word")
    found = [count(said, heard) for said, heard in zip(references, hypotheses, strict=True)]
    words = np.array([one.words for one in found], dtype=np.float64)
    pooled = Ratio(above=np.array([one.errors for one in found], dtype=np.float64), below=words)
    low, high = interval(pooled, rounds=rounds, seed=seed) or (pooled.value, pooled.value)
    return WordErrors(
        wer=pooled.value,
        cer=sum(one.character_errors for one in found) / sum(one.characters for one in found),
        ci_low=low,
        ci_high=high,
        n_words=int(words.sum()),
        n_sentences=len(found),
    )


def _align(reference: list[str], hypothesis: list[str]) -> tuple[int, int, int]:
    """Substitutions, deletions and insertions between two lists of words or characters."""
    try:
        import jiwer
    except ImportError:
        raise MissingDependencyError(
            "counting word errors needs the package jiwer", "pip install 'mamtra-cli[eval]'"
        ) from None
    if not hypothesis:
        return 0, len(reference), 0
    # Characters go through the same alignment, one to a word; a space needs a stand-in.
    join = [" ".join(part.replace(" ", "␣") for part in side) for side in (reference, hypothesis)]
    found = jiwer.process_words(join[0], join[1])
    return int(found.substitutions), int(found.deletions), int(found.insertions)
