"""Stage 1b: natural speech with exact times and pitch, for mini's vocoder and for its next voice.

    python examples/mini/natural.py --tables package/voices --out work/natural

Sentences are WordNet's (`wordnet.py`), the voice is Kokoro's (`kokoro.py`). Four main voices speak
most; mixes of timbres and prosodies are new speakers. What is held out (sentences and speakers) is
written to `natural.json` before anything is rendered. Batches lie in the form of `corpus.py` with
the pitch of every mel frame beside them (`NAME.pitch.npy`); a finished one is kept, and the order
spreads over all speakers, so a corpus is usable wherever it was stopped. Needs the packages named
in `kokoro.py` and `wordnet-base`; about 0.65 processor seconds a second of speech.
"""

import argparse
import json
import multiprocessing
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import kokoro
import numpy as np
import wordnet
from corpus import SAMPLE_RATE
from dataset import TOKEN_SAMPLES
from kokoro import Style

from mamtra_cli.hub import BUILT_IN

BATCH = 30
MAIN = ("af_heart", "am_michael", "af_bella", "am_fenrir")
SEXES = ("af_", "am_", "bf_", "bm_")
MIXES, HELD_OUT_MIXES = 200, 20
CLIPS = 20  # sentences of a mix: about a minute
HOURS = 1.5  # of a main voice
SECONDS = 2.9  # of a sentence, on average
KINDS = {"main": "natural", "mix": "natural", "held-out": "unheard", "test": "test-natural"}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One unit of rendering: sentences of one speaker."""

    name: str
    style: Style
    texts: list[str]


def speakers(tables: Path) -> dict[str, Style]:
    """Return every speaker by id: four main voices, mixes, and mixes that nothing learns from."""
    names = sorted(p.stem for p in tables.glob("*.bin") if p.stem.startswith(SEXES))
    found = {f"n{i + 1}": Style(timbre=(v,), prosody=(v,)) for i, v in enumerate(MAIN)}
    rng = random.Random(1)
    for i in range(MIXES + HELD_OUT_MIXES):
        timbre = tuple(rng.sample(names, rng.choice((2, 2, 3))))
        prosody = tuple(rng.sample(names, rng.choice((1, 2))))
        kind = "x" if i < MIXES else "h"
        found[f"{kind}{i if i < MIXES else i - MIXES:03d}"] = Style(timbre=timbre, prosody=prosody)
    return found


def plan(tables: Path, hours: float) -> list[Batch]:
    """Lay out all batches: tests first, then rounds over all speakers."""
    who, kept, texts = speakers(tables), wordnet.held_out(), wordnet.known()
    batches = []

    def add(voice: str, kind: str, lines: list[str], start: int) -> None:
        name = f"{voice}-{kind}-{start:05d}"
        batches.append(Batch(name=name, style=who[voice], texts=lines))

    for i in range(len(MAIN)):
        share = kept[i :: len(MAIN)]
        for start in range(0, len(share), BATCH):
            add(f"n{i + 1}", KINDS["test"], share[start : start + BATCH], start)
    for i in range(HELD_OUT_MIXES):
        add(f"h{i:03d}", KINDS["held-out"], kept[5 * i : 5 * i + 5], 0)
    rounds = max(1, round(hours * 3600 / SECONDS / BATCH))
    used, mixed = 0, 0
    for turn in range(rounds):
        for i in range(len(MAIN)):
            lines = [texts[(used + j) % len(texts)] for j in range(BATCH)]
            add(f"n{i + 1}", KINDS["main"], lines, turn * BATCH)
            used += BATCH
        while mixed < MIXES * min(1.0, (turn + 1) / rounds):
            lines = [texts[(used + j) % len(texts)] for j in range(CLIPS)]
            add(f"x{mixed:03d}", KINDS["mix"], lines, 0)
            used, mixed = used + CLIPS, mixed + 1
    return batches


class Renderer:
    """Renders batches into a folder, each process with a model of its own."""

    def __init__(self, folder: Path, graph: Path, tables: Path, front_end: Path) -> None:
        self.folder = folder
        self.where = (graph, tables, front_end)

    def __call__(self, batch: Batch) -> float:
        """Render one batch unless it is there; return its seconds of speech."""
        target = self.folder / f"{batch.name}.npy"
        if target.exists():
            return float(len(np.load(target, mmap_mode="r"))) / SAMPLE_RATE
        global _source
        if _source is None:
            _source = kokoro.Kokoro(*self.where)
        waves, rows, pitches, start = [], [], [], 0
        for i, text in enumerate(batch.texts):
            spoken = _source.speak(text, batch.style)
            samples = (np.clip(spoken.audio, -1.0, 1.0) * 32767).round().astype(np.int16)
            row = {"id": f"{batch.name}-{i:03d}", "text": text, "start": start}
            rows.append(row | {"samples": len(samples), "phones": spoken.phones})
            rows[-1]["words"] = spoken.words
            waves.append(samples)
            frames = 2 * (len(samples) // TOKEN_SAMPLES)
            pitches.append(kokoro.at_frames(spoken.pitch, frames))
            start += len(samples)
        table = "".join(json.dumps(row) + "\n" for row in rows)
        (self.folder / f"{batch.name}.jsonl").write_text(table)
        np.save(self.folder / f"{batch.name}.pitch.npy", np.concatenate(pitches).astype(np.float16))
        partial = target.with_suffix(".tmp.npy")
        np.save(partial, np.concatenate(waves))
        partial.rename(target)
        return start / SAMPLE_RATE


_source: kokoro.Kokoro | None = None


def main() -> None:
    """Render the corpus into --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--tables", type=Path, required=True, help="voices/ of npm's kokoro-js")
    parser.add_argument("--front-end", type=Path, default=BUILT_IN["mini"])
    parser.add_argument("--hours", type=float, default=HOURS, help="of each main voice")
    parser.add_argument("--only", choices=sorted(set(KINDS.values())), help="one kind of batch")
    parser.add_argument("--limit", type=int, help="only the first batches")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    from rich.progress import track

    folder = args.out / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    graph = kokoro.exposed_graph(args.out)
    batches = plan(args.tables, args.hours)
    told = {
        "held_out_sentences": wordnet.held_out(),
        "speakers": {name: asdict(style) for name, style in speakers(args.tables).items()},
        "kinds": KINDS,
    }
    (args.out / "natural.json").write_text(json.dumps(told, indent=1))
    if args.only:
        batches = [batch for batch in batches if f"-{args.only}-" in batch.name]
    batches = batches[: args.limit]
    render = Renderer(folder, graph, args.tables, args.front_end)
    seconds = 0.0
    with multiprocessing.Pool(args.jobs) as pool:
        for s in track(pool.imap(render, batches), total=len(batches), description="render"):
            seconds += s
    print(f"{sum(len(b.texts) for b in batches)} sentences, {seconds / 3600:.2f} h")


if __name__ == "__main__":
    main()
