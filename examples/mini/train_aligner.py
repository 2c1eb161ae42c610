"""How well the training-only aligner finds phone boundaries that the corpus knows exactly.

Forward sum with the diagonal prior, the hard path drawn in after a quarter of the steps; then
monotonic search on held-out sentences, and every boundary against that of the synthesizer.

    python examples/mini/train_aligner.py --out work/mini --model work/mini/mini --steps 300
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from dataset import Corpus, Sentence, draw
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from train_conditioner import KINDS, Recordings, phone_frames

from mamtra_cli.engine.model import Engine
from mamtra_cli.families.mvc.aligner import (
    Aligner,
    binarisation_loss,
    diagonal_prior,
    forward_sum_loss,
    monotonic_search,
)

FRAME_MS = 20


def batch_of(recordings: Recordings, rows: list[Sentence]) -> tuple[Tensor, ...]:
    """ids (B, T), phones (B,), mel (B, F, mel), frames (B,)."""
    ids = [torch.tensor([recordings.ids[symbol] for symbol in s.symbols]) for s in rows]
    mels = [torch.from_numpy(recordings.corpus.mel(s)) for s in rows]
    sizes = [torch.tensor([len(row) for row in each]) for each in (ids, mels)]
    return pad_sequence(ids, True), sizes[0], pad_sequence(mels, True), sizes[1]


def scored(model: Aligner, ids: Tensor, phones: Tensor, mel: Tensor, frames: Tensor) -> Tensor:
    """Log-probabilities with the prior (B, F, T)."""
    mask = torch.arange(ids.shape[1]) < phones[:, None]
    real = torch.arange(mel.shape[1]) < frames[:, None]
    return torch.log_softmax(model(ids, mask, mel, real) + diagonal_prior(frames, phones), dim=-1)


def main() -> None:
    """Train and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--model", default="mini", help="packed mini whose flow is fed")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recordings = Recordings(Corpus(args.out), Engine.load(args.model, threads=1))
    rows, valid = recordings.usable(*KINDS), recordings.usable("valid")[:48]
    model = Aligner(len(recordings.ids), 80)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(args.steps):
        given = batch_of(recordings, draw(rows, step, args.batch))
        scores = scored(model, *given)
        loss = forward_sum_loss(scores, given[1], given[3])
        if 4 * step > args.steps:
            counts = monotonic_search(scores.detach(), given[1], given[3])
            loss = loss + 0.1 * binarisation_loss(scores, counts)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1}: {float(loss.detach()):.3f}", flush=True)
    model.eval()
    gaps: list[np.ndarray] = []
    with torch.no_grad():
        for s in valid:
            given = batch_of(recordings, [s])
            counts = monotonic_search(scored(model, *given), given[1], given[3])[0]
            gaps.append(np.abs(np.cumsum(counts.numpy())[:-1] - np.cumsum(phone_frames(s))[:-1]))
    apart = FRAME_MS * np.concatenate(gaps)
    print(
        json.dumps(
            {
                "boundaries": len(apart),
                "median_ms": float(np.median(apart)),
                "mean_ms": round(float(apart.mean()), 1),
                "within_1_frame": round(float((apart <= FRAME_MS).mean()), 3),
                "within_2_frames": round(float((apart <= 2 * FRAME_MS).mean()), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
