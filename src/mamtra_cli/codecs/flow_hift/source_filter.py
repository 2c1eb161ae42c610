"""The source-filter vocoder: pulses and noise, each through a filter that networks read off a mel.

The networks run at frame rates; an inverse STFT makes the samples. Each sees a fixed number of
frames to come, so speech in pieces is the whole, cut: `step` takes its state and gives it back,
and everything else is one step. Knows no tokens and no windows of speech. Sources: neural source
filter (arXiv:1904.12088), inverse STFT as the last layer (arXiv:2203.02395), ConvNeXt blocks in
a vocoder (arXiv:2306.00814); the filters start from the mel itself, which is ours.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from mamtra_cli.codecs.flow_hift.config import SourceFilterConfig
from mamtra_cli.codecs.flow_hift.context_conv import (
    Block,
    ContextConv,
    first_contexts,
    with_neighbours,
)
from mamtra_cli.codecs.flow_hift.source import (
    MAX_LOG_GAIN,
    NEAR_PULSE,
    PITCH_AHEAD,
    PITCH_KERNEL,
    PITCH_RANGE,
    PITCH_ZERO,
    PRE_AHEAD,
    PRE_KERNEL,
    band_map,
)

MEL_MEAN, MEL_SCALE = -5.0, 2.5
FIRST_GAINS = (-1.5, -3.0)  # log gain of pulses and of noise over the mel, before training

Noise = Callable[[int, int], Tensor]
"""Gives normal draws (1 or B, S) of the mel frames from the first argument up to the second."""


@dataclass(frozen=True, kw_only=True)
class SourceFilterState:
    """What the vocoder remembers of an utterance; `None` where nothing has come yet.

    Attributes:
        pitch: contexts of the pitch network's layers.
        filters: contexts of the filter networks' layers.
        mel: (B, F, 2) the newest mel frames, of which the last waits for its neighbour.
        track: (B, 2, 2) voicing and log pitch, likewise.
        fine_mel: (B, F, n) interpolated mel that waits for its filters.
        tracked: (B, 2, n) voicing and log pitch that wait for the filter network.
        turns: (B,) float64 turns of the pulses so far, modulo 1.
        excitation: (B, 2, n) pulses and noise that wait for their filters, with the context of
            their first analysis window.
        tail: (B, n_fft - hop) sound to which later windows add.
        excited: mel frames whose excitation is made.
        skip: samples before the utterance that are still to be dropped.
    """

    pitch: tuple[Tensor, ...]
    filters: tuple[Tensor, ...]
    mel: Tensor | None
    track: Tensor | None
    fine_mel: Tensor
    tracked: Tensor
    turns: Tensor
    excitation: Tensor
    tail: Tensor
    excited: int
    skip: int


class PitchPredictor(nn.Module):
    """How sure a mel frame is voiced, and its pitch."""

    def __init__(self, config: SourceFilterConfig) -> None:
        super().__init__()
        width = config.pitch_width
        self.convs = nn.ModuleList(
            ContextConv(width if i else config.mel_bins, width, PITCH_KERNEL, PITCH_AHEAD)
            for i in range(config.pitch_layers)
        )
        self.out = nn.Linear(width, 2)

    def forward(
        self, contexts: tuple[Tensor, ...], mel: Tensor, *, final: bool
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Read (B, F, T) more frames; give the new contexts and (B, 2, n) float32.

        The two numbers of a frame are the logit of voicing and log2 of pitch over `PITCH_ZERO`.
        """
        x, after = (mel - MEL_MEAN) / MEL_SCALE, []
        for conv, context in zip(self.convs, contexts, strict=True):
            context, _, x = conv(context, x, final=final)
            x = F.gelu(x)
            after.append(context)
        found: Tensor = self.out(x.transpose(1, 2)).transpose(1, 2)
        return tuple(after), found.float()


