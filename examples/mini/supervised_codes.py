"""Stage 3 in another way: speech tokens that are told, not found, from exact phone times and pitch.

    python examples/mini/supervised_codes.py --out work/natural

A code says in its 1,225 values which phone is spoken (49), how high its speaker's voice stands (5)
and how many more tokens the phone lasts (5): who reads tokens need not count them, and how long a
phone is to be is decided once, where it begins. No phone is skipped: the borders of phones move to
whole tokens as little as lets every phone have one. Writes the codes of every sentence beside its
batch, where the language model, the flow and the tokenizer (which is taught them) find them. Knows
the corpus, no model; needs the pitch that `natural.py` keeps.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from dataset import SILENCES, Corpus, Sentence
from sizes import TOLD_TOKENIZER

LEVELS = TOLD_TOKENIZER.levels
# Phones that sound alike stand side by side: each half of the first digit is a place in this table.
PHONES = (
    "iy ih ey eh ae ay y",
    "er ax ah uh aa aw r",
    "uw ow ao oy l w -",
    "m n ng b d g dh",
    "v z zh jh - - -",
    "f s sh ch th hh -",
    "p t k pau - - -",
)
CLASS = {
    name: 7 * i + j
    for i, line in enumerate(PHONES)
    for j, name in enumerate(line.split())
    if name != "-"
}


def borders(ends: np.ndarray, tokens: int) -> np.ndarray:
    """Move the ends of phones to whole tokens so that each phone has one.

    The nearest such borders in squares, by isotonic regression (pool adjacent violators), rounded.
    Where there are more phones than tokens, some phones have none.

    Args:
        ends: (n,) float, in tokens, not falling.
        tokens: of the sentence.

    Returns:
        (n,) int64, the last one `tokens`.
    """
    n = len(ends)
    least = 1.0 if tokens >= n else tokens / n
    free = ends[:-1] - least * np.arange(1, n)
    pools: list[list[float]] = []  # sum and count of borders that move together
    for value in free:
        pools.append([float(value), 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, count = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += count
    fitted = np.concatenate([np.full(int(c), total / c) for total, c in pools] or [np.zeros(0)])
    fitted = np.clip(fitted, 0.0, tokens - least * n)
    if least == 1.0:
        inner = np.arange(1, n) + np.floor(fitted + 0.5)
    else:
        inner = np.floor(fitted + least * np.arange(1, n) + 0.5)
    return np.append(inner, tokens).astype(np.int64)


def owners(s: Sentence) -> np.ndarray:
    """Return the index of the phone that each token belongs to, int64 (tokens,)."""
    counts = np.diff(borders(_ends(s), s.tokens), prepend=0)
    return np.repeat(np.arange(len(counts)), counts)


def phones(s: Sentence) -> np.ndarray:
    """Return the class of the phone of each token, int64 (tokens,)."""
    names = ["pau" if name in SILENCES else name for name, _, _ in s.phones]
    return np.array([CLASS[name] for name in names])[owners(s)]


def rests(s: Sentence) -> np.ndarray:
    """Return how long the phone of each token goes on after it, int64 (tokens,).

    0 where the phone ends within the token and 1 where it ends with it or after, else 1 + how many
    tokens of it follow, of which three are as many as any.
    """
    ends = _ends(s)
    owner = owners(s)
    stops = borders(ends, s.tokens)[owner]
    left = stops - 1 - np.arange(s.tokens)
    last = (ends[owner] >= stops).astype(np.int64)
    return np.where(left > 0, 1 + np.minimum(left, LEVELS[2] - 2), last)


def heights(hertz: np.ndarray) -> np.ndarray:
    """Return the pitch of each token in octaves, carried through what is unvoiced, (frames / 2,).

    hertz: (frames,), 0 where unvoiced; a sentence without voice has NaN.
    """
    at = np.flatnonzero(hertz > 0)
    if not len(at):
        return np.full(len(hertz) // 2, np.nan)
    octaves = np.interp(np.arange(len(hertz)), at, np.log2(hertz[at]))
    return octaves.reshape(-1, 2).mean(1)


def middles(corpus: Corpus) -> dict[str, float]:
    """Return the median pitch of every speaker, in octaves."""
    voiced: dict[str, list[np.ndarray]] = {}
    for s in corpus.sentences:
        hertz = corpus.pitch(s)
        voiced.setdefault(s.voice, []).append(np.log2(hertz[hertz > 0]))
    return {voice: float(np.median(np.concatenate(parts))) for voice, parts in voiced.items()}


def bounds(relative: Iterable[np.ndarray]) -> np.ndarray:
    """Return the pitches that part the tokens of a corpus into equal shares, (4,)."""
    joined = np.concatenate(list(relative))
    return np.nanquantile(joined, np.arange(1, LEVELS[1]) / LEVELS[1])


def join(phone: np.ndarray, height: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Return the codes of phone, pitch and rest digits, int16 (tokens,)."""
    return (phone + LEVELS[0] * (height + LEVELS[1] * rest)).astype(np.int16)


def codes_of(s: Sentence, relative: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return the codes of a sentence, int16 (tokens,).

    relative: (tokens,) octaves above its speaker's median. parts: of `bounds`.
    """
    return join(phones(s), np.searchsorted(parts, np.nan_to_num(relative)), rests(s))


def write_codes(corpus: Corpus) -> dict[str, float]:
    """Write the codes of every sentence; return how far borders moved, and how many are used."""
    middle = middles(corpus)
    relative = {s.id: heights(corpus.pitch(s)) - middle[s.voice] for s in corpus.sentences}
    parts = bounds(relative[s.id] for s in corpus.select("natural"))
    groups: dict[Path, list[np.ndarray]] = {}
    moved, missing, used = [], 0, set()
    for s in corpus.sentences:
        codes = codes_of(s, relative[s.id], parts)
        groups.setdefault(s.batch, []).append(codes)
        stops = borders(_ends(s), s.tokens)
        moved.append(np.abs(stops - _ends(s))[:-1])
        missing += int((np.diff(stops, prepend=0) == 0).sum())
        used.update(codes.tolist())
    for path, rows in groups.items():
        np.save(path.with_suffix(".codes.npy"), np.concatenate(rows))
    far = np.concatenate(moved)
    return {
        "moved_by_more_than_a_token": float((far > 1).mean()),
        "mean_move": float(far.mean()),
        "phones_without_token": missing,
        "codes_used": len(used),
    }


def _ends(s: Sentence) -> np.ndarray:
    return np.array([end for _, _, end in s.phones]) / 0.04


def main() -> None:
    """Write the codes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    args = parser.parse_args()
    print(write_codes(Corpus(args.out)))


if __name__ == "__main__":
    main()
