"""Does a long text drift? Voice, pitch and rate of every piece, minute by minute.

    python -m benchmarks.drift --minutes 10 --plot docs/figures/drift.svg
    python -m benchmarks.drift --model FOLDER --voice NAME --carry

New sentences of mini's closed vocabulary are spoken as one text. Of every piece are taken: the
cosine of its speaker vector (the model's own encoder, or `--sim`) with the mean of the first
minute, the median pitch of its voiced frames, and its words a second. A minute is the mean of its
pieces; drift is the slope over all pieces, a minute, with its 95 % interval. Sentences differ, so
a slope whose interval holds 0 is none. Prints JSON, then Markdown.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.protocol import markdown, out_option, publish, record

from mamtra_cli.engine.judging.metrics import plain_words
from mamtra_cli.engine.judging.similarity import Unavailable, cosine, open_similarity
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.text import sentences

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "mini"))

from pitch import track

SECONDS_A_SENTENCE = 3.1
PROTOCOL = "New sentences of a closed vocabulary as one text; pieces measured one by one."
MEASURES = {
    "likeness": "voice, cosine with the first minute",
    "pitch": "pitch, median, Hz",
    "rate": "words a second",
}


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One piece: when it begins in minutes, its speaker vector, pitch in Hz and words a second."""

    minute: float
    vector: np.ndarray
    pitch: float
    rate: float


def spoken(options: argparse.Namespace) -> list[Piece]:
    """Speak, and measure every piece."""
    engine = Engine.load(options.model)
    encoder = open_similarity(options.sim, engine)
    if isinstance(encoder, Unavailable):
        raise SystemExit(f"no judge of voices: {encoder.reason}; name one with --sim")
    count = max(2, round(60 * options.minutes / SECONDS_A_SENTENCE))
    text = " ".join(sentences.closed(4000, count))
    how = SpeechOptions(seed=options.seed, carry=options.carry)
    pieces, chunks, seconds = [], [], 0.0
    for chunk in speak(engine, text, engine.voice(options.voice), how):
        chunks.append(np.asarray(chunk.audio, np.float32))
        if chunk.piece is None:
            continue
        whole = np.concatenate(chunks)
        own = whole[-round(chunk.piece.seconds * engine.sample_rate) :]
        pieces.append(
            Piece(
                minute=seconds / 60,
                vector=encoder.embed(own, engine.sample_rate),
                pitch=pitch_of(torch.from_numpy(own), engine.sample_rate),
                rate=len(plain_words(chunk.piece.text).split()) / chunk.piece.seconds,
            )
        )
        seconds += len(whole) / engine.sample_rate
        chunks = []
    return pieces


def pitch_of(wave: torch.Tensor, rate: int) -> float:
    """Median pitch in Hz of the frames of samples (S,) that have a clear one; NaN for none."""
    pitch = track(wave, rate, rate // 50)
    return float(pitch[pitch > 0].median()) if bool((pitch > 0).any()) else float("nan")


def measured(pieces: list[Piece]) -> dict[str, np.ndarray]:
    """Each measure of all pieces, and their minutes."""
    first = np.mean([piece.vector for piece in pieces if piece.minute < 1], 0)
    return {
        "minute": np.array([piece.minute for piece in pieces]),
        "likeness": np.array([cosine(piece.vector, first) for piece in pieces]),
        "pitch": np.array([piece.pitch for piece in pieces]),
        "rate": np.array([piece.rate for piece in pieces]),
    }


def slope(minutes: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Change a minute by least squares, and half of its 95 % interval."""
    known = np.isfinite(values)
    x, y = minutes[known] - minutes[known].mean(), values[known] - values[known].mean()
    steep = float(x @ y / (x @ x))
    spread = float(((y - steep * x) ** 2).sum() / max(len(x) - 2, 1))
    return steep, 1.96 * float(np.sqrt(spread / (x @ x)))


def by_minute(found: dict[str, np.ndarray], name: str) -> list[float]:
    """Means of a measure, minute by minute."""
    minutes = found["minute"].astype(int)
    return [float(np.nanmean(found[name][minutes == n])) for n in range(minutes.max() + 1)]


def draw(path: Path, found: dict[str, np.ndarray], title: str) -> None:
    """Write the picture: pieces as points, minutes as a line."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(10, 2.8), layout="constrained")
    for axis, (name, label) in zip(axes, MEASURES.items(), strict=True):
        axis.plot(found["minute"], found[name], ".", color="0.75", markersize=3)
        means = by_minute(found, name)
        axis.plot(np.arange(len(means)) + 0.5, means, color="tab:blue")
        axis.set_xlabel("minute")
        axis.set_title(label, fontsize=9)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Speak, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--voice", default="")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--carry", action="store_true", help="pieces hear each other")
    parser.add_argument("--sim", default="auto", help="judge of voices, as in `mamtra eval`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path)
    out_option(parser)
    options = parser.parse_args()
    pieces = spoken(options)
    found = measured(pieces)
    rows: list[list[Any]] = []
    drift = {}
    for name, label in MEASURES.items():
        means = by_minute(found, name)
        change, half = slope(found["minute"], found[name])
        drift[name] = {"by_minute": means, "a_minute": change, "half_interval": half}
        rows.append([label, means[0], means[-1], f"{change:+.4f} ± {half:.4f}"])
    if options.plot is not None:
        draw(options.plot, found, f"{options.model}, {len(pieces)} pieces")
    publish(
        record(
            "drift",
            PROTOCOL,
            model=options.model,
            carry=options.carry,
            pieces=len(pieces),
            drift=drift,
        ),
        markdown(["", "first minute", "last minute", "a minute"], rows),
        options.out,
    )


if __name__ == "__main__":
    main()
