"""Stage 2b: more speakers than were rendered, by playing the mixed ones slower and faster.

    python examples/mini/sped.py --out work/natural

Played at another speed a voice has another pitch and other formants: another speaker, at no cost
but resampling (speed perturbation; as new speakers: Yamamoto et al., Odyssey 2020). Each batch of a
mix is written twice, as speakers `NAMEs` (slower, lower) and `NAMEf`, of the kind `sped`, which the
flow and its speaker encoder hear. Phone times and pitch go with the speed. A finished one is kept.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import soxr
from corpus import SAMPLE_RATE
from dataset import SPED, TOKEN_SAMPLES, Corpus, Sentence
from rich.progress import track

SPEEDS = {"s": (0.86, 0.95), "f": (1.05, 1.16)}  # enough for another speaker


def played(corpus: Corpus, s: Sentence, speed: float) -> tuple[np.ndarray, np.ndarray]:
    """Return samples int16 (S,) at 24 kHz and pitch in Hz of each mel frame, float16 (F,)."""
    wave = soxr.resample(corpus.audio(s), speed * SAMPLE_RATE, SAMPLE_RATE)
    frames = 2 * (len(wave) // TOKEN_SAMPLES)
    places = ((np.arange(frames) + 0.5) * speed).astype(int)
    pitch = corpus.pitch(s)
    hertz = speed * pitch[np.minimum(places, len(pitch) - 1)]
    return (np.clip(wave, -1.0, 1.0) * 32767).round().astype(np.int16), hertz.astype(np.float16)


def play(corpus: Corpus, rows: list[Sentence], letter: str) -> None:
    """Write a batch at another speed beside it, unless it is there."""
    batch = rows[0].batch
    name = f"{rows[0].voice}{letter}-{SPED}-{batch.stem.rsplit('-', 1)[1]}"
    table = batch.with_name(f"{name}.jsonl")
    target = table.with_suffix(".npy")
    if target.exists():
        return
    speed = random.Random(name).uniform(*SPEEDS[letter])
    lines, waves, pitches, start = [], [], [], 0
    for s in rows:
        wave, pitch = played(corpus, s, speed)
        phones = [(phone, stress, round(end / speed, 4)) for phone, stress, end in s.phones]
        row = {"id": f"{name}-{s.id.rsplit('-', 1)[1]}", "text": s.text, "start": start}
        lines.append(json.dumps(row | {"samples": len(wave), "phones": phones, "words": s.words}))
        waves.append(wave)
        pitches.append(pitch)
        start += len(wave)
    np.save(table.with_suffix(".pitch.npy"), np.concatenate(pitches))
    table.write_text("".join(line + "\n" for line in lines))
    partial = target.with_suffix(".tmp.npy")
    np.save(partial, np.concatenate(waves))
    partial.rename(target)


def main() -> None:
    """Write every mix twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    args = parser.parse_args()
    corpus, groups = Corpus(args.out), dict[Path, list[Sentence]]()
    for s in corpus.sentences:
        if s.kind == "natural" and s.voice[0] == "x":
            groups.setdefault(s.batch, []).append(s)
    for rows in track(list(groups.values()), description=SPED):
        for letter in SPEEDS:
            play(corpus, rows, letter)


if __name__ == "__main__":
    main()
