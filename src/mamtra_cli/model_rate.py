"""Recordings at the rate of a model: the one way, for a voice's clip and for a corpus alike.

The published tokens, vectors and mels were taken of sound that went through a windowed sinc, and
the goldens hold it, so models hear that and not the library that writes and judges sound
(`audio.resample`, soxr). Rates that share no factor would need a giant kernel; they go through
soxr.
"""

import math

import torch
from torch import Tensor

from mamtra_cli.audio import resample
from mamtra_cli.features import resample_sinc

LARGEST_KERNEL = 4_000_000  # phases times stride of the exact resampler


def to_rate(wave: Tensor, rate: int, wanted: int) -> Tensor:
    """Samples (S,) float32 at another rate, as the published models heard them."""
    divisor = math.gcd(rate, wanted)
    if rate // divisor * (wanted // divisor) > LARGEST_KERNEL:
        return torch.from_numpy(resample(wave.numpy(), rate, wanted))
    return resample_sinc(wave, rate, wanted)
