"""The rows of MVC's comparison on one flow: fusions, attention kept, BiLSTM, transformer, depth.

Every row has the sizes of mini-mvc but for what its name says, sees the same batches of the same
recordings with known phone times, and reads whole texts. Held-out sentences tell: L1 of mu; MCD in
dB between the flow's mel of it and of mu*; error of durations in ms a phone; F0 RMSE in semitones
over voiced frames; processor milliseconds of one text of 64 phones. True durations place the
frames, so rows differ by what they say of them. With `--asr` a recogniser also hears the first
HEARD of them in durations of the row's own: word and character errors. `--memory` prints what a
forward of 128 phones holds, weights included, each row in a process of its own.

    python examples/mini/compare_conditioners.py --out work/mini       # goes on where it stopped
    python examples/mini/compare_conditioners.py --out work/mini --rows gated concat --seeds 0 1 2
    python examples/mini/compare_conditioners.py --out work/mini --seeds 1 2 --asr whisper-base
    python examples/mini/compare_conditioners.py --out work/mini --table
    python examples/mini/compare_conditioners.py --memory

Results are added to OUT/conditioners.jsonl one by one.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from dataset import Corpus, Sentence, draw
from torch import Tensor, nn
from train_conditioner import KINDS, Recordings, sizes

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.codecs.flow_hift.flow import Flow, fixed_noise
from mamtra_cli.codecs.flow_hift.mu import MuFrame
from mamtra_cli.engine.judging.metrics import count
from mamtra_cli.engine.judging.recognise import Recogniser, english_rules, open_recogniser
from mamtra_cli.engine.measuring.meter import metered
from mamtra_cli.engine.model import Engine
from mamtra_cli.families.mvc.conditioner import Conditioner
from mamtra_cli.families.mvc.config import ConditionerConfig
from mamtra_cli.families.mvc.layers import AdaptiveNorm, Modulation
from mamtra_cli.families.mvc.lessons import ConditionerBatch, losses, with_noise
from mamtra_cli.families.mvc.windows import durations

DEPTHS = (2, 6, 8)
ROWS = (
    *("gated+adaln", "gated", "adaln", "concat", "attention kept", "bilstm", "transformer"),
    *(f"depth {depth}" for depth in DEPTHS),
)
CEPSTRA = 13
HEARD = 8  # held-out sentences that a recogniser hears


class Other(nn.Module):
    """A layer of the stack without a state-space model; it hears the whole text."""

    def __init__(self, config: ConditionerConfig, inner: nn.Module) -> None:
        super().__init__()
        self.norm = AdaptiveNorm(config.width, config.style_width, config.adaptive)
        self.inner = inner

    def forward(
        self,
        x: Tensor,
        modulation: Modulation | None,
        state: object = None,
        *,
        commit: int | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """(B, T, D) to (B, T, D)."""
        return x + self.inner(self.norm(x, modulation), mask), None


class BiLSTM(nn.Module):
    """Both directions, a linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = 3 * width // 4  # about the parameters of the layer it stands for
        self.lstm = nn.LSTM(width, half, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * half, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        if mask is None:
            return self.out(self.lstm(x)[0])
        packed = nn.utils.rnn.pack_padded_sequence(x, mask.sum(1), True, False)
        y, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], True, 0.0, x.shape[1])
        return self.out(y)


