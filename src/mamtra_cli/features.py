"""Audio features, exact to the numbers of the published models, and exact sinc resampling.

Tensors in, tensors out; every size is an argument whose default is the one in the function's
name. Knows nothing of files, models or configurations. All features are differentiable, take
a batch, compute in float32 even under autocast, and run on the device of the waveform. Cached
constants are made outside inference mode, so that a later training step may use them.
Sources: HiFi-GAN's log-mel, Kaldi's filter bank, Whisper's log-mel, Slaney's Auditory Toolbox.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def mel24k(
    wave: Tensor,
    *,
    sample_rate: int = 24_000,
    n_fft: int = 1920,
    hop: int = 480,
    n_mels: int = 80,
    fmin: float = 0.0,
    fmax: float | None = 8000.0,
) -> Tensor:
    """Compute the log-mel that the flow writes and the vocoder reads.

    Magnitude spectrum with reflect padding of (n_fft - hop) / 2, natural log floored at 1e-5.

    Args:
        wave: (..., S) samples in [-1, 1], S > (n_fft - hop) / 2.
        fmax: upper edge in Hz; `None` is half the sample rate.

    Returns:
        (..., n_mels, S // hop) float32, bins before frames.
    """
    padding = (n_fft - hop) // 2
    _require_samples(wave, padding + 1)
    with torch.autocast(wave.device.type, enabled=False):
        flat = wave.reshape(-1, wave.shape[-1]).float()  # (B, S)
        padded = F.pad(flat[:, None], (padding, padding), mode="reflect")[:, 0]
        spectrum = _stft(padded, n_fft, hop)  # (B, n_fft/2+1, F) complex
        power = torch.view_as_real(spectrum).square().sum(-1)
        basis = slaney_filters(sample_rate, n_fft, n_mels, fmin, fmax).to(wave.device)
        mel = torch.matmul(basis, torch.sqrt(power + 1e-9))  # (B, n_mels, F)
        return mel.clamp(min=1e-5).log().reshape(*wave.shape[:-1], n_mels, -1)


def logmel128(
    wave: Tensor,
    *,
    sample_rate: int = 16_000,
    n_fft: int = 400,
    hop: int = 160,
    n_mels: int = 128,
) -> Tensor:
    """Compute the log-mel that the speech tokenizer reads.

    Centred power spectrum without its last frame, log10 floored at 1e-10 and at 8 below the
    maximum of the same waveform, then (x + 4) / 4.

    Args:
        wave: (..., S) samples in [-1, 1] at `sample_rate`, S > n_fft / 2.

    Returns:
        (..., n_mels, S // hop) float32.
    """
    padding = n_fft // 2
    _require_samples(wave, max(padding + 1, hop))
    with torch.autocast(wave.device.type, enabled=False):
        flat = wave.reshape(-1, wave.shape[-1]).float()
        padded = F.pad(flat[:, None], (padding, padding), mode="reflect")[:, 0]
        spectrum = _stft(padded, n_fft, hop)[..., : wave.shape[-1] // hop]
        power = torch.view_as_real(spectrum).square().sum(-1)
        basis = slaney_filters(sample_rate, n_fft, n_mels, 0.0, None).to(wave.device)
        log = torch.matmul(basis, power).clamp(min=1e-10).log10()
        floor = log.amax(dim=(-2, -1), keepdim=True) - 8.0
        return ((torch.maximum(log, floor) + 4.0) / 4.0).reshape(*wave.shape[:-1], n_mels, -1)


def fbank80(
    wave: Tensor,
    *,
    sample_rate: int = 16_000,
    frame: int = 400,
    hop: int = 160,
    n_fft: int = 512,
    n_mels: int = 80,
    fmin: float = 20.0,
    fmax: float = 8000.0,
    preemphasis: float = 0.97,
    subtract_mean: bool = False,
) -> Tensor:
    """Compute Kaldi's log filter bank, as speaker encoders read it.

    Snipped edges, no dither, Povey window; the waveform is not scaled to 16 bit.

    Args:
        wave: (..., S) samples in [-1, 1] at `sample_rate`, S >= frame.
        subtract_mean: subtract each bin's mean over time.

    Returns:
        (..., 1 + (S - frame) // hop, n_mels) float32, frames before bins.
    """
    _require_samples(wave, frame)
    with torch.autocast(wave.device.type, enabled=False):
        frames = wave.float().unfold(-1, frame, hop)  # (..., T, frame)
        frames = frames - frames.mean(dim=-1, keepdim=True)
        previous = torch.cat((frames[..., :1], frames[..., :-1]), dim=-1)
        window = _povey_window(frame).to(wave.device)
        spectrum = torch.fft.rfft((frames - preemphasis * previous) * window, n=n_fft)
        power = torch.view_as_real(spectrum).square().sum(-1)[..., : n_fft // 2]
        banks = kaldi_filters(sample_rate, n_fft, n_mels, fmin, fmax).to(wave.device)
        log = torch.matmul(power, banks.T).clamp(min=torch.finfo(torch.float32).eps).log()
        return log - log.mean(dim=-2, keepdim=True) if subtract_mean else log


def resample_sinc(
    wave: Tensor, rate: int, new_rate: int, *, zeros: int = 6, rolloff: float = 0.99
) -> Tensor:
    """Resample by a Hann-windowed sinc, the method the published models heard in training.

    Args:
        wave: (..., S) samples at `rate` Hz.
        zeros: zero crossings of the kernel on each side.
        rolloff: cut-off as a fraction of the lower Nyquist frequency.

    Returns:
        (..., ceil(S * new_rate / rate)) float32 samples at `new_rate` Hz.
    """
    if rate <= 0 or new_rate <= 0:
        raise ValueError(f"sample rates must be positive, got {rate} and {new_rate}")
    if rate == new_rate:
        return wave.float()
    divisor = math.gcd(rate, new_rate)
    old, new = rate // divisor, new_rate // divisor
    kernel, width = _sinc_kernel(old, new, zeros, rolloff)
    length = math.ceil(new * wave.shape[-1] / old)
    with torch.autocast(wave.device.type, enabled=False):
        flat = wave.reshape(-1, 1, wave.shape[-1]).float()
        phases = F.conv1d(F.pad(flat, (width, width + old)), kernel.to(wave.device), stride=old)
        joined = phases.transpose(1, 2).reshape(flat.shape[0], -1)[:, :length]
        return joined.reshape(*wave.shape[:-1], length)


@lru_cache(maxsize=16)
def slaney_filters(
    sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float | None
) -> Tensor:
    """Build triangular filters of unit area on Slaney's mel scale: (n_mels, n_fft // 2 + 1)."""
    top = sample_rate / 2 if fmax is None else fmax
    edges = _slaney_to_hz(
        np.linspace(
            _hz_to_slaney(np.array(fmin)).item(), _hz_to_slaney(np.array(top)).item(), n_mels + 2
        )
    )
    bins = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    widths = np.diff(edges)
    ramps = edges[:, None] - bins[None, :]
    rising = -ramps[:-2] / widths[:-1, None]
    falling = ramps[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    areas = 2.0 / (edges[2:] - edges[:-2])
    with torch.inference_mode(False):
        return torch.from_numpy((triangles * areas[:, None]).astype(np.float32))


@lru_cache(maxsize=16)
def kaldi_filters(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> Tensor:
    """Build Kaldi's triangles, straight in the mel domain: (n_mels, n_fft // 2).

    Slopes are computed in float32 because the reference does: float64 moves the log by 1e-4.
    """
    low = 1127.0 * math.log(1.0 + fmin / 700.0)
    high = 1127.0 * math.log(1.0 + fmax / 700.0)
    step = (high - low) / (n_mels + 1)
    with torch.inference_mode(False):
        left = low + torch.arange(n_mels, dtype=torch.float32)[:, None] * step
        centre = low + torch.arange(1, n_mels + 1, dtype=torch.float32)[:, None] * step
        right = low + torch.arange(2, n_mels + 2, dtype=torch.float32)[:, None] * step
        hertz = (sample_rate / n_fft) * torch.arange(n_fft // 2, dtype=torch.float32)
        mel = (1127.0 * (1.0 + hertz / 700.0).log())[None]
        slopes = torch.minimum((mel - left) / (centre - left), (right - mel) / (right - centre))
        return slopes.clamp(min=0.0)


def _hz_to_slaney(hertz: np.ndarray) -> np.ndarray:
    """Map Hz to Slaney mels: linear to 1000 Hz, logarithmic above."""
    log_step = math.log(6.4) / 27.0
    log_part = 15.0 + np.log(np.maximum(hertz, 1000.0) / 1000.0) / log_step
    return np.where(hertz >= 1000.0, log_part, hertz * 3.0 / 200.0)


def _slaney_to_hz(mels: np.ndarray) -> np.ndarray:
    """Map Slaney mels to Hz."""
    log_step = math.log(6.4) / 27.0
    log_part = 1000.0 * np.exp(log_step * (np.maximum(mels, 15.0) - 15.0))
    return np.where(mels >= 15.0, log_part, mels * 200.0 / 3.0)


@lru_cache(maxsize=8)
def _povey_window(length: int) -> Tensor:
    """Build the symmetric Hann window to the power 0.85: (length,)."""
    with torch.inference_mode(False):
        return torch.hann_window(length, periodic=False, dtype=torch.float32).pow(0.85)


@lru_cache(maxsize=16)
def _sinc_kernel(old: int, new: int, zeros: int, rolloff: float) -> tuple[Tensor, int]:
    """Build the polyphase kernel (new, 1, 2 * width + old) of reduced rates, and its width."""
    base = rolloff * min(old, new)
    width = math.ceil(zeros * old / base)
    with torch.inference_mode(False):
        taps = torch.arange(-width, width + old, dtype=torch.float64) / old
        phases = torch.arange(new, dtype=torch.float64)[:, None] / new
        time = ((taps[None] - phases) * base).clamp(-zeros, zeros)
        window = torch.cos(time * (math.pi / zeros / 2.0)).square()
        kernel = torch.special.sinc(time) * window * (base / old)
        return kernel.float()[:, None], width


def _stft(padded: Tensor, n_fft: int, hop: int) -> Tensor:
    """Transform (B, S) frame by frame under a periodic Hann window: (B, n_fft/2+1, F) complex."""
    window = torch.hann_window(n_fft, device=padded.device)
    return torch.stft(padded, n_fft, hop, window=window, center=False, return_complex=True)


def _require_samples(wave: Tensor, least: int) -> None:
    if wave.dim() < 1 or wave.shape[-1] < least:
        raise ValueError(f"waveform of shape {tuple(wave.shape)} needs at least {least} samples")
