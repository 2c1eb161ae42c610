"""How models speak ordinary sentences, beside the synthesizer that taught them: one table, one run.

    python examples/mini/judge.py --model old --model new --voice f1 --voice m1 --out scores.json

Rows of a voice: the source (rendered here with festival or flite), and for each model the source's
true mel through its vocoder, the source's copy by its speech tokens, flow and vocoder, and what it
says itself. Judges are Whisper base, DNSMOS and Distill-MOS out of
packages (docs/evaluation.md); intervals are 95 %, by the bootstrap over sentences.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import corpus
import numpy as np
import soxr
import torch

from mamtra_cli import features
from mamtra_cli.audio import LISTENING_RATE
from mamtra_cli.engine.judging.bootstrap import Ratio, interval
from mamtra_cli.engine.judging.faster_whisper import FasterWhisper
from mamtra_cli.engine.judging.metrics import count
from mamtra_cli.engine.judging.opinion import identities, open_opinions
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak, speak_frames

SENTENCES = Path(__file__).parents[2] / "benchmarks" / "everyday_sentences.txt"
Waves = list[np.ndarray]


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
def copied(engine: Engine, voice: str, waves: Waves) -> Waves:
    """Waves through a model's speech tokens, its flow and its vocoder."""
    who, found = engine.voice(voice), []
    for i, wave in enumerate(waves):
        narrow = torch.from_numpy(soxr.resample(wave, 24_000, LISTENING_RATE))
        codes, _ = engine.part("speech_tokenizer").encode(features.logmel128(narrow)[None])
        frames = [(code,) for code in codes[0].tolist()]
        found.append(speak_frames(engine, frames, who, SpeechOptions(seed=i)).numpy())
    return found


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
            waves = judge(voice, "source", lambda voice=voice: source_waves(voice, texts))
            for engine in engines:
                label = f"source's mel, vocoder of {engine.name}"
                judge(voice, label, lambda e=engine, w=waves: through_vocoder(e, w))
                label = f"source's copy by {engine.name}"
                judge(voice, label, lambda e=engine, v=voice, w=waves: copied(e, v, w))
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
