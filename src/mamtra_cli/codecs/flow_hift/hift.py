"""The HiFT vocoder: mel to waveform by a sine source, a filter network and an inverse STFT.

Module names are the published ones with weight norm folded into plain weights; knows nothing
of tokens, chunks or files. All methods are pure: streaming callers keep the cached source
themselves. Sources: HiFTNet (arXiv:2309.09493), neural source filter (arXiv:1904.12088),
Snake (arXiv:2006.08195); FunAudioLLM/CosyVoice, cosyvoice/hifigan/generator.py.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from mamtra_cli.codecs.flow_hift.config import HiFTConfig
from mamtra_cli.errors import CheckpointError

NORM_SUFFIXES = (
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
    (".weight_g", ".weight_v"),
)
MAX_MAGNITUDE = 100.0
POST_SLOPE = 0.01
EPSILON = 1e-9
SOURCE_BLOCK = 32  # mel frames whose source is made at once

Noise = Tensor | Callable[[int, int], Tensor]
"""Normal draws (1 or B, S, harmonics + 1) of a whole source, or a function that gives those of
the mel frames from the first argument up to the second."""


class SnakeFunction(torch.autograd.Function):
    """Snake that keeps only its input for the gradient and computes in float32.

    A third of a vocoder's training step on a CPU is spent here when autograd keeps every term.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, alpha: Tensor) -> Tensor:
        """Map x: (B, C, T), alpha: (C,) to (B, C, T) of the same type as x."""
        ctx.save_for_backward(x, alpha)
        weight = alpha[:, None]
        wide = x.to(weight.dtype)
        bump = (wide * weight).sin_().square_().mul_(1.0 / (weight + EPSILON))
        return bump.add_(wide).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients of x and alpha."""
        x, alpha = ctx.saved_tensors
        weight = alpha[:, None]
        inverse = 1.0 / (weight + EPSILON)
        wide, gradient_wide = x.to(weight.dtype), gradient.to(weight.dtype)
        twice = wide * (2.0 * weight)
        sine, cosine = twice.sin(), twice.cos_()
        by_sine = sine.mul_(gradient_wide)
        to_alpha = (by_sine * wide).sum((0, 2)) * inverse[:, 0]
        bumps = gradient_wide.sum((0, 2)) - cosine.mul_(gradient_wide).sum((0, 2))
        to_alpha = to_alpha - 0.5 * bumps * inverse[:, 0].square()
        to_x = by_sine.mul_(weight * inverse).add_(gradient_wide)
        return to_x.to(x.dtype), to_alpha


class Snake(nn.Module):
    """Periodic activation x + sin²(αx) / α with one α per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, C, T) to (B, C, T)."""
        out: Tensor = SnakeFunction.apply(x, self.alpha)  # type: ignore[no-untyped-call]
        return out


class ResBlock(nn.Module):
    """Residual pairs of a dilated and a plain convolution, each after a Snake."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=d, padding=d * (kernel - 1) // 2)
            for d in dilations
        )
        self.convs2 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) // 2) for _ in dilations
        )
        self.activations1 = nn.ModuleList(Snake(channels) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, C, T) to (B, C, T)."""
        stages = zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True)
        for snake1, conv1, snake2, conv2 in stages:
            x = x + conv2(snake2(conv1(snake1(x))))
        return x


class F0Predictor(nn.Module):
    """Fundamental frequency from a mel, frame by frame."""

    def __init__(self, mel_bins: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(5):
            layers += [nn.Conv1d(channels if i else mel_bins, channels, 3, padding=1), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, 1)

    def forward(self, mel: Tensor) -> Tensor:
        """Map mel: (B, F, T) to f0: (B, T) in Hz, float32 whatever the autocast."""
        with torch.autocast(mel.device.type, enabled=False):
            hidden = self.condnet(mel.float()).transpose(1, 2)  # (B, T, C)
            f0: Tensor = self.classifier(hidden).squeeze(-1).abs()
            return f0


class SourceMixer(nn.Module):
    """Weights that mix the harmonics into one excitation."""

    def __init__(self, harmonics: int) -> None:
        super().__init__()
        self.l_linear = nn.Linear(harmonics + 1, 1)

    def forward(self, waves: Tensor) -> Tensor:
        """Map waves: (B, S, harmonics + 1) to (B, 1, S)."""
        mixed: Tensor = torch.tanh(self.l_linear(waves)).transpose(1, 2)
        return mixed


class HiFT(nn.Module):
    """The whole vocoder. See `forward` for mel to waveform in one call."""

    def __init__(self, config: HiFTConfig) -> None:
        super().__init__()
        self.config = config
        rates, base = config.upsample_rates, config.base_channels
        bins = config.n_fft + 2
        self.m_source = SourceMixer(config.harmonics)
        self.conv_pre = nn.Conv1d(config.mel_bins, base, 7, padding=3)
        self.ups = nn.ModuleList()
        self.source_downs = nn.ModuleList()
        self.source_resblocks = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for i, (rate, kernel) in enumerate(zip(rates, config.upsample_kernels, strict=True)):
            wide, narrow = base >> i, base >> (i + 1)
            self.ups.append(
                nn.ConvTranspose1d(wide, narrow, kernel, rate, padding=(kernel - rate) // 2)
            )
            stride = math.prod(rates[i + 1 :])
            self.source_downs.append(
                nn.Conv1d(bins, narrow, 2 * stride, stride, padding=stride // 2)
                if stride > 1
                else nn.Conv1d(bins, narrow, 1)
            )
            self.source_resblocks.append(
                ResBlock(narrow, config.source_resblock_kernels[i], config.resblock_dilations)
            )
            self.resblocks.extend(
                ResBlock(narrow, size, config.resblock_dilations)
                for size in config.resblock_kernels
            )
        self.conv_post = nn.Conv1d(base >> len(rates), bins, 7, padding=3)
        self.f0_predictor = F0Predictor(config.mel_bins, config.f0_channels)
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)

    def forward(
        self, mel: Tensor, *, noise: Noise | None = None, generator: Generator | None = None
    ) -> Tensor:
        """Speak a mel.

        Args:
            mel: (B, F, T) natural-log mel.
            noise: see `source`.
            generator: see `source`.

        Returns:
            (B, samples_per_frame * T) float32 waveform within the audio limit.
        """
        source = self.source(self.f0(mel), noise=noise, generator=generator)
        return self.decode(mel, source)

    def f0(self, mel: Tensor) -> Tensor:
        """Predict f0: (B, T) in Hz, float32, from mel: (B, F, T)."""
        predicted: Tensor = self.f0_predictor(mel)
        return predicted

    def source(
        self, f0: Tensor, *, noise: Noise | None = None, generator: Generator | None = None
    ) -> Tensor:
        """Excite the filter: harmonics where voiced, noise everywhere.

        Made in blocks, so that the harmonics of a long sound are never there all at once.
        Gradients reach the mixing weights, not `f0`.

        Args:
            f0: (B, T) in Hz.
            noise: standard normal draw that broadcasts to (B, S, harmonics + 1), where S is
                samples_per_frame * T; zeros make the result deterministic. Drawn when `None`.
            generator: random state of that draw.

        Returns:
            (B, 1, S) float32.
        """
        with torch.autocast(f0.device.type, enabled=False):
            f0 = f0.detach()
            draw, cycles = self._draws(f0, noise, generator), self._cycles(f0)
            blocks = []
            for start in range(0, f0.shape[1], SOURCE_BLOCK):
                stop = min(start + SOURCE_BLOCK, f0.shape[1])
                waves = self._harmonic_waves(f0, cycles, start, stop, draw(start, stop))
                blocks.append(self.m_source(waves))
            return torch.cat(blocks, dim=2)

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        """Filter a source by a mel.

        Args:
            mel: (B, F, T) natural-log mel.
            source: (B, 1, S) with S = samples_per_frame * T.

        Returns:
            (B, S) float32 waveform within the audio limit.
        """
        config = self.config
        samples = config.samples_per_frame * mel.shape[-1]
        if source.shape != (mel.shape[0], 1, samples):
            raise ValueError(
                f"source of shape {tuple(source.shape)} does not fit a mel of shape "
                f"{tuple(mel.shape)}, expected {(mel.shape[0], 1, samples)}"
            )
        spectrum = self._stft(source[:, 0])
        x = self.conv_pre(mel)
        kinds = len(config.resblock_kernels)
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, config.leaky_slope))
            if i == len(self.ups) - 1:
                x = F.pad(x, (1, 0), mode="reflect")
            x = x + self.source_resblocks[i](self.source_downs[i](spectrum))
            # One after the other: only their sum is kept.
            total = self.resblocks[i * kinds](x)
            for j in range(1, kinds):
                total = total + self.resblocks[i * kinds + j](x)
            x = total / kinds
        return self._istft(self.conv_post(F.leaky_relu(x, POST_SLOPE)))

    def _draws(
        self, f0: Tensor, noise: Noise | None, generator: Generator | None
    ) -> Callable[[int, int], Tensor]:
        """The noise of any frames, as `Noise` gives it."""
        scale = self.config.samples_per_frame
        if noise is None:
            shape = (f0.shape[0], scale * f0.shape[1], self.config.harmonics + 1)
            noise = torch.randn(shape, generator=generator, device=f0.device)
        if not isinstance(noise, Tensor):
            return noise
        whole = noise
        if whole.shape[1] == 1:
            return lambda start, stop: whole
        return lambda start, stop: whole[:, start * scale : stop * scale]

    def _cycles(self, f0: Tensor) -> Tensor:
        """Turns of each harmonic at each frame: (B, harmonics + 1, T) float64.

        The phase is a running sum over the whole utterance (10⁵ radians), so it is summed and
        interpolated in float64 and wrapped before it becomes float32.
        """
        config = self.config
        order = torch.arange(1, config.harmonics + 2, device=f0.device, dtype=torch.float32)
        step = torch.remainder(f0.float()[:, None] * order[:, None] / config.sample_rate, 1.0)
        return step.double().cumsum(-1) * config.samples_per_frame

    def _harmonic_waves(
        self, f0: Tensor, cycles: Tensor, start: int, stop: int, noise: Tensor
    ) -> Tensor:
        """Sines and noise of frames start..stop before mixing: (B, S, harmonics + 1)."""
        config = self.config
        scale = config.samples_per_frame
        # A neighbour on each side makes the interpolation that of the whole.
        first, last = max(0, start - 1), min(f0.shape[1], stop + 1)
        fine = F.interpolate(cycles[..., first:last], scale_factor=float(scale), mode="linear")
        fine = fine[..., (start - first) * scale : (stop - first) * scale]  # (B, H, S)
        turns = torch.remainder(fine, 1.0).float().transpose(1, 2)  # (B, S, H)
        voiced = (f0[:, start:stop] > config.voiced_threshold).float()
        voiced = voiced.repeat_interleave(scale, 1)[..., None]
        spread = voiced * config.noise_sigma + (1.0 - voiced) * (config.sine_amplitude / 3.0)
        sines = config.sine_amplitude * torch.sin((2.0 * math.pi) * turns)
        return sines * voiced + spread * noise

    def _stft(self, wave: Tensor) -> Tensor:
        """Analyse (B, S) into real parts over imaginary parts: (B, n_fft + 2, S / hop + 1)."""
        config = self.config
        with torch.autocast(wave.device.type, enabled=False):
            spectrum = torch.stft(
                wave.float(), config.n_fft, config.hop, window=self.window, return_complex=True
            )
            return torch.cat((spectrum.real, spectrum.imag), dim=1)

    def _istft(self, x: Tensor) -> Tensor:
        """Synthesise (B, S) from log magnitudes over phases: (B, n_fft + 2, S / hop + 1)."""
        config = self.config
        with torch.autocast(x.device.type, enabled=False):
            log_magnitude, angle = x.float().chunk(2, dim=1)
            # Limited before exp: the gradient of a limited infinity would not be a number.
            magnitude = log_magnitude.clamp(max=math.log(MAX_MAGNITUDE)).exp()
            spectrum = torch.polar(magnitude, torch.sin(angle))
            wave = torch.istft(spectrum, config.n_fft, config.hop, window=self.window)
            return wave.clamp(-config.audio_limit, config.audio_limit)


def fold_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fold weight norm into plain weights and drop the `generator.` prefix of training files.

    Args:
        tensors: state dict in either published spelling of weight norm, or already folded.

    Returns:
        State dict with the names of `HiFT`.

    Raises:
        CheckpointError: a direction without its length, or the reverse.
    """
    named = {name.replace("generator.", ""): tensor for name, tensor in tensors.items()}
    folded = {}
    for name, tensor in named.items():
        for length_suffix, direction_suffix in NORM_SUFFIXES:
            if name.endswith(direction_suffix):
                stem = name.removesuffix(direction_suffix)
                length = named.get(stem + length_suffix)
                if length is None:
                    raise CheckpointError(f"tensor {name} lacks its partner {length_suffix[1:]}")
                norm = tensor.norm(dim=tuple(range(1, tensor.dim())), keepdim=True)
                folded[stem + ".weight"] = tensor * (length / norm)
                break
            if name.endswith(length_suffix):
                if name.removesuffix(length_suffix) + direction_suffix not in named:
                    raise CheckpointError(f"tensor {name} lacks its partner {direction_suffix[1:]}")
                break
        else:
            folded[name] = tensor
    return folded
