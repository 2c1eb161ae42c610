"""A flow by the number of its steps: mel distance, word errors, opinion and time, in one run.

    mamtra distill mini -c examples/distill-mini-flow.toml -o mini-4steps
    python benchmarks/few_steps.py --student mini-4steps --out few-steps      # all, resumed
    python benchmarks/few_steps.py --student mini-4steps --judges none        # distances and times

The teacher's language model says every sentence once; each row makes sound of the same tokens, by
the teacher's flow with its own guidance or by a student's, in so many steps. Distances are mean
absolute differences of log-mels (nepers) from the teacher at the most of `--steps`. Judges are
Whisper base and DNSMOS out of packages (docs/evaluation.md). Finished rows are in OUT.json and are
not done again; times are processor seconds of the whole flow a second of speech, so compare them
within a run only.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import protocol
import torch
from torch import Tensor

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.codecs.flow_hift.few_steps import divisors
from mamtra_cli.engine.decoding.loop import Utterance, decode
from mamtra_cli.engine.model import Engine

SENTENCES = Path(__file__).parent / "everyday_sentences.txt"
HEAD = ["flow", "steps", "evaluations", "mel distance", "word errors, %", "DNSMOS", "s a second"]
Spoken = list[tuple[str, list[int], Any]]


def spoken(engine: Engine, texts: Sequence[str]) -> Spoken:
    """Texts with the tokens that a model says for them, and who is shown to the flow."""
    speaker = engine.speaker
    assert speaker.tokens is not None
    voices = [engine.voice(name) for name in engine.voices()]
    whose = [voices[i % len(voices)] for i in range(len(texts))]
    utterances = [
        Utterance(script=speaker.begin(speaker.encode(text), voice), seed=i)
        for i, (text, voice) in enumerate(zip(texts, whose, strict=True))
    ]
    made = dict(decode(speaker.tokens, utterances, engine.sampling))
    return [
        (text, list(made[i].tokens), speaker.sound_prompt(voice))
        for i, (text, voice) in enumerate(zip(texts, whose, strict=True))
        if made[i].rejection is None
    ]


@torch.inference_mode()
def mels(engine: Engine, said: Spoken, steps: int) -> Iterator[tuple[Tensor, float]]:
    """Mels (mel, T) of a model's flow one by one, each with the processor seconds that it took."""
    flow: Any = engine.part("flow")
    for _, tokens, prompt in said:
        ids, start = torch.tensor([tokens]), time.process_time()
        mel = flow.inference(ids, prompt.tokens, prompt.mel, prompt.speaker, steps=steps)
        yield mel[0], time.process_time() - start


@cache
def judges() -> tuple[Any, Any]:
    """Who hears words, and who has an opinion; opened once."""
    from mamtra_cli.engine.judging.faster_whisper import FasterWhisper
    from mamtra_cli.engine.judging.opinion import open_opinions

    return FasterWhisper("whisper-base"), open_opinions("dnsmos")[0]


def heard(engine: Engine, said: Spoken, steps: int) -> dict[str, float]:
    """Share of words that Whisper base hears wrong, and the mean opinion of DNSMOS."""
    from mamtra_cli.engine.judging.metrics import count

    ears, critic = judges()
    wrong = words = 0
    opinions = []
    for i, (text, tokens, prompt) in enumerate(said):
        frames = [(token,) for token in tokens]
        options = SoundOptions(seed=i, steps=steps)
        wave = np.clip(np.asarray(engine.speaker.codec.whole(frames, prompt, options)), -1, 1)
        found = count(text, ears.transcribe(wave, engine.sample_rate), "whisper-en")
        wrong, words = wrong + found.errors, words + found.words
        opinions.append(critic.score(wave, engine.sample_rate)["dnsmos_ovrl"])
    return {"wer": wrong / words, "dnsmos": sum(opinions) / len(opinions)}


def measured(
    engine: Engine, said: Spoken, want: list[Tensor], steps: int, *, judged: bool
) -> dict[str, Any]:
    """One row."""
    config = engine.config.flow
    frames, apart, seconds = 0, 0.0, 0.0
    for (mel, spent), other in zip(mels(engine, said, steps), want, strict=True):
        frames, seconds = frames + mel.shape[1], seconds + spent
        apart += float((mel - other).abs().sum())
    row: dict[str, Any] = {
        "steps": steps,
        "evaluations": steps * (2 if config.cfg_rate else 1),
        "mel": apart / (frames * config.mel_bins),
        "seconds": seconds / (frames * engine.config.mel.hop / engine.sample_rate),
    }
    return row | (heard(engine, said, steps) if judged else {})


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows as Markdown."""
    cells = []
    for name, row in rows.items():
        wer = None if "wer" not in row else 100 * row["wer"]
        figures = [row["steps"], row["evaluations"], row["mel"], wer, row.get("dnsmos")]
        cells.append([name.rpartition("@")[0], *figures, row["seconds"]])
    return protocol.markdown(HEAD, cells)


def main(arguments: list[str] | None = None) -> None:
    """Measure what the file does not hold yet, and print all of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--teacher", default="mini")
    parser.add_argument("--student", action="append", default=[], help="a folder, repeatable")
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[1, 2, 4, 10], help="of the teacher"
    )
    parser.add_argument("--sentences", type=Path, default=SENTENCES)
    parser.add_argument("--limit", type=int, help="only the first sentences")
    parser.add_argument("--judges", default="all", choices=("all", "none"))
    parser.add_argument("--again", action="store_true", help="measure rows that are there anew")
    protocol.out_option(parser)
    args = parser.parse_args(arguments)
    texts = [text for text in args.sentences.read_text("utf-8").split("\n") if text.strip()]
    teacher = Engine.load(args.teacher, device="cpu", threads=1)
    students = {name: Engine.load(name, device="cpu", threads=1) for name in args.student}
    said = spoken(teacher, texts[: args.limit])
    # The one set that is kept: 16 kB a second of speech.
    want = [mel for mel, _ in mels(teacher, said, max(args.steps))]
    asked = [(teacher, Path(args.teacher).name, steps) for steps in args.steps]
    for name, engine in students.items():
        asked += [(engine, Path(name).name, n) for n in divisors(engine.config.flow.steps)]
    kept: dict[str, Any] = {}
    known = None if args.out is None else args.out.with_suffix(".json")
    if known is not None and known.is_file() and not args.again:
        kept = json.loads(known.read_text("utf-8"))["rows"]
    seconds = sum(mel.shape[1] for mel in want) * teacher.config.mel.hop / teacher.sample_rate
    told = f"{len(said)} sentences, {seconds:.0f} s of speech, the teacher's tokens in every row"
    judged = args.judges == "all"
    for engine, name, steps in asked:
        key = f"{name}@{steps}"
        if key not in kept or (judged and "wer" not in kept[key]):
            kept[key] = measured(engine, said, want, steps, judged=judged)
            if args.out is not None:
                protocol.publish(
                    protocol.record("few_steps", told, rows=kept), table(kept), args.out
                )
    protocol.publish(protocol.record("few_steps", told, rows=kept), table(kept), args.out)
    if args.out is not None:
        print(table(kept))


if __name__ == "__main__":
    main()
