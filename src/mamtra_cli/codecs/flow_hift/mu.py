"""What a flow is conditioned on to waveform: the codec of models without tokens, without torch.

A frame is a row of mu, which a token's encoder would have made; the solver, its noise, the grid of
chunks and the vocoder are those of the tokens' road, so both kinds of model share one flow and one
vocoder. Frames carry their pace already: an option `speed` is theirs to heed, not this codec's.
Over graphs the road is here, over modules in mu2wav.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.codecs.flow_hift.codec import FlowCodec
from mamtra_cli.codecs.flow_hift.config import FlowConfig
from mamtra_cli.codecs.flow_hift.light import WHOLE, Array, LightVocoder, LightWave
from mamtra_cli.codecs.flow_hift.noise import fixed_noise
from mamtra_cli.codecs.flow_hift.windows import StreamState, WaveOptions


class MuFrame(NamedTuple):
    """A row of mu (mel,), tensor or array, and the number of the text id that it speaks."""

    mu: Any
    owner: int = 0


class MuCodec(FlowCodec):
    """Frames of mu to samples by flow matching and a vocoder; see `FlowCodec`."""

    def read(self, frames: Sequence[Any]) -> Sequence[Any]:
        """The frames themselves."""
        return frames

    def asked(self, options: SoundOptions) -> WaveOptions:
        """The windows for options, of which the pace is in the frames."""
        return replace(super().asked(options), speed=1.0)


class LightMuWave(LightWave):
    """See `LightWave`; where it says token, this takes a `MuFrame`.

    A voice is its speaker vector: a prompt's recording is not heard.

    Args:
        config: of the flow.
        sessions: `flow_estimator`.
        vocoder: mel to samples.
        options: sizes of windows, solver.
        speaker: weight (mel, speaker_dim) and bias (mel,) that a speaker's vector meets first.
    """

    def __init__(
        self,
        config: FlowConfig,
        sessions: Mapping[str, Any],
        vocoder: LightVocoder,
        options: WaveOptions,
        speaker: tuple[Array, Array],
    ) -> None:
        super().__init__(config, sessions, vocoder, options)
        self.speaker = speaker
        self.grid = config.estimator.chunk
        self.lookahead, self.ratio = 0, 1

    def checked(self, tokens: Iterable[MuFrame]) -> tuple[Array, ...]:
        """The rows (mel,) of frames."""
        return tuple(frame.mu for frame in tokens)

    def mel(self, state: StreamState, end: int, *, final: bool) -> Array:
        """Make the mel of frames done..end: (1, mel, end-done)."""
        mu = np.stack(state.tokens[: end - state.first]).T[None]
        weight, bias = self.speaker
        # A pass that makes the whole utterance needs no chunk masks.
        full = final and state.done == 0
        made = self._solved(
            mu,
            state.prompt.direction @ weight.T + bias,
            np.zeros_like(mu),
            fixed_noise(state.first, end, self.config.mel_bins),
            np.array([WHOLE if full else self.config.estimator.chunk]),
        )
        return made[:, :, state.done - state.first :]
