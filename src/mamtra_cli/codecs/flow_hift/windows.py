"""Speech tokens to waveform in windows of bounded size: the schedule of the default road.

The flow runs on [prompt | a few seconds of context | new tokens] with chunk masks on the grid of
the prompt, and every frame keeps the noise of its absolute index, so a new window agrees with the
old one where they meet (the vocoder's side of a join is in vocoder_stream.py). Scratch depends on
the options, never on the length of the speech. A stream is a value: `start`, `push`, `finish`.
Knows no networks: what makes mel and sound says so in a class of its own, over tensors
(token2wav.py) or over arrays (light.py). Ours; the published schedule, which runs everything again
for each chunk, is in the family's official/token2wav.py.
"""

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from mamtra_cli.codecs.flow_hift.config import FlowConfig
from mamtra_cli.ops.arrays import joined, like

# So many frames from the end, the vocoder's sound no longer depends on what follows.
PATIENT_GUARD = 12


@dataclass(frozen=True, kw_only=True)
class WaveOptions:
    """How tokens become sound.

    Attributes:
        first_tokens: fewest new tokens of the first window. It ends at the first point of the
            chunk grid that has so many, the earliest where its mel is already final.
        hop_tokens: new tokens of the second window (rounded up to the chunk grid); if smaller
            than `first_tokens`, of the first as well.
        hop_growth, max_hop_tokens: later windows grow by this factor up to this size.
        context_tokens: spoken tokens that the flow hears again before new ones.
        whole_tokens: `synthesize` makes up to this many tokens in one pass with full attention.
        vocoder_frames: most new mel frames that the vocoder takes at once.
        vocoder_context: old mel frames that HiFT hears again before the cross-fade.
        overlap_frames: mel frames of its cross-fade.
        guard_frames: newest mel frames whose sound it makes wait for what follows them; the
            cross-fade lies before them. More guard makes smoother joins and later sound.
        speed: 2 speaks twice as fast.
        prompt_bytes: of what the flow has heard of prompts, kept for the windows to come.
        steps, guidance: of the flow's solver; `None` for the model's.
        seed: of the noise in the vocoder's source.
        source_noise: False leaves that noise out.
    """

    first_tokens: int = 15
    hop_tokens: int = 25
    hop_growth: int = 2
    max_hop_tokens: int = 100
    context_tokens: int = 100
    whole_tokens: int = 250
    vocoder_frames: int = 200
    vocoder_context: int = 16
    overlap_frames: int = 8
    guard_frames: int = 4
    prompt_bytes: int = 512 << 20
    speed: float = 1.0
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    source_noise: bool = True

    def __post_init__(self) -> None:
        hops = (self.first_tokens, self.hop_tokens, self.hop_growth, self.max_hop_tokens)
        if min(*hops, self.vocoder_frames, self.overlap_frames) < 1:
            raise ValueError(f"hops, growth, frames and overlap must be at least 1: {self}")
        if min(self.context_tokens, self.whole_tokens, self.vocoder_context, self.guard_frames) < 0:
            raise ValueError(f"contexts and guard must not be negative: {self}")
        if not (math.isfinite(self.speed) and self.speed > 0):
            raise ValueError(f"speed must be a positive number, got {self.speed}")

    @property
    def noise_seed(self) -> int | None:
        """The seed of the vocoder's noise; `None` where there is none."""
        return self.seed if self.source_noise else None


@dataclass(frozen=True, kw_only=True)
class PaceState:
    """A linear interpolation in time, cut anywhere: mel (1, mel, n) from frame `first` on."""

    mel: Any = None
    first: int = 0
    made: int = 0


