"""Does a copied voice sound like its speaker? Speakers copied from five seconds of each.

    python benchmarks/cloning.py                          # five synthesizers: festival and flite
    python benchmarks/cloning.py --corpus work/natural    # 20 that nothing was trained on

The held-out speakers are rendered by `examples/mini/natural.py --only unheard --out work/natural`.
A clip and its words are copied as `mamtra voice add` does, then everyday sentences that are in no
clip are spoken in every mode. Of each: whether, among all speakers, the nearest is the copied one
(by Resemblyzer, against the mean of that speaker's true sentences, none of them in the clip), how
like it is to that one and to the nearest other, and Whisper's word errors. `own sentences` asks the
same of the true sentences, each left out of its speaker's mean: what can be had; `own times and
tune` of their told tokens through the model's flow and vocoder: what the language model has no part
in (after `supervised_codes.py`). Intervals are 95 %, by the bootstrap over speakers.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from mamtra_cli.engine.judging.bootstrap import Ratio, interval
from mamtra_cli.engine.judging.faster_whisper import FasterWhisper
from mamtra_cli.engine.judging.metrics import count
from mamtra_cli.engine.judging.resemblyzer import Resemblyzer
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak, speak_frames
from mamtra_cli.errors import AudioRejectedError
from mamtra_cli.voices.clip import read_clip
from mamtra_cli.voices.voice import Manner, Voice

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "mini"))

RATE = 24_000
SECONDS = 5.0  # of a clip, at least
TRUE = 8  # sentences of a synthesizer: its clip, and what it is known by
FEWEST = 2  # sentences that a speaker is known by
TEXTS = Path(__file__).with_name("everyday_sentences.txt")
SPEAKERS = ("f1", "m1", "m2", "m3", "m4")
Sentences = list[tuple[str, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Likeness:
    """How near one sentence (or a true one) is to all speakers.

    speaker: index of the right one; scores: (N,) cosines to all of them.
    """

    speaker: int
    scores: np.ndarray

    @property
    def own(self) -> float:
        """Cosine to the right speaker."""
        return float(self.scores[self.speaker])

    @property
    def other(self) -> float:
        """Cosine to the nearest other one."""
        return float(np.delete(self.scores, self.speaker).max())


def likeness(speaker: int, vector: np.ndarray, centres: np.ndarray) -> Likeness:
    """Compare a vector (D,) with the speakers' means (N, D), of any length."""
    scores = centres @ vector / (np.linalg.norm(centres, axis=1) * np.linalg.norm(vector))
    return Likeness(speaker=speaker, scores=scores)


def left_out(vectors: Sequence[np.ndarray]) -> list[Likeness]:
    """Likeness of every true sentence, left out of its speaker's mean; vectors: N of (M, D)."""
    means = np.stack([own.mean(0) for own in vectors])
    found = []
    for who, own in enumerate(vectors):
        for i, vector in enumerate(own):
            centres = means.copy()
            centres[who] = np.delete(own, i, axis=0).mean(0)
            found.append(likeness(who, vector, centres))
    return found


def measures(found: Sequence[Likeness], speakers: int) -> dict[str, Ratio]:
    """Share whose nearest speaker is the right one, and both cosines, each by speaker."""

    def by_speaker(values: list[float]) -> np.ndarray:
        return np.bincount([f.speaker for f in found], weights=values, minlength=speakers)

    told = {
        "right": [float(f.own > f.other) for f in found],
        "own": [f.own for f in found],
        "other": [f.other for f in found],
    }
    counts = by_speaker([1.0] * len(found))
    return {name: Ratio(above=by_speaker(v), below=counts) for name, v in told.items()}


def synthesizers() -> dict[str, Sentences]:
    """The last everyday sentences by festival and flite, which taught the first mini."""
    from judge import source_waves

    texts = everyday()[-TRUE:]
    return {name: list(zip(texts, source_waves(name, texts), strict=True)) for name in SPEAKERS}


def held_out(folder: Path) -> dict[str, Sentences]:
    """The sentences of the held-out speakers of a corpus."""
    from dataset import Corpus

    corpus, found = Corpus(folder), dict[str, Sentences]()
    for s in corpus.select("unheard"):
        found.setdefault(s.voice, []).append((s.text, corpus.audio(s)))
    return found


