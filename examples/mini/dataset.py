"""Reads the rendered corpus: samples, features and phones of any sentence. Run: computes features.

`Corpus` holds every sentence that `corpus.py`, `natural.py` and `sped.py` wrote; mel, log-mel,
pitch and (once the tokenizer is trained) speech tokens lie beside each batch as float16 and int16
arrays, computed once.
"""

import argparse
import json
import multiprocessing
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from pitch import track

from mamtra_cli import features
from mamtra_cli.codecs.flow_hift.config import MelConfig

MEL = MelConfig()
TOKEN_SAMPLES = 960  # 40 ms at 24 kHz
SILENCES = ("pau", "h#", "brth", "#")
TOLD = "told"  # kind of sentences whose times and pitch are known, and no sound
SPED = "sped"  # kind of sentences that are others, played at another speed


@dataclass
class Sentence:
    """One sentence of the corpus; frame and token counts follow from `samples`."""

    id: str
    text: str
    voice: str
    kind: str
    batch: Path
    start: int
    samples: int
    phones: list[tuple[str, int, float]]
    words: list[tuple[str, list[str]]]
    mel_start: int = 0
    logmel_start: int = 0
    token_start: int = 0

    @property
    def tokens(self) -> int:
        """Speech tokens of 40 ms."""
        return self.samples // TOKEN_SAMPLES

    @property
    def symbols(self) -> list[str]:
        """Return the text symbols: phones with stress on vowels, pauses by their place."""
        names = []
        for i, (phone, stress, _) in enumerate(self.phones):
            if phone in SILENCES:
                final = "?" if self.text.endswith("?") else "."
                at_end = i == len(self.phones) - 1
                names.append("#" if i == 0 else final if at_end else ",")
            else:
                names.append(phone + "1" if phone[0] in "aeiou" and stress else phone)
        return names

    @property
    def owners(self) -> np.ndarray:
        """Return the index of the symbol each token belongs to (its middle decides), (tokens,)."""
        ends = np.array([end for _, _, end in self.phones])
        middles = (np.arange(self.tokens) + 0.5) * 0.04
        return np.minimum(np.searchsorted(ends, middles, side="right"), len(ends) - 1)


class Corpus:
    """Every rendered sentence, with lazily mapped arrays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.maps: dict[Path, np.ndarray] = {}
        self.sentences: list[Sentence] = []
        for table in sorted((folder / "corpus").glob("*.jsonl")):
            voice, kind = table.stem.rsplit("-", 1)[0].split("-", 1)
            if kind != TOLD and not table.with_suffix(".npy").exists():
                continue
            mel = logmel = token = 0
            for line in table.read_text().splitlines():
                row = json.loads(line)
                sentence = Sentence(
                    voice=voice,
                    kind=kind,
                    batch=table,
                    id=row["id"],
                    text=row["text"],
                    start=row["start"],
                    samples=row["samples"],
                    phones=[tuple(p) for p in row["phones"]],
                    words=[tuple(w) for w in row["words"]],
                    mel_start=mel,
                    logmel_start=logmel,
                    token_start=token,
                )
                mel += 2 * sentence.tokens
                logmel += 4 * sentence.tokens
                token += sentence.tokens
                self.sentences.append(sentence)

    def select(self, *kinds: str, voices: tuple[str, ...] = ()) -> list[Sentence]:
        """Return the sentences of some kinds (and voices), in a fixed order."""
        return [
            s
            for s in self.sentences
            if s.kind in kinds and (not voices or s.voice in voices) and s.tokens > 12
        ]

    def _map(self, sentence: Sentence, what: str) -> np.ndarray:
        path = sentence.batch.with_suffix(f".{what}npy")
        if path not in self.maps:
            self.maps[path] = np.load(path, mmap_mode="r")
        return self.maps[path]

    def audio(self, s: Sentence, start: int = 0, count: int | None = None) -> np.ndarray:
        """Return samples as float32 (S,) at 24 kHz, whole tokens of them."""
        stop = s.tokens * TOKEN_SAMPLES if count is None else start + count
        block = self._map(s, "")[s.start + start : s.start + stop]
        return block.astype(np.float32) / 32768

    def mel(self, s: Sentence) -> np.ndarray:
        """Return the 24 kHz log-mel, float32 (2 * tokens, 80)."""
        at = s.mel_start
        return self._map(s, "mel.")[at : at + 2 * s.tokens].astype(np.float32)

    def logmel(self, s: Sentence) -> np.ndarray:
        """Return the tokenizer's log-mel, float32 (4 * tokens, 128)."""
        at = s.logmel_start
        return self._map(s, "logmel.")[at : at + 4 * s.tokens].astype(np.float32)

    def has(self, s: Sentence, what: str) -> bool:
        """Whether an array of that kind lies beside the sentence's batch."""
        return s.batch.with_suffix(f".{what}npy").exists()

    def flow_mel(self, s: Sentence) -> np.ndarray:
        """Return the mel that the flow made of the sentence's tokens, float32 (2 * tokens, 80)."""
        at = s.mel_start
        return self._map(s, "flowmel.")[at : at + 2 * s.tokens].astype(np.float32)

    def pitch(self, s: Sentence) -> np.ndarray:
        """Return the pitch in Hz of each mel frame, 0 where unvoiced, float32 (2 * tokens,)."""
        at = s.mel_start
        return self._map(s, "pitch.")[at : at + 2 * s.tokens].astype(np.float32)

    def codes(self, s: Sentence) -> np.ndarray:
        """Return the speech tokens, int64 (tokens,)."""
        at = s.token_start
        return self._map(s, "codes.")[at : at + s.tokens].astype(np.int64)

    def compute_features(self, jobs: int) -> None:
        """Write the mel, log-mel and pitch arrays of every batch that lacks them."""
        groups: dict[Path, list[Sentence]] = {}
        for s in self.sentences:
            if s.kind != TOLD:
                groups.setdefault(s.batch, []).append(s)
        missing = [
            (self.folder, rows)
            for path, rows in groups.items()
            if not path.with_suffix(".logmel.npy").exists()
        ]
        with multiprocessing.Pool(jobs) as pool:
            for _ in pool.imap_unordered(_batch_features, missing):
                pass


