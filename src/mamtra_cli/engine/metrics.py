"""Scores of what was heard against what was to be said: word and character errors.

Counts are pooled over all sentences (a long sentence weighs more), with a bootstrap interval over
sentences. How the hypotheses came about is the business of `recognise.py`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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


def score(
    references: Sequence[str], hypotheses: Sequence[str], *, rounds: int = 2000, seed: int = 0
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
    said, heard = [plain_words(t) for t in references], [plain_words(t) for t in hypotheses]
    if not said or not all(said):
        raise ValueError("every reference needs at least one word")
    words = np.array([_errors(r.split(), h.split()) for r, h in zip(said, heard, strict=True)])
    characters = np.array([_errors(list(r), list(h)) for r, h in zip(said, heard, strict=True)])
    lengths = np.array([len(r.split()) for r in said])
    wer = float(words.sum() / lengths.sum())
    picks = np.random.default_rng(seed).integers(0, len(said), (rounds, len(said)))
    sampled = words[picks].sum(1) / lengths[picks].sum(1)
    low, high = np.percentile(sampled, [2.5, 97.5])
    return WordErrors(
        wer=wer,
        cer=float(characters.sum() / sum(map(len, said))),
        ci_low=float(low),
        ci_high=float(high),
        n_words=int(lengths.sum()),
        n_sentences=len(said),
    )


def _errors(reference: list[str], hypothesis: list[str]) -> int:
    """Levenshtein distance of two lists of words or characters."""
    try:
        import jiwer
    except ImportError:
        raise MissingDependencyError(
            "counting word errors needs the package jiwer", "pip install 'mamtra-cli[eval]'"
        ) from None
    if not hypothesis:
        return len(reference)
    # Characters go through the same alignment, one to a word; a space needs a stand-in.
    join = [" ".join(part.replace(" ", "␣") for part in side) for side in (reference, hypothesis)]
    found = jiwer.process_words(join[0], join[1])
    return int(found.substitutions + found.deletions + found.insertions)
