"""Sizes of the codec; defaults are the published 44.1 kHz model (descript/dac_44khz). No torch."""

from dataclasses import dataclass
from math import ceil, prod

DILATIONS = (1, 3, 9)
KERNEL = 7


@dataclass(frozen=True, kw_only=True)
class DacConfig:
    """One codec.

    Attributes:
        sample_rate: of the sound.
        encoder_width, decoder_width: channels of the widest-band stage, and of the deepest.
        strides: of the encoder's stages, even; the decoder goes back.
        latent: channels between the networks and the quantiser.
        codebooks, codes, code_dim: quantiser stages, entries of each, and their width.
    """

    sample_rate: int = 44_100
    encoder_width: int = 64
    decoder_width: int = 1536
    strides: tuple[int, ...] = (2, 4, 8, 8)
    latent: int = 1024
    codebooks: int = 9
    codes: int = 1024
    code_dim: int = 8

    def __post_init__(self) -> None:
        if any(stride < 2 or stride % 2 for stride in self.strides):
            raise ValueError(f"strides must be even, got {self.strides}")

    @property
    def hop(self) -> int:
        """Samples of one frame."""
        return prod(self.strides)

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop

    @property
    def reach(self) -> int:
        """Frames on either side that a frame's sound depends on."""
        half = KERNEL // 2
        units = sum(dilation * half for dilation in DILATIONS)
        low, high = -half, self.hop - 1 + half  # samples of the last convolution's input
        for stride in self.strides:
            low, high = low - units, high + units
            low = ceil((low + stride // 2 - 2 * stride + 1) / stride)
            high = (high + stride // 2) // stride
        return max(half - low, high + half)

    def padded(self, samples: int) -> int:
        """Samples of a clip filled up to whole frames."""
        return ceil(samples / self.hop) * self.hop
