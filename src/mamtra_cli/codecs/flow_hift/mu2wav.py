"""What a flow is conditioned on to waveform by modules: see mu.py.

The solver, its noise, the grid of chunks and the vocoder are those of the tokens' road
(token2wav.py).
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from mamtra_cli.codecs.flow_hift.flow import Flow, fixed_noise
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.mu import MuFrame
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.codecs.flow_hift.token2wav import TokenToWave
from mamtra_cli.codecs.flow_hift.windows import StreamState, WaveOptions


class MuToWave(TokenToWave):
    """See `TokenToWave`; where it says token, this takes a `MuFrame`.

    A voice is its speaker vector: a prompt's recording is not heard.
    """

    def __init__(
        self, flow: Flow, vocoder: HiFT | SourceFilter, options: WaveOptions | None = None
    ) -> None:
        super().__init__(flow, vocoder, options)
        self.grid = flow.config.estimator.chunk
        self.lookahead, self.ratio = 0, 1

    def checked(self, tokens: Iterable[MuFrame]) -> tuple[Tensor, ...]:
        """The rows (mel,) of frames."""
        return tuple(frame.mu for frame in tokens)

    def mel(self, state: StreamState, end: int, *, final: bool) -> Tensor:
        """Make the mel of frames done..end: (1, mel, end-done)."""
        flow = self.flow
        mu = torch.stack(state.tokens[: end - state.first]).to(self.device).T[None]
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
