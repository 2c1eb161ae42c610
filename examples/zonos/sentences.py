"""The corpus as Zonos reads it: phones by espeak, each with the time that it is spoken in.

Corpora are folders of `examples/mini` (`corpus.py`, `natural.py`), which tell the phones and times
of every sentence. espeak's phones are laid upon those by dynamic programming: a letter costs
nothing where it may stand for a phone, marks cost nothing in a pause. What is computed is kept in
one file.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1] / "mini"))
from dataset import SILENCES, Corpus, Sentence

from mamtra_cli.families.zonos.front_end import ZonosFrontEnd
from mamtra_cli.families.zonos.positions import USUAL_RATE
from mamtra_cli.families.zonos.symbols import BEGIN, END, PUNCTUATION, ROWS, TABLE_ROWS

IPA = {  # letters that a phone of the corpora may be written with
    "aa": "ɑɔːɐa", "ae": "æɐa", "ah": "ʌɐəɪɑ", "ao": "ɔːɑoɹ", "aw": "aʊ", "ax": "əɐɪʌᵻ", "ay": "aɪ",
    "b": "b", "ch": "tʃ", "d": "dɾ", "dh": "ð", "eh": "ɛeə", "er": "ɜːɚəɹɪ", "ey": "eɪ", "f": "f",
    "g": "ɡ", "hh": "h", "ih": "ɪiᵻəɛ", "iy": "iːɪ", "jh": "dʒ", "k": "k", "l": "lə", "m": "m",
    "n": "nə", "ng": "ŋ", "ow": "oʊɔə", "oy": "ɔɪ", "p": "p", "r": "ɹɚɜː", "s": "s", "sh": "ʃ",
    "t": "tɾʔ", "th": "θ", "uh": "ʊə", "uw": "uːʊə", "v": "v", "w": "w", "y": "j", "z": "z",
    "zh": "ʒ",
}  # fmt: skip
VOWELS = set("ɑɐɒæɔəɚɛɜɪʊʌᵻaeiouː")
MARKS = set(PUNCTUATION) | set("ˈˌ")
OTHER, LIKE, SKIPPED, INSIDE = 1.0, 0.5, 0.6, 0.2
MIDDLE = 0.5
GLYPHS = {row: symbol for symbol, row in ROWS.items()} | {BEGIN: ".", END: "."}


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """A sentence with its phones.

    Attributes:
        sentence: of the corpus.
        corpus: that it is of.
        ids: rows of its phones, begin and end among them.
        ends: frames after which each is over.
    """

    sentence: Sentence
    corpus: Corpus
    ids: tuple[int, ...]
    ends: tuple[float, ...]

    @property
    def owners(self) -> np.ndarray:
        """Which phone each frame belongs to: (frames,)."""
        middles = np.arange(self.sentence.tokens) + MIDDLE
        found = np.searchsorted(np.array(self.ends), middles, side="right")
        return np.minimum(found, len(self.ids) - 1)

    @property
    def following(self) -> np.ndarray:
        """The next letter after each phone, else the last: (phones,)."""
        found, last = [], len(self.ids) - 1
        for row in reversed(self.ids):
            found.append(last)
            if GLYPHS.get(row, "?") not in MARKS:
                last = len(self.ids) - len(found)
        return np.array(found[::-1])

    def wave(self) -> torch.Tensor:
        """Its samples (S,) at 24 kHz, whole frames of them."""
        return torch.from_numpy(self.corpus.audio(self.sentence))


def cost(glyph: str, phone: str) -> float:
    """How badly a letter or mark fits a phone."""
    if phone in SILENCES:
        return 0.0 if glyph in PUNCTUATION else OTHER
    if glyph in MARKS:
        return INSIDE
    if glyph in IPA.get(phone, ""):
        return 0.0
    vowel = phone[0] in "aeiou"
    return LIKE if (glyph in VOWELS) == vowel else OTHER


def laid(ids: Sequence[int], phones: Sequence[tuple[str, int, float]]) -> tuple[float, ...]:
    """Seconds at which each of `ids` ends; every one falls to one phone, in order."""
    names = [name for name, _, _ in phones]
    skip = np.cumsum([0.0] + [0.0 if name in SILENCES else SKIPPED for name in names])
    best = skip[:-1].copy()  # before the first letter, phones up to each were skipped
    before = []
    for place, row in enumerate(ids):
        fits = np.array([cost(GLYPHS.get(row, "?"), name) for name in names])
        if place:
            left = best - skip[1:]
            first = np.minimum.accumulate(left)
            source = np.maximum.accumulate(np.where(left == first, np.arange(len(left)), 0))
            moved = np.append(np.inf, first[:-1]) + skip[:-1]
            stay = best <= moved
            before.append(np.where(stay, np.arange(len(best)), np.append(0, source[:-1])))
            best = np.where(stay, best, moved) + fits
        else:
            best = best + fits
    at = int(np.argmin(best + skip[-1] - skip[1:]))
    path = [at]
    for sources in reversed(before):
        path.append(at := int(sources[at]))
    path.reverse()
    return _times(ids, path, [end for _, _, end in phones])


def _times(ids: Sequence[int], path: list[int], ends: list[float]) -> tuple[float, ...]:
    """Share the time of each phone among its letters; marks take some only where they are alone."""
    found = [0.0] * len(ids)
    start, first = 0.0, 0
    while first < len(ids):
        last = first
        while last + 1 < len(ids) and path[last + 1] == path[first]:
            last += 1
        stop = ends[path[last + 1] - 1] if last + 1 < len(ids) else ends[-1]
        group = range(first, last + 1)
        weights = [0.0 if GLYPHS.get(ids[i], "?") in MARKS else 1.0 for i in group]
        weights = weights if sum(weights) else [1.0] * len(weights)
        for i, share in zip(group, np.cumsum(weights) / sum(weights), strict=True):
            found[i] = start + (stop - start) * float(share)
        start, first = stop, last + 1
    return tuple(found)


def read(folders: Iterable[Path], kept: Path, kinds: Sequence[str]) -> list[Utterance]:
    """Every sentence of some kinds, in a fixed order; phones and times are kept in a file."""
    known = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    front, found, fresh = ZonosFrontEnd(), [], False
    for folder in folders:
        corpus = Corpus(folder)
        rows = corpus.select(*kinds)
        if any(s.id not in known for s in rows):
            fresh = True
            _ = front.prompt_ids(" ".join(s.text for s in rows))  # one call pronounces all words
        for s in rows:
            if s.id not in known:
                ids = front.prompt_ids(s.text)
                known[s.id] = [ids, [round(25 * end, 3) for end in laid(ids, s.phones)]]
            ids, ends = known[s.id]
            found.append(Utterance(sentence=s, corpus=corpus, ids=tuple(ids), ends=tuple(ends)))
    if fresh:
        kept.write_text(json.dumps(known), "utf-8")
    return found


def durations(rows: Sequence[Utterance]) -> tuple[float, ...]:
    """Mean frames of every row of the table of phones."""
    total, count = np.zeros(TABLE_ROWS), np.zeros(TABLE_ROWS)
    for each in rows:
        np.add.at(total, list(each.ids), np.diff(each.ends, prepend=0.0))
        np.add.at(count, list(each.ids), 1)
    mean = np.where(count > 0, total / np.maximum(count, 1), 2.0)
    return tuple(round(float(x), 3) for x in mean)


def rate(each: Utterance, table: Sequence[float]) -> float:
    """Phones a second, `USUAL_RATE` where each takes its mean time."""
    return USUAL_RATE * sum(table[row] for row in each.ids) / max(1, each.sentence.tokens)
