"""Flow and vocoder as one codec: see `codecs.base.Codec`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mamtra_cli.codecs.base import Frame, SoundOptions
from mamtra_cli.codecs.flow_hift.windows import StreamState, WaveOptions, Windows


@dataclass(frozen=True, kw_only=True)
class Sound:
    """An utterance under way: the road it takes, and how far it came."""

    road: Windows
    state: StreamState


class FlowCodec:
    """Speech tokens to samples by flow matching and a vocoder.

    Args:
        road: over modules or over graphs, with the windows of the model.
        sample_rate, frame_rate: samples and tokens a second.
    """

    def __init__(self, road: Windows, *, sample_rate: int, frame_rate: float) -> None:
        self.road = road
        self.sample_rate = sample_rate
        self.frame_rate = frame_rate

    def start(self, voice: Any, options: SoundOptions) -> Sound:
        """Begin an utterance."""
        road = self._road(options)
        return Sound(road=road, state=road.start(voice))

    def push(self, state: Sound, frames: Sequence[Frame]) -> tuple[Sound, Any]:
        """Add tokens, and speak the windows they complete."""
        inner, wave = state.road.push(state.state, self.read(frames))
        return replace(state, state=inner), wave

    def finish(self, state: Sound) -> Any:
        """Speak what is left."""
        return state.road.finish(state.state)

    def whole(self, frames: Sequence[Frame], voice: Any, options: SoundOptions) -> Any:
        """Speak tokens that are all known."""
        return self._road(options).synthesize(self.read(frames), voice)

    def read(self, frames: Sequence[Any]) -> Sequence[Any]:
        """What the road takes of frames: their token."""
        return [token for (token,) in frames]

    def asked(self, options: SoundOptions) -> WaveOptions:
        """The windows of the model for options of the sound."""
        return replace(
            self.road.options,
            seed=options.seed,
            speed=options.speed,
            steps=options.steps or self.road.options.steps,
        )

    def _road(self, options: SoundOptions) -> Windows:
        return self.road.with_options(self.asked(options))
