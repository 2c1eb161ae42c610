"""mini-mvc: teach the conditioning stack of MVC what mini's flow is given for the same recordings.

Flow and vocoder are those of the packaged `mini` and stay as they are. Its speech tokenizer and the
encoder of its flow say what the flow hears of a recording (mu*); phone times and pitch come with
the corpus. The style is heard from another sentence of the same voice. Half of the batches are read
in windows, as streaming reads them.

    python examples/mini/train_conditioner.py --out work/mini --steps 3000
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from dataset import Corpus, Sentence, draw
from loop import Losses, train
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.speech_tokenizer import SpeechTokenizer
from mamtra_cli.engine.model import Engine
from mamtra_cli.families.mvc.conditioner import Conditioner
from mamtra_cli.families.mvc.config import PRESETS, ConditionerConfig
from mamtra_cli.families.mvc.lessons import ConditionerBatch, losses, with_noise
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
        self.pitch_mean, self.pitch_deviation = 7.0, 0.35
        self.energy_mean, self.energy_deviation = -5.0, 2.0

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
        block = self.corpus._map(s, "pitch.")
        return torch.from_numpy(block[s.mel_start : s.mel_start + 2 * s.tokens].astype(np.float32))

    def measure(self, rows: list[Sentence]) -> dict[str, float]:
        """Statistics of pitch, energy and pace over some sentences."""
        pitch = torch.cat([self.pitch(s) for s in rows[:400]])
        voiced = torch.log2(pitch[pitch > 0])
        energy = torch.cat([torch.from_numpy(self.corpus.mel(s)).mean(-1) for s in rows[:400]])
        phones = sum(len(s.phones) for s in rows)
        seconds = sum(s.tokens for s in rows) / 25
        facts = {
            "pitch_mean": float(voiced.mean()),
            "pitch_deviation": float(voiced.std()),
            "energy_mean": float(energy.mean()),
            "energy_deviation": float(energy.std()),
            "symbol_rate": phones / seconds,
        }
        return {name: round(value, 4) for name, value in facts.items()}

    def batch(
        self, rows: list[Sentence], config: ConditionerConfig, rng: np.random.Generator
    ) -> ConditionerBatch:
        """A padded batch whose references are other sentences of the same voices."""
        ids = [torch.tensor([self.ids[symbol] for symbol in s.symbols]) for s in rows]
        frames = [torch.from_numpy(phone_frames(s)) for s in rows]
        pitch = [self.pitch(s) for s in rows]
        log_pitch = [
            (torch.log2(p.clamp(min=1.0)) - config.pitch_mean) / config.pitch_deviation
            for p in pitch
        ]
        energy = [
            (torch.from_numpy(self.corpus.mel(s)).mean(-1) - config.energy_mean)
            / config.energy_deviation
            for s in rows
        ]
        lengths = torch.tensor([len(row) for row in ids])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        references = [self.reference(s, rng) for s in rows]
        heard = torch.tensor([len(r) for r in references])
        return ConditionerBatch(
            ids=pad_sequence(ids, batch_first=True),
            mask=mask,
            frames=pad_sequence(frames, batch_first=True),
            reference=pad_sequence(references, batch_first=True),
            reference_mask=torch.arange(int(heard.max())) < heard[:, None],
            pitch=pad_sequence(log_pitch, batch_first=True),
            voiced=pad_sequence([(p > 0).float() for p in pitch], batch_first=True),
            energy=pad_sequence(energy, batch_first=True),
            mu=pad_sequence([self.mu(s) for s in rows], batch_first=True),
        )

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
    facts = recordings.measure(rows)
    return replace(PRESETS[preset], symbols=len(recordings.ids), fusion=fusion, **facts)


def main() -> None:
    """Train the conditioner."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--preset", default="mini", choices=sorted(PRESETS))
    parser.add_argument("--fusion", default="gated+adaln")
    parser.add_argument("--name", default="conditioner", help="of the file to write")
    args = parser.parse_args()
    torch.manual_seed(0)
    engine = Engine.load("mini", threads=args.threads)
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