class SourceFilter(nn.Module):
    """The whole vocoder. See `forward` for mel to waveform in one call, `step` for pieces."""

    def __init__(self, config: SourceFilterConfig) -> None:
        super().__init__()
        ahead = PRE_AHEAD + config.blocks * config.ahead
        if ahead < config.pitch_layers * PITCH_AHEAD:
            raise ValueError(f"the pitch sees further ahead than the filters' {ahead} frames")
        self.config = config
        width = config.width
        self.pitch = PitchPredictor(config)
        self.pre = ContextConv(config.mel_bins, width, PRE_KERNEL, PRE_AHEAD)
        self.blocks = nn.ModuleList(
            Block(width, config.kernel, config.ahead, config.widening) for _ in range(config.blocks)
        )
        self.refine = nn.Linear(width + 2, config.rate * width)
        self.fine_blocks = nn.ModuleList(
            Block(width, config.kernel, config.fine_ahead, config.fine_widening)
            for _ in range(config.fine_blocks)
        )
        self.out = nn.Linear(width, 3 * config.bins)
        nn.init.normal_(self.out.weight, std=0.01)
        with torch.no_grad():
            gains = torch.tensor((FIRST_GAINS[0], 0.0, FIRST_GAINS[1]))
            self.out.bias.copy_(gains.repeat_interleave(config.bins))
        self.window: Tensor
        self.bands: Tensor
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("bands", torch.from_numpy(band_map(config)), persistent=False)

    def forward(
        self, mel: Tensor, *, noise: Tensor | None = None, generator: Generator | None = None
    ) -> Tensor:
        """Speak a mel.

        Args:
            mel: (B, F, T) natural-log mel.
            noise: standard normal draw that broadcasts to (B, S) with S = samples_per_frame * T;
                drawn when `None`.
            generator: random state of that draw.

        Returns:
            (B, S) float32 waveform within the audio limit.
        """
        state = self.start(mel.shape[0])
        return self.step(state, mel, self._draws(mel, noise, generator), final=True)[1]

    def pitch_of(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Logit of voicing and log2 of pitch over `PITCH_ZERO`, (B, T) float32 each."""
        found = self.pitch(first_contexts(self.pitch, mel.shape[0]), mel, final=True)[1]
        return found[:, 0], found[:, 1]

    def render(
        self,
        mel: Tensor,
        voicing: Tensor,
        log_pitch: Tensor,
        *,
        noise: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Speak a mel with a given pitch, as training does; gradients reach the filters only.

        Args:
            mel: (B, F, T).
            voicing: (B, T) from 0 to 1.
            log_pitch: (B, T) log2 of pitch over `PITCH_ZERO`.
            noise, generator: as in `forward`.

        Returns:
            (B, S) float32, without the limit.
        """
        track = torch.stack((voicing, log_pitch), dim=1).float().detach()
        draws = self._draws(mel, noise, generator)
        return self._speak(self.start(mel.shape[0]), mel, track, draws, final=True)[1]

    def start(self, batch: int = 1) -> SourceFilterState:
        """Begin an utterance."""
        config, like = self.config, self.out.bias
        side = (config.n_fft - config.hop) // 2
        contexts = first_contexts(self, batch)
        return SourceFilterState(
            pitch=contexts[: config.pitch_layers],
            filters=contexts[config.pitch_layers :],
            mel=None,
            track=None,
            fine_mel=like.new_zeros((batch, config.mel_bins, 0), dtype=torch.float32),
            tracked=like.new_zeros((batch, 2, 0), dtype=torch.float32),
            turns=torch.zeros(batch, dtype=torch.float64, device=like.device),
            excitation=like.new_zeros((batch, 2, side), dtype=torch.float32),
            tail=like.new_zeros((batch, config.n_fft - config.hop), dtype=torch.float32),
            excited=0,
            skip=side,
        )

    def step(
        self, state: SourceFilterState, mel: Tensor, noise: Noise, *, final: bool
    ) -> tuple[SourceFilterState, Tensor]:
        """Turn more mel frames into as much sound as they settle.

        Args:
            state: from `start` or an earlier step.
            mel: (B, F, T) new frames.
            noise: draws for frames counted from the start of the utterance.
            final: nothing follows.

        Returns:
            the new state and (B, S) float32 within the audio limit; over all steps
            samples_per_frame a frame.
        """
        if state.mel is None and mel.shape[2] == 0:
            return state, state.tail[:, :0]
        pitch, found = self.pitch(state.pitch, mel, final=final)
        track = torch.cat((torch.sigmoid(found[:, :1]), found[:, 1:]), dim=1)
        state, wave = self._speak(state, mel, track, noise, final=final)
        limit = self.config.audio_limit
        return replace(state, pitch=pitch), wave.clamp(-limit, limit)

    def _speak(
        self, state: SourceFilterState, mel: Tensor, track: Tensor, noise: Noise, *, final: bool
    ) -> tuple[SourceFilterState, Tensor]:
        """Excite, filter and add up: mel (B, F, T) and track (B, 2, T') to (B, S)."""
        config = self.config
        with torch.autocast(mel.device.type, enabled=False):
            state = self._excite(state, track, noise, final=final)
            state = self._refined(state, mel, final=final)
        tracked = torch.cat((state.tracked, track), dim=2)
        contexts, x = self._slow(state.filters, mel, tracked, final=final)
        state = replace(state, tracked=tracked[:, :, x.shape[2] // config.rate :])
        after = []
        for block, context in zip(
            self.fine_blocks, state.filters[1 + config.blocks :], strict=True
        ):
            context, x = block(context, x, final=final)
            after.append(context)
        state = replace(state, filters=(*contexts, *after))
        filters = self.out(x.transpose(1, 2)).transpose(1, 2)
        with torch.autocast(mel.device.type, enabled=False):
            return self._filter(state, filters.float(), final=final)

    def _slow(
        self, contexts: tuple[Tensor, ...], mel: Tensor, tracked: Tensor, *, final: bool
    ) -> tuple[list[Tensor], Tensor]:
        """The network at the rate of the mel, and its step to the rate of the filters.

        Returns:
            its new contexts, and (B, width, rate * n).
        """
        config = self.config
        context, _, x = self.pre(contexts[0], (mel - MEL_MEAN) / MEL_SCALE, final=final)
        after = [context]
        for block, context in zip(self.blocks, contexts[1 : 1 + config.blocks], strict=True):
            context, x = block(context, x, final=final)
            after.append(context)
        x = torch.cat((x, tracked[:, :, : x.shape[2]].flip(1)), dim=1)
        fine = self.refine(x.transpose(1, 2))  # (B, n, rate * width)
        return after, fine.unflatten(2, (config.width, config.rate)).permute(0, 2, 1, 3).flatten(2)

    @torch.no_grad()
    def _excite(
        self, state: SourceFilterState, track: Tensor, noise: Noise, *, final: bool
    ) -> SourceFilterState:
        """Add the pulses and the noise of the frames whose pitch is settled."""
        config = self.config
        size, side = config.samples_per_frame, (config.n_fft - config.hop) // 2
        waiting, track = with_neighbours(state.track, track, final=final)
        n = track.shape[2] - 2
        excitation, turns = state.excitation, state.turns
        if n:
            voicing, f0 = track[:, 0], PITCH_ZERO * torch.exp2(track[:, 1])
            values = torch.stack((voicing, f0.clamp(*PITCH_RANGE)), dim=1)
            edges = (values[:, :, :-1] + values[:, :, 1:]) / 2  # between frames
            ramp = (torch.arange(size, device=track.device) + 0.5) / size
            fine = torch.lerp(edges[:, :, :-1, None], edges[:, :, 1:, None], ramp).flatten(2)
            cycles = turns[:, None] + (fine[:, 1].double() / config.sample_rate).cumsum(1)
            turns = torch.remainder(cycles[:, -1], 1.0)
            pulses = fine[:, 0] * pulse_train(
                torch.remainder(cycles, 1.0).float(), fine[:, 1], config.pulse_fmax
            )
            draws = noise(state.excited, state.excited + n).expand_as(pulses)
            excitation = torch.cat((excitation, torch.stack((pulses, draws), dim=1)), dim=2)
        if final:
            excitation = F.pad(excitation, (0, side))
        return replace(
            state, track=waiting, turns=turns, excitation=excitation, excited=state.excited + n
        )

    @torch.no_grad()
    def _refined(self, state: SourceFilterState, mel: Tensor, *, final: bool) -> SourceFilterState:
        """Add the mel, interpolated to the rate of the filters, as far as it is settled."""
        rate = self.config.rate
        waiting, mel = with_neighbours(state.mel, mel.float(), final=final)
        shift = (torch.arange(rate, device=mel.device) + 0.5) / rate - 0.5  # in mel frames
        left, here, right = (mel[:, :, i : mel.shape[2] - 2 + i, None] for i in range(3))
        fine = here + shift.clamp(max=0) * (here - left) + shift.clamp(min=0) * (right - here)
        return replace(
            state, mel=waiting, fine_mel=torch.cat((state.fine_mel, fine.flatten(2)), dim=2)
        )

    def _filter(
        self, state: SourceFilterState, filters: Tensor, *, final: bool
    ) -> tuple[SourceFilterState, Tensor]:
        """Filter the excitation, (B, 3 * bins, n) filters, and add windows up to (B, S)."""
        config = self.config
        n, hop, size = filters.shape[2], config.hop, config.n_fft
        wave = state.tail
        if n:
            envelope = torch.einsum("bmt,mf->bft", state.fine_mel[:, :, :n], self.bands)
            pulse_gain, angle, noise_gain = filters.chunk(3, dim=1)
            # Limited before exp: the gradient of a limited infinity would not be a number.
            pulse_filter = torch.polar((envelope + pulse_gain).clamp(max=MAX_LOG_GAIN).exp(), angle)
            noise_filter = (envelope + noise_gain).clamp(max=MAX_LOG_GAIN).exp()
            heard = state.excitation[:, :, : (n - 1) * hop + size].unfold(2, size, hop)
            spectra = torch.fft.rfft(heard * self.window).transpose(2, 3)  # (B, 2, bins, n)
            spectrum = spectra[:, 0] * pulse_filter + spectra[:, 1] * noise_filter
            # Squares of the window at this hop sum to 3/8 of size / hop.
            scale = hop / (0.375 * size)
            frames = torch.fft.irfft(spectrum, dim=1) * (self.window[:, None] * scale)
            length = (n - 1) * hop + size
            added = F.fold(frames, (1, length), (1, size), stride=(1, hop))[:, 0, 0]
            wave = added + F.pad(wave, (0, length - wave.shape[1]))
        settled = n * hop
        side = (size - hop) // 2
        out = wave[:, : settled + side] if final else wave[:, :settled]
        skip = min(state.skip, out.shape[1])
        state = replace(
            state,
            fine_mel=state.fine_mel[:, :, n:],
            excitation=state.excitation[:, :, settled:],
            tail=wave[:, settled:],
            skip=state.skip - skip,
        )
        return state, out[:, skip:]

    def _draws(self, mel: Tensor, noise: Tensor | None, generator: Generator | None) -> Noise:
        """The noise of any frames of a whole mel, as `Noise` gives it."""
        size = self.config.samples_per_frame
        if noise is None:
            shape = (mel.shape[0], size * mel.shape[2])
            noise = torch.randn(shape, generator=generator, device=mel.device)
        whole = noise.expand(-1, size * mel.shape[2])
        return lambda start, stop: whole[:, start * size : stop * size]


def pulse_train(turns: Tensor, f0: Tensor, highest: float) -> Tensor:
    """Equal cosines at the multiples of f0 up to `highest` Hz, of unit power: a Dirichlet kernel.

    The last one fades with its share, so that none comes or goes at once as f0 glides.

    Args:
        turns: (B, S) of the fundamental, from 0 to 1.
        f0: (B, S) in Hz.
        highest: frequency.
    """
    multiples = highest / f0
    count = torch.floor(multiples) - 1
    x = math.pi * turns
    sine = torch.sin(x)
    near = sine.abs() < NEAR_PULSE
    ratio = torch.sin((2 * count + 1) * x) / torch.where(near, 1.0, sine)
    kernel = torch.where(near, 2 * count + 1, ratio)
    last = (multiples - count - 1) * torch.cos(2 * (count + 1) * x)
    return ((kernel - 1) / 2 + last) * torch.sqrt(2 / multiples)
