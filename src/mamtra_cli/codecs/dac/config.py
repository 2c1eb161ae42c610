"""Sizes of the codec; defaults are the published 44.1 kHz model (descript/dac_44khz). No torch."""

from dataclasses import dataclass
from math import ceil, prod

from mamtra_cli.bounds import Heads, Kernels, Rate, Rows, Width, check_fields
from mamtra_cli.errors import UsageError

DILATIONS = (1, 3, 9)
KERNEL = 7
WINDOW = 128  # most new frames that are decoded at once
MOST_STAGES = 8
WIDEST = 1 << 20


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

    sample_rate: Rate = 44_100
    encoder_width: Width = 64
    decoder_width: Width = 1536
    strides: Kernels = (2, 4, 8, 8)
    latent: Width = 1024
    codebooks: Heads = 9
    codes: Rows = 1024
    code_dim: Width = 8

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1 <= len(self.strides) <= MOST_STAGES or any(each % 2 for each in self.strides):
            raise UsageError(
                f"`strides` must be 1 to {MOST_STAGES} even numbers, not {self.strides}"
            )
        if self.decoder_width % (1 << len(self.strides)):
            raise UsageError(
                f"`decoder_width` is {self.decoder_width}, which {len(self.strides)} stages cannot "
                "halve"
            )
        if self.hop > self.sample_rate or self.encoder_width << len(self.strides) > WIDEST:
            raise UsageError(f"`strides` of {self.strides} make too few or too wide frames")

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
