"""mini's own speaker encoder: an utterance's filter bank to one vector.

A small ConvNeXt-style network with growing dilation and statistics pooling; the published
model uses CAM++ (an ONNX file) in its place. Knows nothing of waveforms or of how the vector is
normalised. Sources: ConvNeXt (arXiv:2201.03545), x-vector statistics pooling (Snyder 2018).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.codecs.flow_hift.config import SpeakerEncoderConfig

KERNEL = 7
VARIANCE_FLOOR = 1e-5


class ConvBlock(nn.Module):
    """Depth-wise dilated convolution over time, then a feed-forward, beside a residual."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(
            width, width, KERNEL, padding=dilation * (KERNEL // 2), dilation=dilation, groups=width
        )
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map x: (B, T, D) under mask: (B, T, 1) to (B, T, D)."""
        mixed = self.conv((x * mask).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.mlp(self.norm(mixed))
        return out


class SpeakerEncoder(nn.Module):
    """Filter bank to speaker vector. The result does not depend on padding."""

    def __init__(self, config: SpeakerEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv1d(config.n_mels, config.width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(ConvBlock(config.width, 2**i) for i in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(2 * config.width, config.dim)

    def forward(self, fbank: Tensor, lens: Tensor | None = None) -> Tensor:
        """Encode utterances.

        Args:
            fbank: (B, T, n_mels), each bin's mean over the utterance's real frames subtracted.
            lens: (B,) real frames, at least one; all T when `None`.

        Returns:
            (B, dim) float32, not normalised.
        """
        if fbank.dim() != 3 or fbank.shape[2] != self.config.n_mels or not fbank.shape[1]:
            raise ValueError(
                f"filter bank of shape {tuple(fbank.shape)}, expected (B, T, {self.config.n_mels})"
            )
        if lens is None:
            lens = torch.full(fbank.shape[:1], fbank.shape[1], device=fbank.device)
        x = fbank * _mask(lens, fbank.shape[1])
        x = F.gelu(self.stem(x.transpose(1, 2))).transpose(1, 2)  # (B, T/2, D)
        mask = _mask(torch.div(lens + 1, 2, rounding_mode="floor"), x.shape[1])
        for block in self.blocks:
            x = block(x, mask)
        with torch.autocast(x.device.type, enabled=False):
            hidden = self.norm(x.float())
            count = mask.sum(1)  # (B, 1)
            mean = (hidden * mask).sum(1) / count
            variance = ((hidden - mean[:, None]).square() * mask).sum(1) / count
            deviation = (variance + VARIANCE_FLOOR).sqrt()
            vector: Tensor = self.head(torch.cat((mean, deviation), dim=-1))
            return vector


def _mask(lens: Tensor, length: int) -> Tensor:
    """Mark the real frames: (B, T, 1) bool."""
    return (torch.arange(length, device=lens.device)[None] < lens[:, None])[..., None]
