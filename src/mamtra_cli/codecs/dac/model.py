"""Encoder, residual quantiser and decoder of the codec, by the names of the published tensors.

Plain convolutions: the published file has its weight norm folded. Knows nothing of windows or
files. Source: Kumar et al., arXiv 2306.06546, in the form of descript/dac_44khz.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.codecs.dac.config import DILATIONS, KERNEL, DacConfig


class Snake(nn.Module):
    """x + sin^2(alpha x) / alpha, an alpha a channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, C, S)."""
        return x + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * x).square()


class ResidualUnit(nn.Module):
    """A dilated and a pointwise convolution beside a shortcut."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        reach = KERNEL // 2 * dilation
        self.snake1 = Snake(channels)
        self.conv1 = nn.Conv1d(channels, channels, KERNEL, padding=reach, dilation=dilation)
        self.snake2 = Snake(channels)
        self.conv2 = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, C, S)."""
        y = self.conv2(self.snake2(self.conv1(self.snake1(x))))
        return x + cast(Tensor, y)


class EncoderBlock(nn.Module):
    """Residual units, then a step down to twice the channels."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        for number, dilation in enumerate(DILATIONS, start=1):
            self.add_module(f"res_unit{number}", ResidualUnit(channels, dilation))
        self.snake1 = Snake(channels)
        self.conv1 = nn.Conv1d(
            channels, 2 * channels, 2 * stride, stride=stride, padding=stride // 2
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, C, S) to (B, 2 C, S / stride)."""
        for number in range(1, len(DILATIONS) + 1):
            x = self.get_submodule(f"res_unit{number}")(x)
        return cast(Tensor, self.conv1(self.snake1(x)))


class DecoderBlock(nn.Module):
    """A step up to half the channels, then residual units."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.snake1 = Snake(channels)
        self.conv_t1 = nn.ConvTranspose1d(
            channels, channels // 2, 2 * stride, stride=stride, padding=stride // 2
        )
        for number, dilation in enumerate(DILATIONS, start=1):
            self.add_module(f"res_unit{number}", ResidualUnit(channels // 2, dilation))

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, C, S) to (B, C / 2, S * stride)."""
        x = self.conv_t1(self.snake1(x))
        for number in range(1, len(DILATIONS) + 1):
            x = self.get_submodule(f"res_unit{number}")(x)
        return x


class Encoder(nn.Module):
    """Samples to latent frames."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        width = config.encoder_width
        deepest = width << len(config.strides)
        self.conv1 = nn.Conv1d(1, width, KERNEL, padding=KERNEL // 2)
        self.block = nn.ModuleList(
            EncoderBlock(width << depth, stride) for depth, stride in enumerate(config.strides)
        )
        self.snake1 = Snake(deepest)
        self.conv2 = nn.Conv1d(deepest, config.latent, 3, padding=1)

    def forward(self, wave: Tensor) -> Tensor:
        """Map wave: (B, 1, S), S a multiple of the hop, to (B, latent, F)."""
        x = self.conv1(wave)
        for block in self.block:
            x = block(x)
        return cast(Tensor, self.conv2(self.snake1(x)))


class Decoder(nn.Module):
    """Latent frames to samples in [-1, 1]."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        width = config.decoder_width
        narrowest = width >> len(config.strides)
        self.conv1 = nn.Conv1d(config.latent, width, KERNEL, padding=KERNEL // 2)
        self.block = nn.ModuleList(
            DecoderBlock(width >> depth, stride)
            for depth, stride in enumerate(reversed(config.strides))
        )
        self.snake1 = Snake(narrowest)
        self.conv2 = nn.Conv1d(narrowest, 1, KERNEL, padding=KERNEL // 2)

    def forward(self, latent: Tensor) -> Tensor:
        """Map latent: (B, latent, F) to (B, 1, F * hop)."""
        x = self.conv1(latent)
        for block in self.block:
            x = block(x)
        return torch.tanh(self.conv2(self.snake1(x)))


class Quantizer(nn.Module):
    """One stage: the nearest code by angle, in few dimensions."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        self.in_proj = nn.Conv1d(config.latent, config.code_dim, 1)
        self.out_proj = nn.Conv1d(config.code_dim, config.latent, 1)
        self.codebook = nn.Embedding(config.codes, config.code_dim)

    def nearest(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise residual: (B, latent, F) to ids (B, F) and what they stand for."""
        low = self.in_proj(residual)  # (B, code_dim, F)
        entries = F.normalize(self.codebook.weight)  # (V, code_dim)
        units = F.normalize(low.transpose(1, 2).flatten(0, 1))  # (B F, code_dim)
        squares = units.square().sum(1, keepdim=True)
        nearness = -(squares - 2 * units @ entries.T) + entries.square().sum(1)[None]
        ids = nearness.argmax(1).view(residual.shape[0], -1)
        exact = self.codebook(ids).transpose(1, 2)
        # The published encoder goes through the straight-through sum, rounding included.
        return ids, self.out_proj(low + (exact - low))

    def meaning(self, ids: Tensor) -> Tensor:
        """What ids (B, F) stand for: (B, latent, F)."""
        return cast(Tensor, self.out_proj(self.codebook(ids).transpose(1, 2)))


class Quantizers(nn.Module):
    """The stages, each on what the ones before left over."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList(Quantizer(config) for _ in range(config.codebooks))

    def encode(self, latent: Tensor) -> Tensor:
        """Quantise latent: (B, latent, F) to ids (B, K, F)."""
        stages = []
        for stage in self.quantizers:
            ids, value = cast(Quantizer, stage).nearest(latent)
            latent = latent - value
            stages.append(ids)
        return torch.stack(stages, dim=1)

    def decode(self, ids: Tensor) -> Tensor:
        """Sum what ids (B, K, F) stand for: (B, latent, F)."""
        latent = cast(Quantizer, self.quantizers[0]).meaning(ids[:, 0])
        for book, stage in enumerate(self.quantizers):
            if book:
                latent = latent + cast(Quantizer, stage).meaning(ids[:, book])
        return latent


class Dac(nn.Module):
    """The whole codec."""

    def __init__(self, config: DacConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantizer = Quantizers(config)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.decoder.conv2.weight.device

    def encode(self, wave: Tensor) -> Tensor:
        """Make ids (B, K, F) of wave: (B, S), filled with silence to whole frames."""
        missing = self.config.padded(wave.shape[-1]) - wave.shape[-1]
        filled = F.pad(wave, (0, missing))[:, None]
        return self.quantizer.encode(self.encoder(filled.to(self.encoder.conv1.weight.dtype)))

    def decode(self, ids: Tensor) -> Tensor:
        """Make samples (B, F * hop) of ids (B, K, F)."""
        return cast(Tensor, self.decoder(self.quantizer.decode(ids)))[:, 0]
