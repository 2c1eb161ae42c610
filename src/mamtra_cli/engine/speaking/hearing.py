"""From the events of one stream to its sound, step by step or at its end, and the edges of a piece.

They take what comes and give what is ready, so one caller or many can drive them. Knows codecs and
events; no models, no texts.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from mamtra_cli.codecs.base import Codec, SoundOptions
from mamtra_cli.engine.decoding.guards import GuardLimits, check_audio, check_finite
from mamtra_cli.engine.decoding.streams import Event, Outcome
from mamtra_cli.ops.arrays import joined, like


class Hearing:
    """The sound of one attempt at a piece, as its frames come.

    Args:
        codec: frames to sound.
        prompt: what the codec is shown of the speaker.
        options: of the sound.
        limits: what the guards tolerate.

    Attributes:
        heard: whether sound has left.
        waits: for the end of the stream; events before it may be left out.
    """

    waits = False

    def __init__(
        self, codec: Codec, prompt: Any, options: SoundOptions, limits: GuardLimits
    ) -> None:
        self.codec = codec
        self.limits = limits
        self.heard = False
        self._prompt, self._options = prompt, options
        self._state: Any = None  # before the first frames

    def take(self, event: Event) -> list[Any]:
        """Sound (S,) that an event of the stream makes ready, and the outcome where it ends."""
        outcome = event.outcome
        found: list[Any] = []
        if self._state is None and outcome is not None and outcome.rejection is None:
            # What comes in one part is made as where nothing is streamed.
            return made_at_once(self.codec, self._prompt, self._options, self.limits, outcome)
        if self._state is None:
            self._state = self.codec.start(self._prompt, self._options)
        if event.frames:
            self._state, audio = self.codec.push(self._state, event.frames)
            if len(audio):
                refused = check_finite(audio, "samples")
                if refused is not None:
                    frames = () if outcome is None else outcome.frames
                    return [*found, Outcome(frames=frames, rejection=refused)]
                self.heard = True
                found.append(audio)
        if outcome is None:
            return found
        if outcome.rejection is not None:
            return [*found, outcome]
        audio = self.codec.finish(self._state)
        refused = check_finite(audio, "samples") if self.heard else check_audio(audio, self.limits)
        if refused is None:
            found.append(audio)
        return [*found, replace(outcome, rejection=refused)]


def made_at_once(
    codec: Codec, prompt: Any, options: SoundOptions, limits: GuardLimits, outcome: Outcome
) -> list[Any]:
    """Sound (S,) of all frames, and the outcome; the latter alone where the sound is refused."""
    audio = codec.whole(outcome.frames, prompt, options)
    refused = check_audio(audio, limits)
    return [replace(outcome, rejection=refused)] if refused else [audio, outcome]


class Judging:
    """The sound of one attempt at a piece, made and judged when all frames are there.

    Arguments and attributes are those of `Hearing`.
    """

    heard = False
    waits = True

    def __init__(
        self, codec: Codec, prompt: Any, options: SoundOptions, limits: GuardLimits
    ) -> None:
        self._given = codec, prompt, options, limits

    def take(self, event: Event) -> list[Any]:
        """Sound (S,) and the outcome, where an event ends the stream."""
        if event.outcome is None:
            return []
        if event.outcome.rejection is not None:
            return [event.outcome]
        return made_at_once(*self._given, event.outcome)


class Unheard:
    """An attempt at a piece whose sound nobody asks for."""

    heard = False
    waits = True

    def take(self, event: Event) -> list[Any]:
        """The outcome, where an event ends the stream."""
        return [] if event.outcome is None else [event.outcome]


def faded(audio: Any, ramp: int) -> Any:
    """Samples (S,) of a whole piece with both edges; see `Edges`."""
    edges = Edges(ramp)
    return joined((edges.push(audio), edges.finish()))


class Edges:
    """Fades the first and the last `ramp` samples of a piece, so that joins do not click.

    Holds back `ramp` samples, because which are the last shows late.
    """

    def __init__(self, ramp: int) -> None:
        self.ramp = ramp
        rise = np.sin((np.arange(ramp) + 0.5) * (np.pi / 2 / max(ramp, 1))) ** 2
        self._rise = rise.astype(np.float32)
        self._held: Any = None
        self._first = True

    def push(self, audio: Any) -> Any:
        """Samples (S,) that follow those before; those that are final come back."""
        audio = audio if self._held is None else joined((self._held, audio))
        if self._first and len(audio) > self.ramp:
            rise = like(self._rise, audio)
            audio = joined((audio[: self.ramp] * rise, audio[self.ramp :]))
            self._first = False
        keep = max(0, len(audio) - self.ramp)
        self._held = audio[keep:]
        return audio[:keep]

    def finish(self) -> Any:
        """The last samples of the piece."""
        if self._held is None:
            return self._rise[:0]
        fall = self._rise[::-1][self.ramp - len(self._held) :].copy()
        return self._held * like(fall, self._held)