def _batch_features(job: tuple[Path, list[Sentence]]) -> None:
    torch.set_num_threads(1)
    _, rows = job
    audio = np.load(rows[0].batch.with_suffix(".npy"), mmap_mode="r")
    mels, logmels = [], []
    for s in rows:
        samples = audio[s.start : s.start + s.tokens * TOKEN_SAMPLES].astype(np.float32) / 32768
        mels.append(features.mel24k(torch.from_numpy(samples)).T.half().numpy())
        narrow = soxr.resample(samples, 24_000, 16_000)
        logmel = features.logmel128(torch.from_numpy(narrow)).T
        logmels.append(logmel[: 4 * s.tokens].half().numpy())
        if len(mels[-1]) != 2 * s.tokens or len(logmels[-1]) != 4 * s.tokens:
            raise RuntimeError(f"{s.id}: {len(mels[-1])} and {len(logmels[-1])} frames")
    if not rows[0].batch.with_suffix(".pitch.npy").exists():  # natural speech brings its own
        waves = [
            torch.from_numpy(audio[s.start : s.start + s.samples] / np.float32(32768)) for s in rows
        ]
        pitches = [
            track(wave)[: 2 * s.tokens].half().numpy() for wave, s in zip(waves, rows, strict=True)
        ]
        np.save(rows[0].batch.with_suffix(".pitch.npy"), np.concatenate(pitches))
    for what, arrays in (("mel", mels), ("logmel", logmels)):
        temporary = rows[0].batch.with_suffix(f".{what}.tmp.npy")
        np.save(temporary, np.concatenate(arrays))
        temporary.rename(rows[0].batch.with_suffix(f".{what}.npy"))


def draw(rows: list[Sentence], step: int, n: int, seed: int = 0) -> list[Sentence]:
    """Return the n sentences of a step: shuffled epochs, a function of seed and step alone."""
    per_epoch = len(rows) // n
    epoch, index = divmod(step, per_epoch)
    order = list(range(len(rows)))
    random.Random(seed * 100_003 + epoch).shuffle(order)
    return [rows[i] for i in order[index * n : (index + 1) * n]]


def main() -> None:
    """Compute the features that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    Corpus(args.out).compute_features(args.jobs)


if __name__ == "__main__":
    main()
