"""A clip to the voice vector: log mels, a SimAM residual network, pooled statistics, an affine map.

Tensor names are those of the two published files (Zyphra/Zonos-v0.1-speaker-embedding), the second
one's under `lda.`. Everything computes in float32. Sources: SimAM (Yang et al., ICML 2021) in the
form of WeSpeaker's ResNet, attentive statistics (arXiv 1803.10963).
"""

import math
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.audio import LISTENING_RATE
from mamtra_cli.families.zonos.config import STAGES, SpeakerConfig
from mamtra_cli.features import resample_sinc

N_FFT, WINDOW, HOP = 512, 400, 160
LOG_FLOOR = 1e-6
SIMAM_LAMBDA = 1e-4
VARIANCE_FLOOR = 1e-5


def clip_mels(wave: Tensor, rate: int, n_mels: int = 80) -> Tensor:
    """Log-mel spectrogram with each bin's mean over time taken away.

    Args:
        wave: (..., S) mono samples in [-1, 1].
        rate: their rate; other than 16 kHz is resampled.
        n_mels: bins.

    Returns:
        (..., n_mels, 1 + S16 // 160) float32.
    """
    wave = resample_sinc(wave, rate, LISTENING_RATE)
    if wave.shape[-1] <= N_FFT // 2:
        raise ValueError(f"clip of shape {tuple(wave.shape)} needs {N_FFT // 2 + 1} samples")
    flat = wave.reshape(-1, wave.shape[-1])
    window = torch.hann_window(WINDOW, device=wave.device)
    spectrum = torch.stft(
        flat, N_FFT, HOP, WINDOW, window, center=True, pad_mode="reflect", return_complex=True
    )
    power = torch.view_as_real(spectrum).square().sum(-1)  # (B, N_FFT / 2 + 1, F)
    mels = torch.log(htk_filters(n_mels).to(wave.device) @ power + LOG_FLOOR)
    mels = mels - mels.mean(dim=-1, keepdim=True)
    return mels.reshape(*wave.shape[:-1], n_mels, -1)


@lru_cache(maxsize=4)
def htk_filters(n_mels: int) -> Tensor:
    """Triangles of height one on the HTK mel scale up to 8 kHz: (n_mels, N_FFT // 2 + 1)."""
    with torch.inference_mode(False):
        top = 2595.0 * math.log10(1.0 + LISTENING_RATE / 2 / 700.0)
        mels = torch.linspace(0.0, top, n_mels + 2)
        edges = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
        bins = torch.linspace(0, LISTENING_RATE // 2, N_FFT // 2 + 1)
        widths = edges.diff()
        slopes = edges[:, None] - bins[None]  # (n_mels + 2, bins)
        falling = slopes[2:] / widths[1:, None]
        rising = -slopes[:-2] / widths[:-1, None]
        return torch.minimum(falling, rising).clamp(min=0.0)


class SimAMBlock(nn.Module):
    """Two convolutions, an attention without weights, and the shortcut."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(narrow, wide, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.downsample = nn.Sequential()
        if stride != 1 or narrow != wide:
            self.downsample = nn.Sequential(
                nn.Conv2d(narrow, wide, 1, stride, bias=False), nn.BatchNorm2d(wide)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, C, M, F)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = simam(self.bn2(self.conv2(y)))
        return F.relu(y + self.downsample(x))


def simam(x: Tensor) -> Tensor:
    """Weigh each value of x: (B, C, M, F) by how far it stands out of its map."""
    count = x.shape[2] * x.shape[3] - 1
    distance = (x - x.mean(dim=(2, 3), keepdim=True)).square()
    variance = distance.sum(dim=(2, 3), keepdim=True) / count
    return x * torch.sigmoid(distance / (4 * (variance + SIMAM_LAMBDA)) + 0.5)


class SpeakerNet(nn.Module):
    """The convolutions: a stem and four stages, the last three at half the size each."""

    def __init__(self, config: SpeakerConfig) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, config.width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(config.width)
        narrow = config.width
        for stage, count in enumerate(config.blocks):
            wide, stride = config.width << stage, 1 if stage == 0 else 2
            blocks = [SimAMBlock(narrow, wide, stride)]
            blocks += [SimAMBlock(wide, wide, 1) for _ in range(count - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            narrow = wide

    def forward(self, x: Tensor) -> Tensor:
        """Map mels x: (B, 1, M, F) to (B, 8 C, M / 8, F / 8)."""
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in range(STAGES):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x


class AttentivePooling(nn.Module):
    """Weighted mean and deviation over time."""

    def __init__(self, channels: int, bottleneck: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.Conv1d(channels, bottleneck, 1),
            nn.ReLU(),
            nn.BatchNorm1d(bottleneck),
            nn.Conv1d(bottleneck, channels, 1),
            nn.Softmax(dim=2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, C, F) to (B, 2 C)."""
        weights = self.attention(x)
        mean = (x * weights).sum(dim=2)
        spread = (x.square() * weights).sum(dim=2) - mean.square()
        return torch.cat((mean, spread.clamp(min=VARIANCE_FLOOR).sqrt()), dim=1)


class SpeakerEncoder(nn.Module):
    """Mels to the embedding, and through the affine map to the voice vector."""

    def __init__(self, config: SpeakerConfig) -> None:
        super().__init__()
        self.config = config
        channels = (config.width << (STAGES - 1)) * math.ceil(config.n_mels / 2 ** (STAGES - 1))
        self.front = SpeakerNet(config)
        self.pooling = AttentivePooling(channels, config.bottleneck)
        self.bottleneck = nn.Linear(2 * channels, config.dim)
        self.lda = nn.Linear(config.dim, config.lda)

    def embedding(self, mels: Tensor) -> Tensor:
        """Embed mels (B, M, F): (B, dim)."""
        maps = self.front(mels[:, None])
        return cast(Tensor, self.bottleneck(self.pooling(maps.flatten(1, 2))))

    def forward(self, mels: Tensor) -> Tensor:
        """Make voice vectors of mels (B, M, F): (B, lda)."""
        with torch.autocast(mels.device.type, enabled=False):
            return cast(Tensor, self.lda(self.embedding(mels.float())))
