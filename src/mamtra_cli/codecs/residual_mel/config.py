"""Sizes of the residual codec of mels (ours; the defaults are those of `examples/zonos`)."""

from dataclasses import dataclass
from math import ceil

from mamtra_cli.bounds import Frames, Heads, Kernel, Layers, Rows, Steps, Width, check_fields
from mamtra_cli.codecs.flow_hift.config import MelConfig, SourceFilterConfig
from mamtra_cli.errors import UsageError

VOCODER = SourceFilterConfig()
WINDOW = 128  # most new frames that are decoded at once


@dataclass(frozen=True, kw_only=True)
class ResidualMelConfig:
    """One codec: mels to frames of a few ids and back, then to sound.

    Attributes:
        mel: what is coded.
        stride: mel frames of one frame.
        width, blocks, widening: of the networks on either side of the codes; `blocks` at the rate
            of the mel and as many at that of the frames.
        kernel: frames that a block sees, `ahead` of them still to come.
        latent: width of what is coded.
        codebooks, codes: stages, and entries of each.
        vocoder: mel to sound.
    """

    mel: MelConfig = MelConfig()
    stride: Steps = 2
    width: Width = 192
    blocks: Layers = 2
    widening: Heads = 3
    kernel: Kernel = 7
    ahead: Frames = 2
    latent: Width = 64
    codebooks: Heads = 4
    codes: Rows = 256
    vocoder: SourceFilterConfig = VOCODER

    def __post_init__(self) -> None:
        check_fields(self)
        if self.vocoder.samples_per_frame != self.mel.hop:
            raise UsageError(
                f"the vocoder makes {self.vocoder.samples_per_frame} samples of a mel frame, "
                f"not {self.mel.hop}"
            )
        if self.ahead >= self.kernel:
            raise UsageError(f"a block sees {self.kernel} frames, {self.ahead} cannot be to come")

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self.mel.sample_rate

    @property
    def hop(self) -> int:
        """Samples of one frame."""
        return self.mel.hop * self.stride

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop

    def padded(self, samples: int) -> int:
        """Samples of a clip filled up to whole frames."""
        return ceil(samples / self.hop) * self.hop