def change_pace(state: PaceState, mel: Any, speed: float, *, final: bool) -> tuple[PaceState, Any]:
    """Interpolate as much as can be known; output frame k lies at (k+0.5)*speed - 0.5.

    Args:
        state: what earlier calls left.
        mel: (1, mel, T) new frames.
        speed: input frames per output frame.
        final: nothing follows, so the last frame holds.

    Returns:
        the new state and (1, mel, n); floor(total/speed) frames over all calls.
    """
    if speed == 1.0:
        return state, mel
    if state.mel is not None:
        mel = joined((state.mel, mel), axis=2)
    total = state.first + mel.shape[2]
    if final:
        stop = int(total / speed)
    else:
        # The right neighbour of frame k exists while (k+0.5)*speed - 0.5 < total - 1.
        stop = max(state.made, min(math.ceil((total - 0.5) / speed - 0.5), int(total / speed)))
    if stop == state.made:
        return replace(state, mel=mel), mel[:, :, :0]
    where = ((np.arange(state.made, stop) + 0.5) * speed - 0.5).clip(0, total - 1)
    left = np.floor(where).astype(np.int64)
    right = np.minimum(left + 1, total - 1)
    weight = like((where - left).astype(np.float32), mel)
    old, new = (mel[:, :, like(place - state.first, mel)] for place in (left, right))
    out = old + weight * (new - old)
    first = max(0, min(total - 1, math.floor((stop + 0.5) * speed - 0.5)))
    kept = PaceState(mel=mel[:, :, first - state.first :], first=first, made=stop)
    return kept, out


@dataclass(frozen=True, kw_only=True)
class StreamState:
    """One utterance under way. Indices count tokens after the prompt.

    Attributes:
        prompt: who speaks, as the road takes it.
        heard: tokens of the prompt.
        tokens: first..first+n: context and what is not yet mel.
        first: index of tokens[0], a multiple of the chunk grid.
        done: tokens that are mel already.
        hop: new tokens of the next window.
        pace, vocoder: states of the later stages.
    """

    prompt: Any
    heard: int
    tokens: tuple[Any, ...]
    first: int
    done: int
    hop: int
    pace: PaceState
    vocoder: Any


