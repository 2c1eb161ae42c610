"""Fundamental frequency by normalised cross-correlation: the target of the F0 predictor.

One value a mel frame (20 ms), 0 where unvoiced. A peak of a shorter lag wins when it is nearly
as high as the best one, which removes octave errors; a median of five frames removes outliers.
"""

import torch
from torch import Tensor

LOWEST, HIGHEST = 60.0, 420.0


def track(wave: Tensor, sample_rate: int = 24_000, hop: int = 480) -> Tensor:
    """Return F0 in Hz, (S // hop,) for samples (S,)."""
    longest, shortest = int(sample_rate / LOWEST), int(sample_rate / HIGHEST)
    window = 2 * longest
    frames = wave.shape[-1] // hop
    span = window + longest
    pad = (span - hop) // 2
    padded = torch.nn.functional.pad(wave, (pad, span))
    block = padded.unfold(-1, span, hop)[:frames]
    block = block - block.mean(-1, keepdim=True)
    size = 1 << (2 * span - 1).bit_length()
    head = torch.fft.rfft(block[:, :window], size)
    whole = torch.fft.rfft(block, size)
    cross = torch.fft.irfft(head.conj() * whole, size)[:, : longest + 1]
    square = torch.cumsum(torch.nn.functional.pad(block.square(), (1, 0)), -1)
    energy = square[:, window : window + longest + 1] - square[:, : longest + 1]
    score = cross / (energy[:, :1] * energy).clamp_min(1e-9).sqrt()
    score = score[:, shortest:]
    best = score.max(-1).values
    inner = score[:, 1:-1]
    peak = (inner >= score[:, :-2]) & (inner >= score[:, 2:]) & (inner > 0.88 * best[:, None])
    lag = peak.float().argmax(-1) + 1 + shortest
    voiced = (best > 0.55) & (energy[:, 0] > 1e-3) & peak.any(-1)
    f0 = torch.where(voiced, sample_rate / lag, 0.0)
    smooth = torch.nn.functional.pad(f0, (2, 2)).unfold(-1, 5, 1).median(-1).values
    return torch.where(voiced, smooth, 0.0)
