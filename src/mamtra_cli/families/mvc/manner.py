"""What an MVC model can be told beside text and voice. Knows no modules."""

from dataclasses import dataclass
from typing import Annotated

from mamtra_cli.recipes.knob import Knob


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to speak; each field is a setting of `--set`."""

    pitch: Annotated[float, Knob("Semitones up or down.", low=-12, high=12)] = 0.0
    energy: Annotated[
        float,
        Knob("Softer or louder, in deviations of the speech it learned.", low=-3, high=3),
    ] = 0.0
    lookahead: Annotated[
        float | None,
        Knob(
            "Seconds of text that are read beyond what is spoken, where sound is streamed; none "
            "reads each piece to its end.",
            low=0,
            high=60,
        ),
    ] = 0.5


@dataclass(frozen=True, kw_only=True)
class Steering:
    """What a user changes of a voice.

    Attributes:
        speed: 2 speaks twice as fast.
        pitch: semitones up or down.
        energy: standard deviations of the training set up or down.
    """

    speed: float = 1.0
    pitch: float = 0.0
    energy: float = 0.0