class Windows:
    """Speech tokens to float32 samples, in bounded memory.

    A road brings `begun`, `mel`, `voiced` and `nothing`; its tokens may be other frames.

    Args:
        config: of the flow.
        options: sizes of windows, speed, solver.
    """

    def __init__(self, config: FlowConfig, options: WaveOptions) -> None:
        self.options = options
        self.codes = config.vocab_size
        self.lookahead, self.ratio = config.encoder.lookahead, config.encoder.upsample
        chunk = config.encoder.chunk * self.ratio
        self.grid = math.lcm(chunk, config.estimator.chunk) // self.ratio

    def checked(self, tokens: Iterable[Any]) -> tuple[Any, ...]:
        """Tokens as a state keeps them.

        Raises:
            ValueError: an id is outside of the codebook.
        """
        ids = tuple(int(token) for token in tokens)
        if ids and not 0 <= min(ids) <= max(ids) < self.codes:
            raise ValueError(
                f"token ids must lie in 0..{self.codes - 1}, got {min(ids)}..{max(ids)}"
            )
        return ids

    def begun(self, prompt: Any) -> tuple[Any, int, Any]:
        """A prompt as the road takes it, how many tokens it has, and the vocoder's first state."""
        raise NotImplementedError

    def mel(self, state: StreamState, end: int, *, final: bool) -> Any:
        """The mel of tokens done..end: (1, mel, ratio*(end-done))."""
        raise NotImplementedError

    def voiced(self, state: Any, mel: Any, *, final: bool) -> tuple[Any, Any]:
        """Mel (1, mel, T) to (S,) samples, and the vocoder's new state."""
        raise NotImplementedError

    def nothing(self) -> Any:
        """(0,) samples."""
        raise NotImplementedError

    def with_options(self, options: WaveOptions) -> Self:
        """The same road by other options."""
        other = copy.copy(self)
        other.options = options
        return other

    def start(self, prompt: Any) -> StreamState:
        """Begin an utterance."""
        shown, heard, vocoder = self.begun(prompt)
        return StreamState(
            prompt=shown,
            heard=heard,
            tokens=(),
            first=0,
            done=0,
            hop=min(self.options.first_tokens, self.options.hop_tokens),
            pace=PaceState(),
            vocoder=vocoder,
        )

    def push(self, state: StreamState, tokens: Iterable[Any]) -> tuple[StreamState, Any]:
        """Add tokens and speak the windows they complete.

        Args:
            state: from `start` or `push`.
            tokens: ids within the codebook.

        Returns:
            the new state and (S,) samples, often none.
        """
        return self._pushed(replace(state, tokens=(*state.tokens, *self.checked(tokens))))

    def _pushed(self, state: StreamState) -> tuple[StreamState, Any]:
        """Speak the windows that the tokens of a state complete."""
        waves = []
        while True:
            end = self._next_end(state)
            if state.first + len(state.tokens) < end + self.lookahead:
                break
            state, wave = self._speak(state, end, final=False)
            waves.append(wave)
        return state, joined(waves) if waves else self.nothing()

    def finish(self, state: StreamState) -> Any:
        """Speak what is left of an utterance: (S,) samples."""
        total = state.first + len(state.tokens)
        if total == 0:
            return self.nothing()
        return self._speak(state, total, final=True)[1]

    def stream(self, tokens: Iterable[Any], prompt: Any) -> Iterator[Any]:
        """Speak tokens as they come.

        Yields:
            (S,) samples, never empty; all together samples_per_frame * ratio * N at speed 1.
        """
        state = self.start(prompt)
        for token in tokens:
            state, wave = self.push(state, (token,))
            if wave.shape[0]:
                yield wave
        wave = self.finish(state)
        if wave.shape[0]:
            yield wave

    def synthesize(self, tokens: Iterable[Any], prompt: Any) -> Any:
        """Speak tokens that are all known: (S,) samples, in as few windows as memory allows."""
        ids, options = self.checked(tokens), self.options
        if len(ids) <= options.whole_tokens:
            return self.finish(replace(self.start(prompt), tokens=ids))
        patient = replace(
            options,
            first_tokens=max(options.max_hop_tokens, options.hop_tokens),
            hop_tokens=max(options.max_hop_tokens, options.hop_tokens),
            guard_frames=max(options.guard_frames, PATIENT_GUARD),
        )
        speaker = self.with_options(patient)
        state, wave = speaker._pushed(replace(speaker.start(prompt), tokens=ids))
        return joined((wave, speaker.finish(state)))

    def _next_end(self, state: StreamState) -> int:
        """End of the next window: the first grid point, seen from the prompt's start, past hop."""
        before = state.heard
        return -(-(before + state.done + state.hop) // self.grid) * self.grid - before

    def _speak(self, state: StreamState, end: int, *, final: bool) -> tuple[StreamState, Any]:
        """Turn tokens done..end into samples."""
        pace, mel = change_pace(
            state.pace, self.mel(state, end, final=final), self.options.speed, final=final
        )
        vocoder, waves = state.vocoder, []
        size, total = self.options.vocoder_frames, mel.shape[2]
        for start in range(0, max(total, 1), size):
            last = final and start + size >= total
            vocoder, wave = self.voiced(vocoder, mel[:, :, start : start + size], final=last)
            waves.append(wave)
        kept = max(state.first, (end - self.options.context_tokens) // self.grid * self.grid)
        state = replace(
            state,
            tokens=state.tokens[kept - state.first :],
            first=kept,
            done=end,
            hop=self._next_hop(state),
            pace=pace,
            vocoder=vocoder,
        )
        return state, joined(waves)

    def _next_hop(self, state: StreamState) -> int:
        """New tokens of the window after this one."""
        options = self.options
        if state.done == 0:
            return options.hop_tokens
        return max(state.hop, min(state.hop * options.hop_growth, options.max_hop_tokens))
