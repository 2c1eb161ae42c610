"""How models speak ordinary sentences, beside what taught them: one table, one run.

    python examples/mini/judge.py --model mini --voice anna --tables package/voices

Rows of a voice: the source, and for each model the source's true mel through its vocoder, the
source's copy by its speech tokens, flow and vocoder, and what it says itself. The source of mini's
voices is Kokoro (`--tables`, and `--work` for its graph), whose phone times and pitch tell the
copy's tokens; that of f1 and m1 to m4 is festival or flite. Judges are Whisper base, DNSMOS and
Distill-MOS out of packages (docs/evaluation.md); intervals are 95 %, by the bootstrap over
sentences.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import corpus
import kokoro
import natural
import numpy as np
import soxr
import supervised_codes
import torch
from dataset import TOKEN_SAMPLES, Sentence
from sources import NATURAL_VOICES

from mamtra_cli import features
from mamtra_cli.audio import LISTENING_RATE
from mamtra_cli.engine.judging.bootstrap import Ratio, interval
from mamtra_cli.engine.judging.faster_whisper import FasterWhisper
from mamtra_cli.engine.judging.metrics import count
from mamtra_cli.engine.judging.opinion import identities, open_opinions
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak, speak_frames
from mamtra_cli.hub import BUILT_IN

SENTENCES = Path(__file__).parents[2] / "benchmarks" / "everyday_sentences.txt"
Waves = list[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the source of a voice says: samples (S,) at 24 kHz, and told codes where it tells."""

    waves: Waves
    codes: list[list[int]] | None = None


def kokoro_says(voice: str, texts: list[str], tables: Path, work: Path) -> Said:
    """Let Kokoro say sentences as the speaker that a voice of mini learned from."""
    source = kokoro.Kokoro(kokoro.exposed_graph(work), tables, BUILT_IN["mini"])
    style = natural.speakers(tables)[NATURAL_VOICES[voice][0]]
    said = [source.speak(text, style) for text in texts]
    sentences, octaves = [], []
    for text, spoken in zip(texts, said, strict=True):
        s = Sentence(
            id="", text=text, voice=voice, kind="", batch=work, start=0,
            samples=len(spoken.audio), phones=spoken.phones, words=spoken.words,
        )  # fmt: skip
        sentences.append(s)
        octaves.append(supervised_codes.heights(kokoro.at_frames(spoken.pitch, 2 * s.tokens)))
    middle = np.nanmedian(np.concatenate(octaves))
    parts = supervised_codes.bounds(one - middle for one in octaves)
    codes = [
        supervised_codes.codes_of(s, one - middle, parts).tolist()
        for s, one in zip(sentences, octaves, strict=True)
    ]
    waves = [one.audio[: s.tokens * TOKEN_SAMPLES] for s, one in zip(sentences, said, strict=True)]
    return Said(waves=waves, codes=codes)


def source_says(voice: str, texts: list[str], options: argparse.Namespace) -> Said:
    """Let the source of a voice say sentences; options of `add_source`."""
    if voice not in NATURAL_VOICES:
        return Said(waves=source_waves(voice, texts))
    if options.tables is None:
        raise SystemExit(f"{voice} learned from Kokoro: name its style tables with --tables")
    return kokoro_says(voice, texts, options.tables, options.work)


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add where the source of natural voices lies."""
    parser.add_argument("--tables", type=Path, help="voices/ of npm's kokoro-js")
    parser.add_argument("--work", type=Path, default=Path("work/natural"), help="Kokoro's graph")


def source_waves(voice: str, texts: list[str]) -> Waves:
    """Let the synthesizer of a voice say sentences."""
    with tempfile.TemporaryDirectory() as temporary:
        rows = [(f"s{i:03d}", text) for i, text in enumerate(texts)]
        batch = corpus.Batch(voice=voice, name="source", rows=rows, folder=Path(temporary))
        corpus.render(batch)
        audio = np.load(batch.folder / "source.npy")
        table = (batch.folder / "source.jsonl").read_text().splitlines()
        places = [(row["start"], row["samples"]) for row in map(json.loads, table)]
    return [audio[start : start + n].astype(np.float32) / 32768 for start, n in places]


@torch.inference_mode()
def through_vocoder(engine: Engine, waves: Waves) -> Waves:
    """The true mels of waves through a model's vocoder."""
    found = []
    for i, wave in enumerate(waves):
        mel = features.mel24k(torch.from_numpy(wave))[None]
        found.append(
            engine.part(engine.config.vocoder_part)(
                mel, generator=torch.Generator().manual_seed(i)
            )[0].numpy()
        )
    return found


