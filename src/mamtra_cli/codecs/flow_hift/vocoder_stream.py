"""Mel to waveform piece by piece, by a vocoder whose joins cannot be heard.

HiFT hears a few old frames again with each piece: the phase of its sines goes on as one number and
cross-fades weigh old and new to a sum of one. The source-filter vocoder keeps the contexts of its
layers and needs neither. The noise of a frame depends on its index alone. State is a value. Knows
no tokens. Ours; the published cache of mel and source is in the family's `official/token2wav.py`.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mamtra_cli.codecs.flow_hift.config import SOURCE_FILTER_PIECE
from mamtra_cli.codecs.flow_hift.hift import HiFT, Noise
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter, SourceFilterState


def cross_fade(old: Tensor, new: Tensor) -> Tensor:
    """Fade (S,) into (S,) with Hann weights that sum to one at every sample."""
    ramp = (torch.arange(old.shape[0], device=old.device) + 0.5) * (math.pi / 2 / old.shape[0])
    rise = torch.sin(ramp) ** 2
    return old * (1.0 - rise) + new * rise


class VocoderStream(Protocol):
    """A vocoder for mel that comes in pieces; its state is a value of its own kind."""

    def start(self) -> Any:
        """Begin an utterance."""
        ...

    def step(self, state: Any, mel: Tensor, *, final: bool) -> tuple[Any, Tensor]:
        """Turn new mel frames into samples.

        Args:
            state: what earlier pieces left.
            mel: (1, mel, T) new frames.
            final: nothing follows, so nothing is held back.

        Returns:
            the new state and (S,) samples.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class HiFTState:
    """What HiFT remembers between windows.

    Attributes:
        mel: (1, mel, n) frames start..start+n.
        f0: (1, m) settled f0 of the first m of them; the others are to be spoken again.
        turns: sum of the f0 of all frames before `start`, modulo the sample rate. It fixes the
            phase of every harmonic there.
        tail: (S,) samples from frame start+m on, to be cross-faded.
        start: absolute index of the first frame.
    """

    mel: Tensor
    f0: Tensor
    turns: float
    tail: Tensor
    start: int


@dataclass(frozen=True, kw_only=True)
class HiFTStream:
    """HiFT for mel that comes in pieces.

    Attributes:
        hift: mel to samples.
        context: old frames heard again before the cross-fade.
        overlap: frames of a cross-fade.
        guard: newest frames whose sound waits for what follows; the cross-fade lies before them.
        seed: of the source noise; `None` leaves the noise out.
    """

    hift: HiFT
    context: int
    overlap: int
    guard: int
    seed: int | None

    def start(self) -> HiFTState:
        """Begin an utterance."""
        weight = self.hift.conv_pre.weight
        return HiFTState(
            mel=weight.new_zeros((1, weight.shape[1], 0)),
            f0=weight.new_zeros((1, 0), dtype=torch.float32),
            turns=0.0,
            tail=weight.new_zeros((0,), dtype=torch.float32),
            start=0,
        )

    @torch.no_grad()
    def step(self, state: HiFTState, mel: Tensor, *, final: bool) -> tuple[HiFTState, Tensor]:
        """See `VocoderStream.step`."""
        hift, size = self.hift, self.hift.config.samples_per_frame
        mel = torch.cat((state.mel, mel), dim=2)
        if mel.shape[2] == 0:
            return state, state.tail[:0]
        settled = state.f0.shape[1]
        f0 = torch.cat((state.f0, hift.f0(mel)[:, settled:]), dim=1)
        # One frame whose f0 is the sum of all earlier ones leaves every harmonic at the phase
        # it had: the source adds f0 * harmonic / rate modulo 1, and sums are all it keeps.
        past = torch.full((1, min(1, state.start)), state.turns, device=f0.device)
        before = past.shape[1]
        noise = self._source_noise(state.start - before, before, f0.device)
        source = hift.source(torch.cat((past, f0), dim=1), noise=noise)[:, :, before * size :]
        wave = hift.decode(mel, source)[0, settled * size :]
        fade = state.tail.shape[0]
        if fade:
            wave = torch.cat((cross_fade(state.tail, wave[:fade]), wave[fade:]))

        held = 0 if final else min(self.overlap + self.guard, mel.shape[2] - settled)
        settled = mel.shape[2] - held
        drop = max(0, settled - self.context)
        turns = state.turns + float(f0[0, :drop].double().sum())
        spoken = wave.shape[0] - held * size
        fade = min(self.overlap, max(0, held - self.guard)) * size
        after = HiFTState(
            mel=mel[:, :, drop:],
            f0=f0[:, drop:settled],
            turns=turns % hift.config.sample_rate,
            tail=wave[spoken : spoken + fade],
            start=state.start + drop,
        )
        return after, wave[:spoken]

    def _source_noise(self, first: int, silent: int, device: torch.device) -> Noise:
        """Noise of frames first.. of the utterance, as `HiFT.source` asks for it.

        The first `silent` ones have none.
        """
        shape = (self.hift.config.samples_per_frame, self.hift.config.harmonics + 1)
        if self.seed is None:
            return torch.zeros((1, 1, 1), device=device)
        seed = self.seed

        def draw(start: int, stop: int) -> Tensor:
            quiet = [torch.zeros(shape)] * max(0, silent - start)
            drawn = frame_noise(seed, range(first + max(start, silent), first + stop), shape)
            return torch.cat((*quiet, *drawn))[None].to(device)

        return draw


@dataclass(frozen=True, kw_only=True)
class SourceFilterStream:
    """The source-filter vocoder for mel that comes in pieces: any pieces make the same sound.

    Attributes:
        vocoder: mel to samples.
        seed: of the noise; `None` leaves the noise out.
    """

    vocoder: SourceFilter
    seed: int | None

    def start(self) -> SourceFilterState:
        """Begin an utterance."""
        return self.vocoder.start()

    @torch.no_grad()
    def step(
        self, state: SourceFilterState, mel: Tensor, *, final: bool
    ) -> tuple[SourceFilterState, Tensor]:
        """See `VocoderStream.step`."""
        size, seed = self.vocoder.config.samples_per_frame, self.seed

        def draw(start: int, stop: int) -> Tensor:
            if seed is None:
                return torch.zeros((1, 1), device=mel.device)
            return torch.cat(frame_noise(seed, range(start, stop), (size,)))[None].to(mel.device)

        # Any pieces make the same sound, so scratch need not grow with what comes at once.
        pieces = torch.split(mel, SOURCE_FILTER_PIECE, dim=2)
        waves = []
        for place, piece in enumerate(pieces, 1):
            last = final and place == len(pieces)
            state, wave = self.vocoder.step(state, piece, draw, final=last)
            waves.append(wave[0])
        return state, torch.cat(waves)


def frame_noise(seed: int, frames: range, shape: tuple[int, ...]) -> list[Tensor]:
    """Normal draws of each frame. Each has its own seed: a frame heard twice has it twice."""
    generator, drawn = torch.Generator(), []
    for frame in frames:
        generator.manual_seed((seed * 1_000_003 + frame) % 2**32)
        drawn.append(torch.randn(shape, generator=generator))
    return drawn
