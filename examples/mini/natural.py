"""Stage 1b: natural speech with exact times and pitch, for mini's vocoder and for its next voice.

    python examples/mini/natural.py --tables package/voices --out work/natural

Sentences are WordNet's (`wordnet.py`), the voice is Kokoro's (`kokoro.py`). Four main voices speak
most; mixes of timbres and prosodies are new speakers. What is held out (sentences and speakers) is
written to `natural.json` before anything is rendered. Batches lie in the form of `corpus.py` with
the pitch of every mel frame beside them (`NAME.pitch.npy`); a finished one is kept, and the order
spreads over all speakers, so a corpus is usable wherever it was stopped. Last come sentences that
are told only, phones and pitch without sound: a language model needs no more. Needs the packages
named in `kokoro.py` and `wordnet-base`; about 0.65 processor seconds a second of speech, 0.013 of
what is told.
"""

import argparse
import json
import multiprocessing
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import kokoro
import numpy as np
import rehearsal
import wordnet
from corpus import SAMPLE_RATE
from dataset import TOKEN_SAMPLES, TOLD
from kokoro import Spoken, Style
from sources import MAIN, NATURAL_VOICES, TELLER

from mamtra_cli.hub import BUILT_IN
from mamtra_cli.text import sentences

BATCH = 30
MAIN_STYLES = ("af_heart", "am_michael", "af_bella", "am_fenrir")
SEXES = ("af_", "am_", "bf_", "bm_")
MIXES, HELD_OUT_MIXES = 200, 20
CLIPS = 20  # sentences of a mix: about a minute
HOURS = 1.5  # of a main voice
SECONDS = 2.9  # of a sentence, on average
KINDS = {"main": "natural", "mix": "natural", "held-out": "unheard", "test": "test-natural"}
PHRASES, GENERATED = 20_000, 4000  # sentences that the teller tells, of WordNet and of the grammar
TALES = 40  # sentences that every other speaker tells
TELLINGS = 400  # sentences of a batch that is told
Speak = Callable[..., Spoken]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One unit of rendering: sentences of one speaker."""

    name: str
    style: Style
    texts: list[str]
    sound: bool = True


def speakers(tables: Path) -> dict[str, Style]:
    """Return every speaker by id: four main voices, mixes, and mixes that nothing learns from."""
    names = sorted(p.stem for p in tables.glob("*.bin") if p.stem.startswith(SEXES))
    found = {n: Style(timbre=(v,), prosody=(v,)) for n, v in zip(MAIN, MAIN_STYLES, strict=True)}
    rng = random.Random(1)
    for i in range(MIXES + HELD_OUT_MIXES):
        timbre = tuple(rng.sample(names, rng.choice((2, 2, 3))))
        prosody = tuple(rng.sample(names, rng.choice((1, 2))))
        kind = "x" if i < MIXES else "h"
        found[f"{kind}{i if i < MIXES else i - MIXES:03d}"] = Style(timbre=timbre, prosody=prosody)
    return found


def rehearsed() -> dict[str, Style]:
    """Return the speakers of a rehearsal: those of the model's voices, and a held-out one."""
    names = [*(speaker for speaker, _ in NATURAL_VOICES.values()), "h000"]
    return {name: Style(timbre=(name,), prosody=(name,)) for name in names}


def plan(
    who: dict[str, Style], kept: list[str], texts: list[str], hours: float, size: int = BATCH
) -> list[Batch]:
    """Lay out all batches: tests first, then rounds over all speakers.

    Args:
        who: speakers by id: n... main voices, x... mixes, h... mixes that are held out.
        kept: sentences that are held out.
        texts: sentences to learn from, used again where they do not last.
        hours: of each main voice.
        size: sentences of a batch of a main voice, and at most of a mix.
    """
    batches = []
    clips = min(CLIPS, size)
    main, mixes, held_out = ([name for name in who if name[0] == kind] for kind in "nxh")

    def add(voice: str, kind: str, lines: list[str], start: int) -> None:
        name = f"{voice}-{kind}-{start:05d}"
        batches.append(Batch(name=name, style=who[voice], texts=lines))

    for i, voice in enumerate(main):
        share = kept[i :: len(main)]
        for start in range(0, len(share), size):
            add(voice, KINDS["test"], share[start : start + size], start)
    for i, voice in enumerate(held_out):
        add(voice, KINDS["held-out"], kept[5 * i : 5 * i + 5], 0)
    rounds = max(1, round(hours * 3600 / SECONDS / size))
    used, mixed = 0, 0
    for turn in range(rounds):
        for voice in main:
            lines = [texts[(used + j) % len(texts)] for j in range(size)]
            add(voice, KINDS["main"], lines, turn * size)
            used += size
        while mixed < len(mixes) * min(1.0, (turn + 1) / rounds):
            lines = [texts[(used + j) % len(texts)] for j in range(clips)]
            add(mixes[mixed], KINDS["mix"], lines, 0)
            used, mixed = used + clips, mixed + 1
    return batches


