"""What a flow is conditioned on to waveform: the road of token2wav.py for models without tokens.

A frame is a row of mu, which a token's encoder would have made; the solver, its noise, the grid of
chunks and the vocoder are those of the tokens' road, so both kinds of model share one flow and one
vocoder. Frames carry their pace already: an option `speed` is theirs to heed, not this codec's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.codecs.flow_hift.codec import FlowCodec, Sound
from mamtra_cli.codecs.flow_hift.flow import Flow, fixed_noise
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.codecs.flow_hift.token2wav import TokenToWave, VoicePrompt
from mamtra_cli.codecs.flow_hift.windows import StreamState, WaveOptions


class MuFrame(NamedTuple):
    """A row of mu (mel,), and the number of the text id that it speaks."""

    mu: Tensor
    owner: int = 0


class MuToWave(TokenToWave):
    """See `TokenToWave`; where it says token, this takes a `MuFrame`.

    A voice is its speaker vector: a prompt's recording is not heard.
    """

    def __init__(
        self, flow: Flow, vocoder: HiFT | SourceFilter, options: WaveOptions | None = None
    ) -> None:
        super().__init__(flow, vocoder, options)
        self.grid = flow.config.estimator.chunk
        self.ahead = 0

    def _ids(self, tokens: Iterable[MuFrame]) -> Tensor:
        """Frames as (N, mel)."""
        rows = [frame.mu for frame in tokens]
        bins = self.flow.config.mel_bins
        mu = torch.stack(rows) if rows else torch.zeros(0, bins)
        return mu.to(self.device)

    def _mel(self, state: StreamState, end: int, *, final: bool) -> Tensor:
        """Make the mel of frames done..end: (1, mel, end-done)."""
        flow = self.flow
        mu = state.tokens[: end - state.first].T[None]
        mel = flow.decoder.solve(
            mu,
            flow.speaker(state.prompt.speaker),
            torch.zeros_like(mu),
            fixed_noise(state.first, end, flow.config.mel_bins).to(mu.device),
            streaming=not (final and state.done == 0),
            steps=self.options.steps,
            guidance=self.options.guidance,
        )
        return mel[:, :, state.done - state.first :]


class MuCodec(FlowCodec):
    """Frames of mu to samples by flow matching and a vocoder; see `FlowCodec`."""

    def push(self, state: Sound, frames: Sequence[Any]) -> tuple[Sound, Tensor]:
        """Add frames, and speak the windows they complete."""
        inner, wave = state.road.push(state.state, frames)
        return replace(state, state=inner), wave

    def whole(self, frames: Sequence[Any], voice: VoicePrompt, options: SoundOptions) -> Tensor:
        """Speak frames that are all known."""
        return self._road(options).synthesize(frames, voice)

    def _road(self, options: SoundOptions) -> MuToWave:
        windows = replace(self.windows, seed=options.seed, steps=options.steps)
        return MuToWave(self.flow, self.vocoder, windows)