class Attention(nn.Module):
    """Self-attention and a feed-forward layer behind a convolution that tells places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.place = nn.Conv1d(width, width, 5, padding=2, groups=width)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        x = x + self.place(x.transpose(1, 2)).transpose(1, 2)
        pads = None if mask is None else ~mask
        y, _ = self.attention(x, x, x, key_padding_mask=pads, need_weights=False)
        return y + self.down(nn.functional.gelu(self.up(self.norm(y))))


def made(row: str, config: ConditionerConfig) -> Conditioner:
    """The stack of a row, with new weights."""
    if row.startswith("depth"):
        return Conditioner(replace(config, text_layers=int(row.split()[1])))
    if row in ("gated+adaln", "gated", "adaln", "concat"):
        return Conditioner(replace(config, fusion=row))
    model = Conditioner(replace(config, fusion="concat" if row == "attention kept" else "adaln"))
    kinds = {"bilstm": BiLSTM, "transformer": Attention, "attention kept": Attention}
    for layers in ("rhythm",) if row == "attention kept" else ("text", "rhythm", "prosody"):
        stack = getattr(model, layers)
        for index in range(len(stack)):
            stack[index] = Other(model.config, kinds[row](config.width))
    return model


def mcd(a: Tensor, b: Tensor) -> float:
    """Mel-cepstral distance in dB of two log-mels (F, mel), frame by frame."""
    bins = a.shape[1]
    k = torch.arange(1, CEPSTRA + 1)[:, None]
    basis = math.sqrt(2 / bins) * torch.cos(math.pi / bins * (torch.arange(bins) + 0.5) * k)
    gap = ((a - b) @ basis.T).square().sum(-1).sqrt().mean()
    return float(10 / math.log(10) * math.sqrt(2) * gap)


@torch.no_grad()
def judged(
    model: Conditioner, flow: Flow, batches: list[ConditionerBatch], speaker: Tensor
) -> dict[str, float]:
    """Numbers over held-out batches of one sentence each."""
    model.eval()
    config, sums = model.config, dict.fromkeys(("mu", "mcd", "ms_a_phone", "semitones"), 0.0)
    for batch in batches:
        style = model.styled(model.style(batch.reference, batch.reference_mask))
        found, _ = model.tokens(batch.ids, style)
        x, _ = model.expand(found.features, batch.frames)
        said, _ = model.frames(x, style)
        sums["mu"] += float((said.mu - batch.mu).abs().mean())
        wrong = (torch.exp2(found.log_duration) - batch.frames).abs().mean()
        sums["ms_a_phone"] += 1000 / config.frame_rate * float(wrong)
        gap = 12 * config.pitch_deviation * (said.pitch - batch.pitch)
        voiced = batch.voiced > 0
        sums["semitones"] += float(gap[voiced].square().mean().sqrt())
        mels = []
        for mu in (said.mu, batch.mu):
            mu = mu.transpose(1, 2)
            noise = fixed_noise(0, mu.shape[2])
            mel = flow.decoder.solve(mu, speaker, torch.zeros_like(mu), noise, streaming=False)
            mels.append(mel[0].T)
        sums["mcd"] += mcd(*mels)
    return {name: round(value / len(batches), 3) for name, value in sums.items()}


@torch.inference_mode()
def heard(
    model: Conditioner, batches: list[ConditionerBatch], valid: list[Sentence], speaking: Engine,
    recogniser: Recogniser, rules: str,
) -> dict[str, float]:  # fmt: skip
    """Errors of what is heard in held-out sentences, spoken in their voices and by own durations.

    Args:
        model: a row.
        batches, valid: sentences, each with a batch of its own.
        speaking: the model whose flow and vocoder make the sound.
        recogniser, rules: who listens, and what it takes for words.
    """
    found, codec = [], speaking.speaker.codec
    for batch, s in zip(batches, valid, strict=True):
        style = model.styled(model.style(batch.reference, batch.reference_mask))
        said, _ = model.tokens(batch.ids, style)
        counts, _ = durations(said.log_duration[0].tolist())
        x, _ = model.expand(said.features, torch.tensor([counts]))
        mu = model.frames(x, style)[0].mu[0]
        prompt = speaking.speaker.sound_prompt(speaking.voice(s.voice))
        wave = codec.whole(list(map(MuFrame, mu)), prompt, SoundOptions())
        words = recogniser.transcribe(wave.numpy(), codec.sample_rate)
        found.append(count(s.text, words, rules))
    return {
        "wer": round(sum(one.errors for one in found) / sum(one.words for one in found), 3),
        "cer": round(
            sum(one.character_errors for one in found) / sum(one.characters for one in found), 3
        ),
    }


@torch.inference_mode()
def held(row: str, length: int = 128) -> float:
    """MB of a row's weights, and what a forward of so many phones, three frames each, adds."""
    torch.manual_seed(0)
    model = made(row, Engine.load("mini-mvc").config.conditioner).eval()
    style = model.styled(torch.zeros(1, model.config.style_width))

    def forward(length: int) -> None:
        found, _ = model.tokens(torch.arange(length)[None] % model.config.symbols, style)
        x, _ = model.expand(found.features, torch.full((1, length), 3))
        model.frames(x, style)

    forward(16)
    with metered() as memory:
        forward(length)
    assert memory.peak is not None
    weights = sum(p.numel() for n, p in model.named_parameters() if not n.startswith("style."))
    return round((memory.peak + 4 * weights) / 1e6, 1)


