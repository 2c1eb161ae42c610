"""What a conditioner learns: durations, pitch, energy and the flow's input, whole or in windows.

Target of the flow's input is what the flow's own encoder makes of the recording (mu*), so flow and
vocoder stay as they are. Half of the batches are read in windows of a drawn size and look-ahead by
the same code that streams, so one checkpoint serves both. Knows no files and no optimizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from mamtra_cli.families.mvc.conditioner import Conditioner, Style, TokenCarry, TokenFeatures
from mamtra_cli.families.mvc.config import ConditionerConfig
from mamtra_cli.families.mvc.layers import smooth_l1

WEIGHTS = {"mu": 1.0, "duration": 0.1, "pitch": 0.1, "voiced": 0.1, "energy": 0.1}
COMMITS, LOOK_AHEADS = (8, 64), (0, 32)  # phones, drawn evenly
STREAMING_SHARE = 0.5
REFERENCE_NOISE = 0.1  # nepers, so that a style hears no exact mel


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What one utterance teaches.

    ids: (T,) long; counts: (T,) long frames of each, adding up to F; pitch: (F,) Hz, 0 where
    unvoiced; energy: (F,) mean log-mel; mu: (F, mel).
    """

    ids: Tensor
    counts: Tensor
    pitch: Tensor
    energy: Tensor
    mu: Tensor


def fitted(config: ConditionerConfig, recordings: Sequence[Recording]) -> ConditionerConfig:
    """The sizes with the statistics of pitch, energy and pace of some recordings."""
    pitch = torch.cat([one.pitch for one in recordings])
    voiced = torch.log2(pitch[pitch > 0])
    energy = torch.cat([one.energy for one in recordings])
    phones = sum(len(one.ids) for one in recordings)
    facts: dict[str, Any] = {
        "energy_mean": float(energy.mean()),
        "energy_deviation": float(energy.std()),
        "symbol_rate": phones * config.frame_rate / len(energy),
    }
    if len(voiced) > 1:  # a whisper tells nothing of pitch
        facts["pitch_mean"] = float(voiced.mean())
        facts["pitch_deviation"] = max(float(voiced.std()), 1e-3)
    return replace(config, **{name: round(value, 4) for name, value in facts.items()})


def collate(
    config: ConditionerConfig, recordings: Sequence[Recording], references: Sequence[Tensor]
) -> "ConditionerBatch":
    """A padded batch of recordings and as many references (R, mel)."""

    def padded(rows: Sequence[Tensor]) -> Tensor:
        return pad_sequence(list(rows), batch_first=True)

    def real(rows: Sequence[Tensor]) -> Tensor:
        return padded([torch.ones(len(row), dtype=torch.bool) for row in rows])

    pitch = [
        (torch.log2(one.pitch.clamp(min=1.0)) - config.pitch_mean) / config.pitch_deviation
        for one in recordings
    ]
    energy = [(one.energy - config.energy_mean) / config.energy_deviation for one in recordings]
    ids = [one.ids for one in recordings]
    return ConditionerBatch(
        ids=padded(ids),
        mask=real(ids),
        frames=padded([one.counts for one in recordings]),
        reference=padded(references),
        reference_mask=real(references),
        pitch=padded(pitch),
        voiced=padded([(one.pitch > 0).float() for one in recordings]),
        energy=padded(energy),
        mu=padded([one.mu for one in recordings]),
    )


@dataclass(frozen=True, kw_only=True)
class ConditionerBatch:
    """Recordings with known durations, padded on the right.

    ids: (B, T) long; mask: (B, T) bool; frames: (B, T) long, 0 at pads; reference: (B, R, mel) with
    reference_mask (B, R); pitch: (B, F) normalised log2 F0, anything where unvoiced; voiced: (B, F)
    float 0 or 1; energy: (B, F) normalised; mu: (B, F, mel).
    """

    ids: Tensor
    mask: Tensor
    frames: Tensor
    reference: Tensor
    reference_mask: Tensor
    pitch: Tensor
    voiced: Tensor
    energy: Tensor
    mu: Tensor


def losses(
    model: Conditioner, batch: ConditionerBatch, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Every part of the loss of a batch, `total` among them.

    Args:
        model: in training.
        batch: recordings.
        generator: of the draws; whole texts without noise where there is none.
    """
    style = model.styled(model.style(batch.reference, batch.reference_mask))
    windows = None
    if generator is not None and float(torch.rand((), generator=generator)) < STREAMING_SHARE:
        windows = _drawn(COMMITS, generator), _drawn(LOOK_AHEADS, generator)
    if windows is None:
        found, _ = model.tokens(batch.ids, style, mask=batch.mask)
    else:
        found = in_windows(model, batch, style, *windows)
    wanted = torch.log2(batch.frames.clamp(min=1).to(found.log_duration.dtype))
    x, real = model.expand(found.features, batch.frames)
    controls = torch.stack((batch.pitch, batch.voiced, batch.energy), dim=-1)
    said, _ = model.frames(x, style, mask=real, controls=controls)
    weight = real.to(said.mu.dtype)
    spoken = weight * batch.voiced
    parts = {
        "mu": ((said.mu - batch.mu).abs().mean(-1) * weight).sum() / weight.sum(),
        "duration": smooth_l1(found.log_duration, wanted, batch.mask),
        "pitch": ((said.pitch - batch.pitch).abs() * spoken).sum() / spoken.sum().clamp(min=1),
        "voiced": (
            F.binary_cross_entropy_with_logits(said.voiced, batch.voiced, reduction="none") * weight
        ).sum()
        / weight.sum(),
        "energy": ((said.energy - batch.energy).abs() * weight).sum() / weight.sum(),
    }
    total = sum((WEIGHTS[name] * part for name, part in parts.items()), torch.zeros(()))
    return {"total": total, **parts}


def in_windows(
    model: Conditioner, batch: ConditionerBatch, style: Style, commit: int, ahead: int
) -> TokenFeatures:
    """Phone features of a padded batch as streaming makes them, window by window.

    A pad is a phone of its own here: it stands on the right, where only pads and the look-ahead's
    end hear it, and a row that ends inside a window hears blank phones beyond, as in training of
    any padded batch; rows of a batch have like lengths.
    """
    length = batch.ids.shape[1]
    carry: TokenCarry | None = None
    features, durations = [], []
    for start in range(0, length, commit):
        stop = min(start + commit + ahead, length)
        last = length - start <= max(commit, ahead)
        count = stop - start if last else commit
        found, carry = model.tokens(
            batch.ids[:, start:stop],
            style,
            carry,
            commit=count,
        )
        features.append(found.features[:, :count])
        durations.append(found.log_duration[:, :count])
        if last:
            break
    return TokenFeatures(
        features=torch.cat(features, dim=1), log_duration=torch.cat(durations, dim=1)
    )


def with_noise(batch: ConditionerBatch, generator: torch.Generator) -> ConditionerBatch:
    """The batch with reference noise of a few decibels, so that a style hears no exact mel."""
    noise = torch.randn(batch.reference.shape, generator=generator).to(batch.reference)
    return replace(batch, reference=batch.reference + REFERENCE_NOISE * noise)


def _drawn(span: tuple[int, int], generator: torch.Generator) -> int:
    """A whole number of a span, both ends in."""
    return int(torch.randint(span[0], span[1] + 1, (), generator=generator))
