"""What `mamtra prepare` spends its time on, and whether batches change tokens.

Writes sentences of the rendered corpus of `examples/mini` as a LibriTTS folder (to be prepared by
the command itself), then times each step on them in CPU seconds of one thread, and counts the
tokens that differ between clips encoded together and alone.

    python benchmarks/preparing.py --corpus work/mini --clips 1500 --out work/LibriTTS
"""

import argparse
import random
import sys
import time
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "mini"))

from dataset import Corpus

from mamtra_cli.engine.corpora.clip import Clip
from mamtra_cli.engine.corpora.corpus import find
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.preparing.audio_rows import open_encoder

KINDS = ("mixed", "closed", "open")


def write_clips(corpus: Corpus, count: int, out: Path) -> float:
    """Write sentences in LibriTTS's layout; return their seconds."""
    rows = corpus.select(*KINDS)
    random.Random(0).shuffle(rows)
    seconds = 0.0
    for number, row in enumerate(rows[:count]):
        folder = out / row.voice / str(number % 7)
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{row.voice}_{number % 7}_{number:06}"
        soundfile.write(folder / f"{stem}.wav", corpus.audio(row), 24_000)
        for ending in ("normalized", "original"):
            (folder / f"{stem}.{ending}.txt").write_text(row.text + "\n")
        seconds += row.samples / 24_000
    return seconds


def main() -> None:
    """Write, time and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=1500)
    parser.add_argument("--timed", type=int, default=400)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    seconds = write_clips(Corpus(args.corpus), args.clips, args.out)
    print(f"{args.clips} clips, {seconds / 3600:.2f} h in {args.out}")
    engine = Engine.load("mini", device="cpu", threads=1)
    encoder = open_encoder(engine)
    clips = [c for c in find(args.out).entries() if isinstance(c, Clip)][: args.timed]
    engine.front_end.prompt_ids("warm")
    marks = [time.process_time()]
    for clip in clips:
        clip.sha256()
    marks.append(time.process_time())
    waves = [clip.load(encoder.rate, 30.0) for clip in clips]
    marks.append(time.process_time())
    for clip in clips:
        engine.front_end.prompt_ids(clip.text)
    marks.append(time.process_time())
    together = encoder.encode(waves)
    marks.append(time.process_time())
    alone = [encoder.encode([wave])[0] for wave in waves]
    marks.append(time.process_time())
    sound = sum(map(len, waves)) / encoder.rate
    names = ("hash", "decode and resample", "text", "encode in batches", "encode one by one")
    print(f"CPU seconds for {len(clips)} clips, {sound:.0f} s of sound")
    for name, spent in zip(names, np.diff(marks), strict=True):
        print(f"  {name:<20} {spent:6.2f}")
    pairs = [(a, b) for (a, _), (b, _) in zip(together, alone, strict=True)]
    differ = sum(int((a != b).sum()) for a, b in pairs)
    print(f"tokens that differ: {differ} of {sum(len(a) for a, _ in pairs)}")


if __name__ == "__main__":
    main()
