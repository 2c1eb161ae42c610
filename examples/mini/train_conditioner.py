"""mini-mvc: teach the conditioning stack of MVC what mini's flow is given for the same recordings.

Flow and vocoder are those of a packed mini (`--model`; mini-mvc learned on the first one) and stay
as they are. Its speech tokenizer and the encoder of its flow say what the flow hears of a recording
(mu*); phone times and pitch come with the corpus. The style is heard from another sentence of the
same voice. Half of the batches are read in windows, as streaming reads them.

    python examples/mini/train_conditioner.py --out work/mini --model work/mini/mini --steps 3000
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from dataset import Corpus, Sentence, draw
from loop import Losses, train
from torch import Tensor

from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.speech_tokenizer import SpeechTokenizer
from mamtra_cli.engine.model import Engine
from mamtra_cli.families.mvc.conditioner import Conditioner
from mamtra_cli.families.mvc.config import PRESETS, ConditionerConfig
from mamtra_cli.families.mvc.lessons import (
    ConditionerBatch,
    Recording,
    collate,
    fitted,
    losses,
    with_noise,
)
from mamtra_cli.families.phones import PhoneFrontEnd

REFERENCE_FRAMES = 150  # three seconds
KINDS = ("closed", "open", "strings", "mixed", "natural")
LONGEST = 360  # frames of a sentence in a batch


def phone_frames(s: Sentence) -> np.ndarray:
    """Mel frames of each phone (T,), at least one each, adding up to those of the sentence."""
    total, count = 2 * s.tokens, len(s.phones)
    ends = np.round(np.array([end for _, _, end in s.phones]) * 50).astype(int)
    ends = np.clip(np.maximum.accumulate(ends), np.arange(1, count + 1), None)
    ends = np.minimum(ends, total - count + np.arange(1, count + 1))
    ends[-1] = total
    return np.diff(ends, prepend=0)


class Recordings:
    """Sentences with what the flow hears of them, and their phones, pitch and energy."""

    def __init__(self, corpus: Corpus, engine: Engine) -> None:
        self.corpus, front = corpus, engine.front_end
        assert isinstance(front, PhoneFrontEnd)
        self.ids = {symbol: index for index, symbol in enumerate(front.vocabulary)}
        tokenizer = engine.part("speech_tokenizer")
        assert isinstance(tokenizer, SpeechTokenizer)
        self.tokenizer = tokenizer
        flow = engine.part("flow")
        assert isinstance(flow, Flow)
        self.flow = flow
        self.heard: dict[str, Tensor] = {}
        self.by_voice: dict[str, list[Sentence]] = {}

    def usable(self, *kinds: str) -> list[Sentence]:
        """Sentences with mel, log-mel and pitch, of a length that fits a batch."""
        return [
            s
            for s in self.corpus.select(*kinds)
            if all(self.corpus.has(s, what) for what in ("mel.", "logmel.", "pitch."))
            and 2 * s.tokens <= LONGEST
            and len(s.phones) <= s.tokens
            and all(symbol in self.ids for symbol in s.symbols)
        ]

    @torch.inference_mode()
    def mu(self, s: Sentence) -> Tensor:
        """What the flow's encoder makes of a recording's tokens: (2 * tokens, 80)."""
        if s.id not in self.heard:
            logmel = torch.from_numpy(self.corpus.logmel(s)).T[None]
            codes, _ = self.tokenizer.encode(logmel)
            mu, _ = self.flow.encode(codes[:, : s.tokens], streaming=False)
            self.heard[s.id] = mu[0].T.half()
        return self.heard[s.id].float()

    def pitch(self, s: Sentence) -> Tensor:
        """F0 in Hz (2 * tokens,), 0 where unvoiced."""
        return torch.from_numpy(self.corpus.pitch(s))

    def recording(self, s: Sentence) -> Recording:
        """What a sentence teaches."""
        return Recording(
            ids=torch.tensor([self.ids[symbol] for symbol in s.symbols]),
            counts=torch.from_numpy(phone_frames(s)),
            pitch=self.pitch(s),
            energy=torch.from_numpy(self.corpus.mel(s)).mean(-1),
            mu=self.mu(s),
        )

    def batch(
        self, rows: list[Sentence], config: ConditionerConfig, rng: np.random.Generator
    ) -> ConditionerBatch:
        """A padded batch whose references are other sentences of the same voices."""
        references = [self.reference(s, rng) for s in rows]
        return collate(config, [self.recording(s) for s in rows], references)

    def reference(self, s: Sentence, rng: np.random.Generator) -> Tensor:
        """Up to three seconds of mel of another sentence of the same voice."""
        rows = self.by_voice[s.voice]
        other = rows[int(rng.integers(len(rows)))]
        mel = torch.from_numpy(self.corpus.mel(other))
        start = int(rng.integers(0, max(1, len(mel) - REFERENCE_FRAMES)))
        return mel[start : start + REFERENCE_FRAMES]


def sizes(
    recordings: Recordings, rows: list[Sentence], preset: str, fusion: str = "gated+adaln"
) -> ConditionerConfig:
    """A preset with the statistics of a corpus."""
    plain = replace(PRESETS[preset], symbols=len(recordings.ids), fusion=fusion)
    return fitted(plain, [recordings.recording(s) for s in rows[:400]])


def main() -> None:
    """Train the conditioner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--model", default="mini", help="packed mini whose flow is fed")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--preset", default="mini", choices=sorted(PRESETS))
    parser.add_argument("--fusion", default="gated+adaln")
    parser.add_argument("--name", default="conditioner", help="of the file to write")
    args = parser.parse_args()
    torch.manual_seed(0)
    engine = Engine.load(args.model, threads=args.threads)
    torch.set_num_threads(args.threads)
    recordings = Recordings(Corpus(args.out), engine)
    rows, valid = recordings.usable(*KINDS), recordings.usable("valid")[:24]
    for s in (*rows, *valid):
        recordings.by_voice.setdefault(s.voice, []).append(s)
    config = sizes(recordings, rows, args.preset, args.fusion)
    model = Conditioner(config)
    print(f"{len(rows)} sentences, {len(recordings.by_voice)} voices; {config}")

    def batch_loss(step: int) -> Losses:
        batch = recordings.batch(draw(rows, step, args.batch), config, np.random.default_rng(step))
        generator = torch.Generator().manual_seed(step)
        parts = losses(model, with_noise(batch, generator), generator)
        return {"loss": parts.pop("total"), **parts}

    def validate() -> dict[str, float]:
        parts = losses(model, recordings.batch(valid, config, np.random.default_rng(1)))
        return {name: float(value) for name, value in parts.items()}

    train(
        args.name,
        model,
        batch_loss,
        out=args.out,
        steps=args.steps,
        lr=1e-3,
        warmup=100,
        weight_decay=0.01,
        validate=validate,
        validate_every=250,
    )


if __name__ == "__main__":
    main()