def tales(
    who: dict[str, Style], texts: list[str], generated: list[str], others: int = TALES
) -> list[Batch]:
    """Lay out what is told without sound: most by TELLER, some by every other speaker.

    texts, generated: what the teller tells; the others tell texts that come after.
    """
    lines = {TELLER: texts[:PHRASES] + generated}
    for i, name in enumerate(name for name in who if name[0] in "nx" and name != TELLER):
        start = PHRASES + i * others
        lines[name] = [texts[(start + j) % len(texts)] for j in range(others)]
    return [
        Batch(
            name=f"{name}-{TOLD}-{start:05d}",
            style=who[name],
            texts=said[start : start + TELLINGS],
            sound=False,
        )
        for name, said in lines.items()
        for start in range(0, len(said), TELLINGS)
    ]


class Renderer:
    """Renders batches into a folder; each process opens its own model with `open_source`."""

    def __init__(self, folder: Path, open_source: Callable[[], Speak]) -> None:
        self.folder = folder
        self.open_source = open_source

    def __call__(self, batch: Batch) -> float:
        """Render one batch unless it is there; return its seconds of speech."""
        table = self.folder / f"{batch.name}.jsonl"
        target = table.with_suffix(".npy") if batch.sound else table
        if target.exists():
            last = json.loads(table.read_text().splitlines()[-1])
            return float(last["start"] + last["samples"]) / SAMPLE_RATE
        global _speak
        if _speak is None:
            _speak = self.open_source()
        waves, rows, pitches, start = [], [], [], 0
        for i, text in enumerate(batch.texts):
            spoken = _speak(text, batch.style, sound=batch.sound)
            if spoken.audio is None:
                samples = round(spoken.phones[-1][2] * SAMPLE_RATE)
            else:
                audio = np.clip(spoken.audio, -1.0, 1.0) * 32767
                waves.append(audio.round().astype(np.int16))
                samples = len(audio)
            row = {"id": f"{batch.name}-{i:03d}", "text": text, "start": start}
            row |= {"samples": samples, "phones": spoken.phones, "words": spoken.words}
            rows.append(row)
            frames = 2 * (samples // TOKEN_SAMPLES)
            pitches.append(kokoro.at_frames(spoken.pitch, frames))
            start += samples
        np.save(table.with_suffix(".pitch.npy"), np.concatenate(pitches).astype(np.float16))
        partial = table.with_suffix(".tmp")
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
        partial.rename(table)
        if waves:
            partial = target.with_suffix(".tmp.npy")
            np.save(partial, np.concatenate(waves))
            partial.rename(target)
        return start / SAMPLE_RATE


_speak: Speak | None = None


def open_kokoro(graph: Path, tables: Path, front_end: Path) -> Speak:
    """Open Kokoro and return how it speaks."""
    return kokoro.Kokoro(graph, tables, front_end).speak


def open_rehearsal() -> Speak:
    """Return how mini speaks in its place."""
    return rehearsal.spoken


def main() -> None:
    """Render the corpus into --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--tables", type=Path, help="voices/ of npm's kokoro-js")
    source.add_argument("--rehearse", action="store_true", help="a few sentences, said by mini")
    parser.add_argument("--front-end", type=Path, default=BUILT_IN["mini"])
    parser.add_argument("--hours", type=float, default=HOURS, help="of each main voice")
    parser.add_argument("--only", choices=sorted({*KINDS.values(), TOLD}), help="one kind of batch")
    parser.add_argument("--limit", type=int, help="only the first batches")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    from rich.progress import track

    folder = args.out / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    open_source: Callable[[], Speak]
    if args.rehearse:
        who, (kept, texts), size = rehearsed(), rehearsal.texts(), rehearsal.SENTENCES
        open_source = open_rehearsal
    else:
        who, kept, texts, size = speakers(args.tables), wordnet.held_out(), wordnet.known(), BATCH
        graph = kokoro.exposed_graph(args.out)
        open_source = partial(open_kokoro, graph, args.tables, args.front_end)
    batches = plan(who, kept, texts, args.hours, size)
    if args.rehearse:
        batches += tales(who, texts[:size], [], size)
    else:
        batches += tales(who, texts, sentences.closed(0, GENERATED))
    told = {
        "held_out_sentences": kept,
        "speakers": {name: asdict(style) for name, style in who.items()},
        "kinds": KINDS,
    }
    (args.out / "natural.json").write_text(json.dumps(told, indent=1))
    if args.only:
        batches = [batch for batch in batches if f"-{args.only}-" in batch.name]
    batches = batches[: args.limit]
    render = Renderer(folder, open_source)
    seconds = 0.0
    with multiprocessing.Pool(args.jobs) as pool:
        for s in track(pool.imap(render, batches), total=len(batches), description="render"):
            seconds += s
    print(f"{sum(len(b.texts) for b in batches)} sentences, {seconds / 3600:.2f} h")


if __name__ == "__main__":
    main()
