"""flow and vocoder as one codec: see `codecs.base.Codec`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from mamtra_cli.codecs.base import Frame, SoundOptions
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.codecs.flow_hift.token2wav import TokenToWave, VoicePrompt
from mamtra_cli.codecs.flow_hift.windows import StreamState, WaveOptions


@dataclass(frozen=True, kw_only=True)
class Sound:
    """An utterance under way: the road it takes, and how far it came."""

    road: TokenToWave
    state: StreamState


class FlowCodec:
    """Speech tokens to samples by flow matching and a vocoder.

    Args:
        flow: tokens to mel.
        vocoder: mel to samples.
        windows: sizes of what is made at once.
        sample_rate, frame_rate: samples and tokens a second.
    """

    def __init__(
        self,
        flow: Flow,
        vocoder: HiFT | SourceFilter,
        windows: WaveOptions,
        *,
        sample_rate: int,
        frame_rate: float,
    ) -> None:
        self.flow = flow
        self.vocoder = vocoder
        self.windows = windows
        self.sample_rate = sample_rate
        self.frame_rate = frame_rate

    def start(self, voice: VoicePrompt, options: SoundOptions) -> Sound:
        """Begin an utterance."""
        road = self._road(options)
        return Sound(road=road, state=road.start(voice))

    def push(self, state: Sound, frames: Sequence[Frame]) -> tuple[Sound, Tensor]:
        """Add tokens, and speak the windows they complete."""
        inner, wave = state.road.push(state.state, [token for (token,) in frames])
        return replace(state, state=inner), wave

    def finish(self, state: Sound) -> Tensor:
        """Speak what is left."""
        return state.road.finish(state.state)

    def whole(self, frames: Sequence[Frame], voice: VoicePrompt, options: SoundOptions) -> Tensor:
        """Speak tokens that are all known."""
        return self._road(options).synthesize([token for (token,) in frames], voice)

    def _road(self, options: SoundOptions) -> TokenToWave:
        windows = replace(self.windows, seed=options.seed, speed=options.speed, steps=options.steps)
        return TokenToWave(self.flow, self.vocoder, windows)
