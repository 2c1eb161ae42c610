"""HiFT for mel that comes in pieces, by its graph and arrays: vocoder_stream.py without torch.

The same pieces make the same sound as `vocoder_stream.HiFTStream` makes of them, which tests hold
it to; how its joins come about is told there.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.codecs.flow_hift.config import HiFTConfig
from mamtra_cli.codecs.flow_hift.noise import frame_noise
from mamtra_cli.codecs.flow_hift.windows import WaveOptions

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class LightHiFTState:
    """See `vocoder_stream.HiFTState`."""

    mel: Array
    f0: Array
    turns: float
    tail: Array
    start: int


class LightHiFT:
    """HiFT around its graph; see `light.LightVocoder`.

    Args:
        config: its sizes.
        session: of the graph.
    """

    def __init__(self, config: HiFTConfig, session: Any) -> None:
        self.config = config
        self.session = session

    def start(self) -> LightHiFTState:
        """Begin an utterance."""
        return LightHiFTState(
            mel=np.zeros((1, self.config.mel_bins, 0), np.float32),
            f0=np.zeros((1, 0), np.float32),
            turns=0.0,
            tail=np.zeros(0, np.float32),
            start=0,
        )

    def step(
        self, state: LightHiFTState, mel: Array, options: WaveOptions, *, final: bool
    ) -> tuple[LightHiFTState, Array]:
        """Turn mel frames (1, F, T) into as many samples (S,) as they settle."""
        size = self.config.samples_per_frame
        mel = np.concatenate((state.mel, mel), axis=2)
        frames, settled = mel.shape[2], state.f0.shape[1]
        if frames == 0:
            return state, state.tail[:0]
        wave, f0 = self.session.run(
            ["wave", "f0"],
            {
                "mel": mel,
                "settled": state.f0,
                "past": np.full((1, min(1, state.start)), state.turns, np.float32),
                "noise": self._noise(options.noise_seed, state.start, frames),
            },
        )
        wave = wave[0, settled * size :]
        fade = len(state.tail)
        if fade:
            wave = np.concatenate((cross_fade(state.tail, wave[:fade]), wave[fade:]))
        overlap, guard = options.overlap_frames, options.guard_frames
        held = 0 if final else min(overlap + guard, frames - settled)
        settled = frames - held
        drop = max(0, settled - options.vocoder_context)
        turns = state.turns + float(f0[0, :drop].astype(np.float64).sum())
        spoken = len(wave) - held * size
        fade = min(overlap, max(0, held - guard)) * size
        after = LightHiFTState(
            mel=mel[:, :, drop:],
            f0=f0[:, drop:settled],
            turns=turns % self.config.sample_rate,
            tail=wave[spoken : spoken + fade],
            start=state.start + drop,
        )
        return after, wave[:spoken]

    def _noise(self, seed: int | None, first: int, frames: int) -> Array:
        """(1, S, harmonics + 1) draws of frames `first` to `first + frames`, or zeros."""
        shape = (self.config.samples_per_frame, self.config.harmonics + 1)
        if seed is None:
            return np.zeros((1, frames * shape[0], shape[1]), np.float32)
        drawn = frame_noise(seed, range(first, first + frames), math.prod(shape))
        return drawn.reshape(1, -1, shape[1])


def cross_fade(old: Array, new: Array) -> Array:
    """See `vocoder_stream.cross_fade`."""
    ramp = (np.arange(len(old), dtype=np.float32) + 0.5) * np.float32(math.pi / 2 / len(old))
    rise = np.sin(ramp) ** 2
    faded: Array = old * (1 - rise) + new * rise
    return faded