@torch.inference_mode()
def milliseconds(model: Conditioner) -> float:
    """Processor time of a text of 64 phones, three frames each; the least of five."""
    ids = torch.arange(64)[None] % model.config.symbols
    style = model.styled(torch.zeros(1, model.config.style_width))
    spent = []
    for _ in range(5):
        start = time.process_time()
        found, _ = model.tokens(ids, style)
        x, _ = model.expand(found.features, torch.full((1, 64), 3))
        model.frames(x, style)
        spent.append(time.process_time() - start)
    return round(1e3 * min(spent), 1)


def run(
    row: str, seed: int, recordings: Recordings, rows: list[Sentence], valid: list[Sentence],
    args: argparse.Namespace, speaking: Engine | None, recogniser: Recogniser | None,
) -> dict[str, object]:  # fmt: skip
    """Train and judge one row."""
    torch.manual_seed(seed)
    config = sizes(recordings, rows, "mini")
    model = made(row, config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    start = time.process_time()
    for step in range(args.steps):
        scale = min(1.0, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * scale + 3e-5
        chosen = draw(rows, step, args.batch, seed)
        batch = recordings.batch(chosen, config, np.random.default_rng(step))
        batch = with_noise(batch, torch.Generator().manual_seed(step))
        optimizer.zero_grad(set_to_none=True)
        losses(model, batch)["total"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    spent = time.process_time() - start
    rng = np.random.default_rng(1)
    batches = [recordings.batch([s], config, rng) for s in valid]
    speaker = recordings.flow.speaker(torch.ones(1, recordings.flow.config.speaker_dim))
    told = judged(model, recordings.flow, batches, speaker)
    if speaking is not None and recogniser is not None:
        some = batches[:HEARD], valid[:HEARD]
        told |= heard(model, *some, speaking, recogniser, english_rules(args.asr))
    return {
        "row": row,
        "seed": seed,
        "steps": args.steps,
        "sentences": len(rows),
        "parameters_m": round(sum(p.numel() for p in model.parameters()) / 1e6, 2),
        **told,
        "encoder_ms": milliseconds(model),
        "cpu_s": round(spent),
    }


def table(found: list[dict[str, object]]) -> str:
    """Rows in Markdown: means over the seeds that have a number, and half of their range."""
    names = ("parameters_m", "mu", "mcd", "ms_a_phone", "semitones", "wer", "cer", "encoder_ms")
    lines = [f"| row | {' | '.join(names)} | seeds |", "|---" * (len(names) + 2) + "|"]
    for row in dict.fromkeys(str(one["row"]) for one in found):
        mine = [one for one in found if one["row"] == row]
        cells = []
        for name in names:
            values = [float(str(one[name])) for one in mine if name in one]
            spread = (max(values) - min(values)) / 2 if values else 0.0
            cells.append(f"{np.mean(values):.3g}" if values else "-")
            cells[-1] += f" ± {spread:.2g}" if spread else ""
        lines.append(f"| {row} | {' | '.join(cells)} | {len(mine)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--model", default="mini", help="packed mini whose flow is fed")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sentences", type=int, default=320)
    parser.add_argument("--asr", help="who listens, as `mamtra eval --asr` has it")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--held", choices=ROWS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.held:
        torch.set_num_threads(1)
        print(held(args.held))
        return
    if args.memory:
        for row in args.rows:
            told = subprocess.check_output([sys.executable, __file__, "--held", row], text=True)
            print(json.dumps({"row": row, "mb": float(told)}), flush=True)
        return
    path = args.out / "conditioners.jsonl"
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if args.table:
        print(table(found))
        return
    torch.set_num_threads(1)
    recordings = Recordings(Corpus(args.out), Engine.load(args.model, threads=1))
    rows = draw(recordings.usable(*KINDS), 0, args.sentences)
    valid = recordings.usable("valid")[:24]
    for s in (*rows, *valid):
        recordings.by_voice.setdefault(s.voice, []).append(s)
    speaking = recogniser = None
    if args.asr:
        speaking = Engine.load("mini-mvc", device="cpu", threads=1)
        recogniser = open_recogniser(args.asr, [s.text for s in valid], speaking)
    for seed in args.seeds:
        for row in args.rows:
            if any(
                (one["row"], one["seed"], one["steps"]) == (row, seed, args.steps) for one in found
            ):
                continue
            done = run(row, seed, recordings, rows, valid, args, speaking, recogniser)
            found.append(done)
            print(json.dumps(done), flush=True)
            with path.open("a") as file:
                file.write(json.dumps(done) + "\n")


if __name__ == "__main__":
    main()