def told_codes(folder: Path) -> dict[str, list[list[int]]]:
    """Told tokens of the same sentences; none where nothing told them."""
    from dataset import Corpus

    corpus, found = Corpus(folder), dict[str, list[list[int]]]()
    for s in corpus.select("unheard"):
        if corpus.has(s, "codes."):
            found.setdefault(s.voice, []).append(corpus.codes(s).tolist())
    return found


def everyday() -> list[str]:
    """Return the sentences of TEXTS."""
    return [line for line in TEXTS.read_text("utf-8").splitlines() if line.strip()]


def split(said: Sentences) -> tuple[Sentences, Sentences]:
    """Return the first sentences, SECONDS of them, and the rest, FEWEST at least."""
    used, seconds = 0, 0.0
    while seconds < SECONDS and used < len(said) - FEWEST:
        seconds += len(said[used][1]) / RATE
        used += 1
    return said[:used], said[used:]


def copied(engine: Engine, name: str, said: Sentences) -> Voice:
    """Copy a speaker from a clip of these sentences."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{name}.wav"
        soundfile.write(path, np.concatenate([wave for _, wave in said]), RATE)
        words = " ".join(text for text, _ in said)
        return engine.speaker.clone(read_clip(path), name, transcript=words)


def told(row: str, ratios: dict[str, Ratio]) -> str:
    """One row of the table: shares in percent, cosines as they are."""
    cells = []
    for name in ("right", "own", "other", "wer"):
        if name not in ratios:
            cells.append("")
            continue
        scale, digits = (100, 1) if name in ("right", "wer") else (1, 2)
        ends = interval(ratios[name])
        span = (
            "" if ends is None else f" ({scale * ends[0]:.{digits}f}-{scale * ends[1]:.{digits}f})"
        )
        cells.append(f"{scale * ratios[name].value:.{digits}f}{span}")
    return f"| {row} | {' | '.join(cells)} |"


def main() -> None:
    """Copy, speak and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--corpus", type=Path, help="folder of natural.py")
    parser.add_argument("--modes", default="cross-lingual,zero-shot")
    parser.add_argument("--each", type=int, default=2, help="sentences of a speaker and mode")
    parser.add_argument("--limit", type=int, help="only the first speakers")
    args = parser.parse_args()
    torch.set_num_threads(1)
    engine = Engine.load(args.model, device="cpu", threads=1)
    encoder, ears = Resemblyzer(), FasterWhisper("whisper-base")
    said = held_out(args.corpus) if args.corpus else synthesizers()
    names = sorted(said)[: args.limit]
    voices, true = [], []
    for name in names:
        clip, rest = split(said[name])
        voices.append(copied(engine, name, clip))
        true.append(np.stack([encoder.embed(wave, RATE) for _, wave in rest]))
    print("| row | nearest is right, % | likeness | nearest other | WER % |\n|---|---|---|---|---|")
    print(told("own sentences", measures(left_out(true), len(names))), flush=True)
    centres, texts = np.stack([own.mean(0) for own in true]), everyday()[:-TRUE]
    told_rows = told_codes(args.corpus) if args.corpus else {}
    if told_rows:
        found = []
        for who, (name, vectors) in enumerate(zip(names, true, strict=True)):
            for codes in told_rows[name][-len(vectors) :]:
                wave = speak_frames(engine, [(code,) for code in codes], voices[who]).numpy()
                found.append(likeness(who, encoder.embed(wave, RATE), centres))
        print(told("own times and tune", measures(found, len(names))), flush=True)
    for mode in args.modes.split(","):
        found, errors = [], np.zeros((2, len(names)))
        for who, voice in enumerate(voices):
            for i in range(args.each):
                text = texts[(who * args.each + i) % len(texts)]
                options = SpeechOptions(seed=i, manner=Manner(mode=mode))
                try:
                    chunks = list(speak(engine, text, voice, options))
                except AudioRejectedError as error:
                    print(f"{voice.name}, {mode}, `{text}`: {error.message}", file=sys.stderr)
                    continue
                wave = torch.cat([chunk.audio for chunk in chunks]).numpy()
                found.append(likeness(who, encoder.embed(wave, RATE), centres))
                words = count(text, ears.transcribe(wave, RATE), "whisper-en")
                errors[:, who] += words.errors, words.words
        wer = {"wer": Ratio(above=errors[0], below=errors[1])}
        print(told(mode, measures(found, len(names)) | wer), flush=True)


if __name__ == "__main__":
    main()
