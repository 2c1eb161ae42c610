"""Frames to sound, and sound to frames where a codec can: what speaking knows of a codec.

A stream is a value: `start`, any number of `push`, one `finish`; any cut of the frames
gives sound of the same length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mamtra_cli.errors import UsageError
from mamtra_cli.ops.draws import Frame as Frame


@dataclass(frozen=True, kw_only=True)
class SoundOptions:
    """How frames become sound; a codec refuses what it cannot heed.

    Attributes:
        seed: of whatever is random.
        speed: 2 speaks twice as fast.
        steps: of a solver; None for the model's.
    """

    seed: int = 0
    speed: float = 1.0
    steps: int | None = None

    def refuse_speed_and_steps(self) -> None:
        """For a codec that plays frames as they are, and solves nothing.

        Raises:
            UsageError: a speed or steps are asked for.
        """
        if self.speed != 1.0:
            raise UsageError(
                "this codec cannot change the speed of speech",
                "leave out `--speed`; `--set speaking_rate=20` asks for faster speech",
            )
        if self.steps is not None:
            raise UsageError("this codec has no solver", "leave out `--steps`")


class Codec(Protocol):
    """A loaded codec.

    Attributes:
        sample_rate: samples a second.
        frame_rate: frames a second.
    """

    @property
    def sample_rate(self) -> int: ...

    @property
    def frame_rate(self) -> float: ...

    def start(self, voice: Any, options: SoundOptions) -> Any:
        """Begin an utterance.

        Args:
            voice: what the codec is shown of the speaker, as the family's `sound_prompt` made it.
            options: how.

        Raises:
            UsageError: an option is given that this codec cannot heed.
        """
        ...

    def push(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, Any]:
        """Add frames: the new state and (S,) float32 samples, often none: a tensor on the CPU, or
        an array where there is no torch."""
        ...

    def finish(self, state: Any) -> Any:
        """What is left of an utterance: (S,) samples."""
        ...

    def whole(self, frames: Sequence[Frame], voice: Any, options: SoundOptions) -> Any:
        """Frames that are all known: (S,) samples, in as few windows as memory allows."""
        ...
