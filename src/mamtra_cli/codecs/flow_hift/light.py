"""Speech tokens to waveform by ONNX graphs and arrays, without torch; see windows.py.

The graphs are those of graphs.py; what lies between them is here: the solver, the noise, and the
source-filter vocoder around its networks. The same formulas as flow.py and source_filter.py, which
tests hold them to.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.codecs.flow_hift import source
from mamtra_cli.codecs.flow_hift.config import (
    SOURCE_FILTER_PIECE,
    FlowConfig,
    HiFTConfig,
    SourceFilterConfig,
)
from mamtra_cli.codecs.flow_hift.light_hift import LightHiFT
from mamtra_cli.codecs.flow_hift.noise import fixed_noise, frame_noise
from mamtra_cli.codecs.flow_hift.windows import StreamState, WaveOptions, Windows

Array = NDArray[np.float32]
WHOLE = 1 << 30  # a chunk that no sequence is longer than
FIRST_FRAMES = 16  # of a mel that its networks are first given, which all their layers can answer


@dataclass(frozen=True, kw_only=True)
class ArrayPrompt:
    """Who speaks: a vector (1, speaker_dim), tokens, and a mel (1, ratio * P, mel) or none."""

    speaker: Array
    tokens: tuple[int, ...]
    mel: Array

    @property
    def direction(self) -> Array:
        """The vector at unit length."""
        length = max(float(np.linalg.norm(self.speaker)), 1e-12)
        return (self.speaker / length).astype(np.float32)


class LightVocoder(Protocol):
    """A vocoder over arrays for mel that comes in pieces; its state is a value of its own kind."""

    def start(self) -> Any:
        """Begin an utterance."""
        ...

    def step(
        self, state: Any, mel: Array, options: WaveOptions, *, final: bool
    ) -> tuple[Any, Array]:
        """Turn mel frames (1, F, T) into as many samples (S,) as they settle."""
        ...


def time_grid(steps: int) -> Array:
    """See `flow.time_grid`."""
    grid: Array = 1 - np.cos(
        np.linspace(0, 1, steps + 1, dtype=np.float32) * np.float32(math.pi / 2)
    )
    return grid


class LightWave(Windows):
    """Speech tokens to float32 samples, in bounded memory.

    Args:
        config: of the flow.
        sessions: `flow_encoder` and `flow_estimator`, by name.
        vocoder: mel to samples.
        options: sizes of windows, speed, solver.
    """

    def __init__(
        self,
        config: FlowConfig,
        sessions: Mapping[str, Any],
        vocoder: LightVocoder,
        options: WaveOptions,
    ) -> None:
        super().__init__(config, options)
        self.config = config
        self.sessions = sessions
        self.vocoder = vocoder

    def begun(self, prompt: ArrayPrompt) -> tuple[ArrayPrompt, int, Any]:
        """See `Windows.begun`."""
        return prompt, len(prompt.tokens), self.vocoder.start()

    def nothing(self) -> Array:
        """See `Windows.nothing`."""
        return np.zeros(0, np.float32)

    def voiced(self, state: Any, mel: Array, *, final: bool) -> tuple[Any, Array]:
        """See `Windows.voiced`."""
        return self.vocoder.step(state, mel, self.options, final=final)

    def mel(self, state: StreamState, end: int, *, final: bool) -> Array:
        """See `Windows.mel`."""
        ratio, before, prompt, bins = self.ratio, state.heard, state.prompt, self.config.mel_bins
        tokens = state.tokens[: end - state.first + (0 if final else self.lookahead)]
        ids = [*prompt.tokens, *tokens, *([0] * self.lookahead if final else [])]
        known = np.ones((1, len(ids), 1), np.float32)
        if final:
            known[:, len(ids) - self.lookahead :] = 0.0
        # A pass that makes the whole utterance needs no chunk masks.
        full = final and state.done == 0
        encoder, estimator = self.config.encoder, self.config.estimator
        mu, speaker = self.sessions["flow_encoder"].run(
            ["mu", "spks"],
            {
                "ids": np.array([ids], np.int64),
                "known": known,
                "chunk": np.array([WHOLE if full else encoder.chunk]),
                "speaker": prompt.direction,
            },
        )
        noise = np.concatenate(
            (
                fixed_noise(0, ratio * before, bins),
                fixed_noise(ratio * (before + state.first), ratio * (before + end), bins),
            ),
            axis=2,
        )
        cond = np.zeros_like(mu)
        cond[:, :, : prompt.mel.shape[1]] = prompt.mel.transpose(0, 2, 1)
        chunk = np.array([WHOLE if full else estimator.chunk])
        made = self._solved(mu, speaker, cond, noise, chunk)
        return made[:, :, ratio * (before + state.done - state.first) :]

    def _solved(self, mu: Array, spks: Array, cond: Array, noise: Array, chunk: Any) -> Array:
        """See `flow.FlowMatching.solve`."""
        options, config = self.options, self.config
        rate = config.cfg_rate if options.guidance is None else options.guidance
        steps = options.steps or config.steps
        if rate:
            mu, spks, cond = (np.concatenate((v, np.zeros_like(v))) for v in (mu, spks, cond))
        grid = time_grid(steps)
        t, dt = grid[0], grid[1] - grid[0]
        x = noise * np.float32(config.temperature)
        for k in range(1, steps + 1):
            fed = {
                "x": np.concatenate((x, x)) if rate else x,
                "mu": mu,
                "spks": spks,
                "cond": cond,
                "t": np.full(len(mu), t, np.float32),
                "chunk": chunk,
            }
            if config.has_spans:
                fed["r"] = np.full(len(mu), t + dt, np.float32)
            v = self.sessions["flow_estimator"].run(["velocity"], fed)[0]
            if rate:
                v = np.float32(1.0 + rate) * v[:1] - np.float32(rate) * v[1:]
            x = x + dt * v
            t = t + dt
            if k < steps:
                dt = grid[k + 1] - t
        return x


@dataclass(frozen=True, kw_only=True)
class LightState:
    """What the vocoder remembers of an utterance; see `source_filter.SourceFilterState`.

    Attributes:
        contexts: of its networks, by input name, `tracked` among them.
        begun: whether its networks have read anything.
        waiting: mel frames that they have not been given.
    """

    contexts: Mapping[str, Array]
    waiting: Array
    begun: bool
    mel: Array | None
    track: Array | None
    fine_mel: Array
    turns: float
    excitation: Array
    tail: Array
    excited: int
    skip: int


class LightSourceFilter:
    """The source-filter vocoder around its graph; see `LightVocoder`.

    Args:
        config: its sizes.
        session: of the graph.
    """

    def __init__(self, config: SourceFilterConfig, session: Any) -> None:
        self.config = config
        self.session = session
        self.window = np.hanning(config.n_fft + 1)[:-1].astype(np.float32)
        self.bands = source.band_map(config)

    @cached_property
    def _outputs(self) -> list[str]:
        return [value.name for value in self.session.get_outputs()]

    def start(self) -> LightState:
        """Begin an utterance."""
        config = self.config
        side = (config.n_fft - config.hop) // 2
        shapes = {value.name: value.shape for value in self.session.get_inputs()}
        contexts = {
            f"context.{i}": np.zeros((1, shapes[f"context.{i}"][1], past), np.float32)
            for i, past in enumerate(source.pasts(config))
        }
        return LightState(
            contexts={**contexts, "tracked": np.zeros((1, 2, 0), np.float32)},
            waiting=np.zeros((1, config.mel_bins, 0), np.float32),
            begun=False,
            mel=None,
            track=None,
            fine_mel=np.zeros((config.mel_bins, 0), np.float32),
            turns=0.0,
            excitation=np.zeros((2, side), np.float32),
            tail=np.zeros(config.n_fft - config.hop, np.float32),
            excited=0,
            skip=side,
        )

    def step(
        self, state: LightState, mel: Array, options: WaveOptions, *, final: bool
    ) -> tuple[LightState, Array]:
        """Turn mel frames (1, F, T) into as many samples (S,) as they settle."""
        mel = np.concatenate((state.waiting, mel), axis=2)
        count = mel.shape[2]
        state = replace(state, waiting=mel[:, :, :0])
        if count == 0 and not (final and state.begun):
            return state, np.zeros(0, np.float32)
        if not (state.begun or final) and count < FIRST_FRAMES:
            return replace(state, waiting=mel), np.zeros(0, np.float32)
        waves = []
        # A first piece is never short, and the last may be.
        for start in range(0, max(count, 1), SOURCE_FILTER_PIECE):
            last = final and start + SOURCE_FILTER_PIECE >= count
            piece = mel[:, :, start : start + SOURCE_FILTER_PIECE]
            state, wave = self._piece(state, piece, options.noise_seed, final=last)
            waves.append(wave)
        return state, np.concatenate(waves)

    def _piece(
        self, state: LightState, mel: Array, seed: int | None, *, final: bool
    ) -> tuple[LightState, Array]:
        fed = {**state.contexts, "mel": mel, "final": np.array([int(final)])}
        found = dict(zip(self._outputs, self.session.run(None, fed), strict=True))
        contexts = {name: found[f"{name}.next"] for name in state.contexts}
        state = replace(state, contexts=contexts, begun=True)
        state = self._excited(state, found["track"][0], seed, final=final)
        state = self._refined(state, mel[0], final=final)
        state, wave = self._filtered(state, found["filters"][0], final=final)
        limit = self.config.audio_limit
        return state, wave.clip(-limit, limit)

    def _excited(
        self, state: LightState, track: Array, seed: int | None, *, final: bool
    ) -> LightState:
        """Add the pulses and the noise of the frames whose pitch (2, T) is settled."""
        config = self.config
        side = (config.n_fft - config.hop) // 2
        waiting, track = with_neighbours(state.track, track, final=final)
        n, excitation, turns = track.shape[1] - 2, state.excitation, state.turns
        if n:
            pulses, turns = source.pulses(config, track, turns)
            frames = range(state.excited, state.excited + n)
            size = config.samples_per_frame
            draws = np.zeros_like(pulses) if seed is None else frame_noise(seed, frames, size)
            excitation = np.concatenate((excitation, np.stack((pulses, draws))), axis=1)
        if final:
            excitation = np.pad(excitation, ((0, 0), (0, side)))
        return replace(
            state, track=waiting, turns=turns, excitation=excitation, excited=state.excited + n
        )

    def _refined(self, state: LightState, mel: Array, *, final: bool) -> LightState:
        """Add the mel (F, T), interpolated to the rate of the filters, as far as it is settled."""
        rate = self.config.rate
        waiting, mel = with_neighbours(state.mel, mel, final=final)
        shift = ((np.arange(rate) + 0.5) / rate - 0.5).astype(np.float32)  # in mel frames
        left, here, right = (mel[:, i : mel.shape[1] - 2 + i, None] for i in range(3))
        fine = here + shift.clip(max=0) * (here - left) + shift.clip(min=0) * (right - here)
        fine = fine.reshape(len(mel), -1)
        return replace(state, mel=waiting, fine_mel=np.concatenate((state.fine_mel, fine), axis=1))

    def _filtered(
        self, state: LightState, filters: Array, *, final: bool
    ) -> tuple[LightState, Array]:
        """Filter the excitation by (3 * bins, n), and add windows up to (S,)."""
        config = self.config
        n, hop, size = filters.shape[1], config.hop, config.n_fft
        wave = state.tail
        if n:
            envelope = state.fine_mel[:, :n].T @ self.bands  # (n, bins)
            pulse_gain, angle, noise_gain = np.split(filters.T, 3, axis=1)
            pulse_level = np.exp((envelope + pulse_gain).clip(max=source.MAX_LOG_GAIN))
            noise_level = np.exp((envelope + noise_gain).clip(max=source.MAX_LOG_GAIN))
            heard = np.lib.stride_tricks.sliding_window_view(
                state.excitation[:, : (n - 1) * hop + size], size, axis=1
            )[:, ::hop]  # (2, n, size)
            spectra = np.fft.rfft(heard * self.window)
            turned = pulse_level * (np.cos(angle) + 1j * np.sin(angle))
            spectrum = spectra[0] * turned + spectra[1] * noise_level
            # Squares of the window at this hop sum to 3/8 of size / hop.
            frames = np.fft.irfft(spectrum, size) * (self.window * (hop / (0.375 * size)))
            length = (n - 1) * hop + size
            wave = np.pad(wave, (0, length - len(wave)))
            for place, frame in enumerate(frames.astype(np.float32)):
                wave[place * hop : place * hop + size] += frame
        settled = n * hop
        side = (size - hop) // 2
        out = wave[: settled + side] if final else wave[:settled]
        skip = min(state.skip, len(out))
        state = replace(
            state,
            fine_mel=state.fine_mel[:, n:],
            excitation=state.excitation[:, settled:],
            tail=wave[settled:],
            skip=state.skip - skip,
        )
        return state, out[skip:]


def light_vocoder(
    hift: HiFTConfig, source_filter: SourceFilterConfig | None, session: Any
) -> LightVocoder:
    """The vocoder that a model has, around its graph: HiFT where there is no other."""
    if source_filter is None:
        return LightHiFT(hift, session)
    return LightSourceFilter(source_filter, session)


def with_neighbours(waiting: Array | None, x: Array, *, final: bool) -> tuple[Array | None, Array]:
    """See `context_conv.with_neighbours`, for (C, T)."""
    if waiting is None:
        if x.shape[1] == 0:
            return None, np.zeros((len(x), 2), np.float32)
        waiting = x[:, :1]
    x = np.concatenate((waiting, x), axis=1)
    if final:
        x = np.concatenate((x, x[:, -1:]), axis=1)
    if x.shape[1] < 3:
        return x, np.zeros((len(x), 2), np.float32)
    return x[:, -2:], x
