"""Speech tokens to waveform in windows of bounded size: the default road from codes to sound.

The flow runs on [prompt | a few seconds of context | new tokens] with chunk masks on the grid of
the prompt, and every frame keeps the noise of its absolute index, so a new window agrees with the
old one where they meet (the vocoder's side of a join is in vocoder_stream.py). Scratch depends on
the options, never on the length of the speech. A stream is a value: `start`, `push`, `finish`.
Knows no text and no files. Ours; the published schedule, which runs everything again for each
chunk, is in the family's official/token2wav.py.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mamtra_cli.codecs.flow_hift.flow import Flow, fixed_noise
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.codecs.flow_hift.vocoder_stream import (
    HiFTStream,
    PaceState,
    SourceFilterStream,
    VocoderStream,
    change_pace,
)

# So many frames from the end, the vocoder's sound no longer depends on what follows.
PATIENT_GUARD = 12


@dataclass(frozen=True, kw_only=True)
class VoicePrompt:
    """Who speaks: a speaker vector, and the tokens and mel of a recording (may be empty).

    Shapes: speaker (1, speaker_dim); tokens (1, P); mel (1, ratio*P, mel).
    """

    speaker: Tensor
    tokens: Tensor
    mel: Tensor

    @classmethod
    def of_speaker(cls, speaker: Tensor, mel_bins: int = 80) -> "VoicePrompt":
        """Make a prompt without a recording from a vector (speaker_dim,) or (1, speaker_dim)."""
        return cls(
            speaker=speaker.reshape(1, -1).float(),
            tokens=torch.zeros((1, 0), dtype=torch.long),
            mel=torch.zeros((1, 0, mel_bins)),
        )


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


@dataclass(frozen=True, kw_only=True)
class StreamState:
    """One utterance under way. Indices count tokens after the prompt.

    Attributes:
        prompt: who speaks.
        tokens: (n,) tokens first..first+n: context and what is not yet mel.
        first: index of tokens[0], a multiple of the chunk grid.
        done: tokens that are mel already.
        hop: new tokens of the next window.
        pace, vocoder: states of the later stages.
    """

    prompt: VoicePrompt
    tokens: Tensor
    first: int
    done: int
    hop: int
    pace: PaceState
    vocoder: Any


class TokenToWave:
    """Speech tokens to float32 samples on the CPU, in bounded memory.

    Args:
        flow: tokens to mel.
        vocoder: mel to samples.
        options: sizes of windows, speed, solver.
    """

    def __init__(
        self, flow: Flow, vocoder: HiFT | SourceFilter, options: WaveOptions | None = None
    ) -> None:
        self.flow = flow
        self.vocoder = vocoder
        self.options = options = WaveOptions() if options is None else options
        self.stream_vocoder = _in_pieces(vocoder, options)
        encoder, estimator = flow.config.encoder, flow.config.estimator
        self.grid = math.lcm(encoder.chunk * flow.ratio, estimator.chunk) // flow.ratio
        self.ahead = encoder.lookahead
        self.device = flow.input_embedding.weight.device

    def start(self, prompt: VoicePrompt) -> StreamState:
        """Begin an utterance."""
        device = self.device
        return StreamState(
            prompt=VoicePrompt(
                speaker=prompt.speaker.to(device),
                tokens=prompt.tokens.to(device),
                mel=prompt.mel.to(device),
            ),
            tokens=self._ids(()),
            first=0,
            done=0,
            hop=min(self.options.first_tokens, self.options.hop_tokens),
            pace=PaceState(mel=torch.zeros((1, self.flow.config.mel_bins, 0), device=device)),
            vocoder=self.stream_vocoder.start(),
        )

    def push(self, state: StreamState, tokens: Iterable[Any]) -> tuple[StreamState, Tensor]:
        """Add tokens and speak the windows they complete.

        Args:
            state: from `start` or `push`.
            tokens: ids within the codebook.

        Returns:
            the new state and (S,) samples, often none.
        """
        state = replace(state, tokens=torch.cat((state.tokens, self._ids(tokens))))
        waves = []
        while True:
            end = self._next_end(state)
            if state.first + state.tokens.shape[0] < end + self.ahead:
                break
            state, wave = self._speak(state, end, final=False)
            waves.append(wave)
        return state, torch.cat(waves) if waves else torch.zeros((0,))

    def finish(self, state: StreamState) -> Tensor:
        """Speak what is left of an utterance: (S,) samples."""
        total = state.first + state.tokens.shape[0]
        if total == 0:
            return torch.zeros((0,))
        return self._speak(state, total, final=True)[1]

    def stream(self, tokens: Iterable[Any], prompt: VoicePrompt) -> Iterator[Tensor]:
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

    def synthesize(self, tokens: Iterable[Any], prompt: VoicePrompt) -> Tensor:
        """Speak tokens that are all known: (S,) samples, in as few windows as memory allows."""
        ids = list(tokens)
        if len(ids) <= self.options.whole_tokens:
            return self.finish(replace(self.start(prompt), tokens=self._ids(ids)))
        patient = replace(
            self.options,
            first_tokens=max(self.options.max_hop_tokens, self.options.hop_tokens),
            hop_tokens=max(self.options.max_hop_tokens, self.options.hop_tokens),
            guard_frames=max(self.options.guard_frames, PATIENT_GUARD),
        )
        speaker = type(self)(self.flow, self.vocoder, patient)
        state, wave = speaker.push(speaker.start(prompt), ids)
        return torch.cat((wave, speaker.finish(state)))

    def _ids(self, tokens: Iterable[Any]) -> Tensor:
        """Check ids and make them (N,)."""
        ids = torch.tensor([int(token) for token in tokens], dtype=torch.long)
        size = self.flow.config.vocab_size
        if ids.shape[0] and not (int(ids.min()) >= 0 and int(ids.max()) < size):
            raise ValueError(f"token ids must lie in 0..{size - 1}, got {ids.min()}..{ids.max()}")
        return ids.to(self.device)

    def _next_end(self, state: StreamState) -> int:
        """End of the next window: the first grid point, seen from the prompt's start, past hop."""
        before = state.prompt.tokens.shape[1]
        return -(-(before + state.done + state.hop) // self.grid) * self.grid - before

    @torch.no_grad()
    def _speak(self, state: StreamState, end: int, *, final: bool) -> tuple[StreamState, Tensor]:
        """Turn tokens done..end into samples."""
        pace, mel = change_pace(
            state.pace, self._mel(state, end, final=final), self.options.speed, final=final
        )
        vocoder, waves = state.vocoder, []
        size, total = self.options.vocoder_frames, mel.shape[2]
        for start in range(0, max(total, 1), size):
            last = final and start + size >= total
            vocoder, wave = self.stream_vocoder.step(
                vocoder, mel[:, :, start : start + size], final=last
            )
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
        return state, torch.cat(waves).float().cpu()

    def _next_hop(self, state: StreamState) -> int:
        """New tokens of the window after this one."""
        options = self.options
        if state.done == 0:
            return options.hop_tokens
        return max(state.hop, min(state.hop * options.hop_growth, options.max_hop_tokens))

    def _mel(self, state: StreamState, end: int, *, final: bool) -> Tensor:
        """Make the mel of tokens done..end: (1, mel, ratio*(end-done))."""
        flow, ratio = self.flow, self.flow.ratio
        before = state.prompt.tokens.shape[1]
        ahead = 0 if final else self.ahead
        bins = flow.config.mel_bins
        noise = torch.cat(
            (
                fixed_noise(0, ratio * before, bins),
                fixed_noise(ratio * (before + state.first), ratio * (before + end), bins),
            ),
            dim=2,
        )
        mel = flow.inference(
            state.tokens[None, : end - state.first + ahead],
            state.prompt.tokens,
            state.prompt.mel,
            state.prompt.speaker,
            # A pass that makes the whole utterance needs no chunk masks.
            streaming=not (final and state.done == 0),
            finalize=final,
            steps=self.options.steps,
            guidance=self.options.guidance,
            noise=noise,
        )
        return mel[:, :, ratio * (state.done - state.first) :]


def _in_pieces(vocoder: HiFT | SourceFilter, options: WaveOptions) -> VocoderStream:
    """A vocoder as the options have it speak."""
    seed = options.seed if options.source_noise else None
    if isinstance(vocoder, SourceFilter):
        return SourceFilterStream(vocoder=vocoder, seed=seed)
    return HiFTStream(
        hift=vocoder,
        context=options.vocoder_context,
        overlap=options.overlap_frames,
        guard=options.guard_frames,
        seed=seed,
    )