@torch.inference_mode()
def copied(engine: Engine, voice: str, said: Said) -> Waves:
    """What was said through a model's speech tokens, its flow and its vocoder."""
    who, found = engine.voice(voice), []
    for i, codes in enumerate(said.codes or [tokenized(engine, wave) for wave in said.waves]):
        frames = [(code,) for code in codes]
        found.append(speak_frames(engine, frames, who, SpeechOptions(seed=i)).numpy())
    return found


def tokenized(engine: Engine, wave: np.ndarray) -> list[int]:
    """The speech tokens that a model finds in samples (S,) at 24 kHz."""
    narrow = torch.from_numpy(soxr.resample(wave, 24_000, LISTENING_RATE))
    codes, _ = engine.part("speech_tokenizer").encode(features.logmel128(narrow)[None])
    return list(codes[0].tolist())


def spoken(engine: Engine, voice: str, texts: list[str]) -> Waves:
    """What a model makes of sentences."""
    who, found = engine.voice(voice), []
    for i, text in enumerate(texts):
        chunks = speak(engine, text, who, SpeechOptions(seed=i))
        found.append(torch.cat([chunk.audio for chunk in chunks]).numpy())
    return found


def word_errors(ears: FasterWhisper, texts: list[str], waves: Waves) -> tuple[Ratio, list[str]]:
    """Word errors of waves (S,) at 24 kHz by sentence, and what was heard."""
    heard = [ears.transcribe(np.clip(wave, -1.0, 1.0), 24_000) for wave in waves]
    counts = [count(text, hyp, "whisper-en") for text, hyp in zip(texts, heard, strict=True)]
    errors = np.array([float(each.errors) for each in counts])
    return Ratio(above=errors, below=np.array([float(each.words) for each in counts])), heard


def main() -> None:
    """Print the table, and write every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--voice", action="append", required=True)
    parser.add_argument("--sentences", type=Path, default=SENTENCES)
    parser.add_argument("--limit", type=int, help="only the first sentences")
    parser.add_argument("--no-source", action="store_true", help="where no synthesizer is at hand")
    add_source(parser)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    texts = args.sentences.read_text("utf-8").split("\n")
    texts = [text for text in texts if text.strip()][: args.limit]
    engines = [Engine.load(name, device="cpu", threads=1) for name in args.model]
    ears, judges = FasterWhisper("whisper-base"), open_opinions("dnsmos,distillmos")
    rows: list[dict[str, Any]] = []

    def judge(voice: str, name: str, make: Callable[[], Waves]) -> Waves:
        waves = make()
        errors, heard = word_errors(ears, texts, waves)
        opinions = []
        for wave in waves:
            scores = [one.score(np.clip(wave, -1.0, 1.0), 24_000) for one in judges]
            opinions.append({k: v for score in scores for k, v in score.items()})
        ones, ratios = np.ones(len(texts)), {"wer": errors}
        for key in opinions[0]:
            ratios[key] = Ratio(above=np.array([row[key] for row in opinions]), below=ones)
        found = {key: (ratio.value, interval(ratio)) for key, ratio in ratios.items()}
        said = zip(texts, heard, errors.above, opinions, strict=True)
        rows.append(
            {
                "voice": voice,
                "row": name,
                "figures": found,
                "utterances": [
                    {"said": text, "heard": hyp, "errors": e, **o} for text, hyp, e, o in said
                ],
            }
        )
        cells = [f"{100 * found['wer'][0]:.1f} ({span(found['wer'][1], 100)})"]
        cells += [f"{v:.2f} ({span(i, 1)})" for k, (v, i) in found.items() if k != "wer"]
        print(f"| {voice} | {name} | {' | '.join(cells)} |", flush=True)
        return waves

    heads = ["voice", "row", "WER %", *(name for one in judges for name in one.measures)]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for voice in args.voice:
        if not args.no_source:
            said = source_says(voice, texts, args)
            judge(voice, "source", lambda said=said: said.waves)
            for engine in engines:
                label = f"source's mel, vocoder of {engine.name}"
                judge(voice, label, lambda e=engine, s=said: through_vocoder(e, s.waves))
                label = f"source's copy by {engine.name}"
                judge(voice, label, lambda e=engine, v=voice, s=said: copied(e, v, s))
        for engine in engines:
            judge(voice, engine.name, lambda e=engine, v=voice: spoken(e, v, texts))
    told = {"asr": dict(ears.about), "mos": identities(judges), "date": date.today().isoformat()}
    told |= {"command": sys.argv, "sentences": len(texts), "rows": rows}
    if args.out:
        args.out.write_text(json.dumps(told, indent=1))


def span(ends: tuple[float, float] | None, scale: int) -> str:
    """An interval in words."""
    if ends is None:
        return "-"
    return (
        f"{scale * ends[0]:.{1 if scale > 1 else 2}f}-{scale * ends[1]:.{1 if scale > 1 else 2}f}"
    )


if __name__ == "__main__":
    main()
