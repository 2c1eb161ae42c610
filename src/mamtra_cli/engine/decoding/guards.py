"""What tells bad speech from good before anyone hears it.

Token guards watch a stream of frames (runaway repetition, the length cap, a length that does not
fit the text, the prompt spoken again); audio guards look at samples (non-finite, silent). Limits
are in seconds, whatever the frames of a model last. Each guard answers with a `Rejection` or
`None`. Retrying is the business of `speech`, which also turns the last rejection into an error.
Nothing here knows models or text.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mamtra_cli.families.script import Frame


@dataclass(frozen=True, kw_only=True)
class GuardLimits:
    """Where speech stops being believable.

    Attributes:
        equal_run: seconds of equal frames that are a runaway.
        loop_period: longest repeated pattern looked for, in seconds.
        loop_span: a pattern is a loop once it covers so many seconds, and four periods.
        min_share, max_share: accepted length relative to that expected for the text.
        slack: seconds that are always tolerated on both sides of those shares.
        leak_run: seconds of the prompt's frames, in its order, that are a leak of the prompt.
        leak_kinds: and that run holds at least this many different frames, so that a shared
            pause is not taken for one.
        cut_seconds: speech that its cap has cut is kept up to this length. So short a text has
            little room: what is spoken slowly reaches the cap too, and nothing has run away.
        silence_rms: a piece below this root mean square is silent (full scale is 1).
    """

    equal_run: float = 1.0
    loop_period: float = 1.0
    loop_span: float = 2.0
    min_share: float = 0.4
    max_share: float = 2.2
    slack: float = 0.48
    leak_run: float = 0.6
    leak_kinds: int = 8
    cut_seconds: float = 4.0
    silence_rms: float = 1e-3


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """Why speech was refused: `cause` is one word for programs, `detail` a fact for people."""

    cause: str
    detail: str


class TokenWatch:
    """Watches frames as they come; `add` answers as soon as they cannot be speech.

    Args:
        limits: what is tolerated.
        rate: frames a second.
        prompt: frames of the voice prompt, for the leak guard.
    """

    def __init__(self, limits: GuardLimits, rate: float, prompt: Sequence[Frame] = ()) -> None:
        self._equal = round(limits.equal_run * rate)
        self._period = round(limits.loop_period * rate)
        self._span = round(limits.loop_span * rate)
        self._leak = run = round(limits.leak_run * rate)
        self._seen: list[Frame] = []
        self._runs = [0] * (self._period + 1)
        grams = (tuple(prompt[i : i + run]) for i in range(len(prompt) - run + 1))
        self._leaks = {gram for gram in grams if len(set(gram)) >= limits.leak_kinds}

    def add(self, frame: Frame) -> Rejection | None:
        """Take one frame; return the reason to stop, if there is one."""
        seen, runs = self._seen, self._runs
        looping = 0
        for period in range(1, min(self._period, len(seen)) + 1):
            if seen[-period] != frame:
                runs[period] = 0
                continue
            runs[period] += 1
            # The first period that covers enough is told; 1 is a run of equal frames.
            if period > 1 and not looping and runs[period] + period >= max(self._span, 4 * period):
                looping = period
        seen.append(frame)
        if runs[1] + 1 >= self._equal:
            said = frame[0] if len(frame) == 1 else frame
            return Rejection(cause="runaway", detail=f"token {said} repeated {self._equal} times")
        if looping:
            span = runs[looping] + looping
            return Rejection(cause="runaway", detail=f"a loop of {looping} tokens ran for {span}")
        if self._leaks and tuple(seen[-self._leak :]) in self._leaks:
            return Rejection(
                cause="prompt_leak",
                detail=f"{self._leak} tokens of the voice prompt came back",
            )
        return None


def check_length(
    count: int,
    *,
    expected: float | None,
    capped: bool,
    rate: float,
    limits: GuardLimits | None = None,
) -> Rejection | None:
    """Judge the number of frames of a finished piece.

    Args:
        count: frames generated.
        expected: frames that the text should take, or `None` where the model cannot say.
        capped: whether generation ended at the cap and not by itself.
        rate: frames a second.
        limits: what is tolerated.
    """
    limits = limits or GuardLimits()
    if capped and count > limits.cut_seconds * rate:
        return Rejection(cause="runaway", detail=f"no end after {count} tokens")
    if count == 0:
        return Rejection(cause="too_short", detail="no speech tokens")
    if expected is not None and count + limits.slack * rate < limits.min_share * expected:
        return Rejection(
            cause="too_short", detail=f"{count} tokens where about {expected:.0f} were expected"
        )
    return too_long(count, expected, rate, limits)


def too_long(
    count: int, expected: float | None, rate: float, limits: GuardLimits
) -> Rejection | None:
    """Refuse more frames than the text can take, finished or not."""
    if expected is None or count - limits.slack * rate <= limits.max_share * expected:
        return None
    return Rejection(
        cause="too_long", detail=f"{count} tokens where about {expected:.0f} were expected"
    )


def check_finite(values: Any, what: str) -> Rejection | None:
    """Refuse NaN and infinity. values: tensor or array of any shape; `what` names them."""
    sound = abs(values) < math.inf
    if bool(sound.all()):
        return None
    bad, total = int((~sound).sum()), math.prod(values.shape)
    return Rejection(cause="non_finite", detail=f"{bad} of {total} {what} are not finite")


def check_audio(audio: Any, limits: GuardLimits | None = None) -> Rejection | None:
    """Judge the samples of a finished piece. audio: (S,) float, tensor or array."""
    limits = limits or GuardLimits()
    rejection = check_finite(audio, "samples")
    if rejection is not None:
        return rejection
    if not len(audio):
        return Rejection(cause="too_short", detail="no samples")
    level = math.sqrt(float((audio * audio).mean()))
    if level < limits.silence_rms:
        return Rejection(cause="silence", detail=f"root mean square {level:.1e} of full scale")
    return None
