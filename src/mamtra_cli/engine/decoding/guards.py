"""What tells bad speech from good before anyone hears it.

Token guards watch a stream of speech tokens (runaway repetition, the length cap, a length that
does not fit the text, the prompt spoken again); audio guards look at samples (non-finite,
silent). Each answers with a `Rejection` or `None`. Retrying is the business of `speech`, which
also turns the last rejection into an error. Nothing here knows models or text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class GuardLimits:
    """Where speech stops being believable. Tokens last 40 ms.

    Attributes:
        equal_run: this many equal tokens in a row are a runaway.
        loop_period: longest repeated pattern looked for, in tokens.
        loop_span: a pattern is a loop once it covers this many tokens, and four periods.
        min_share, max_share: accepted tokens relative to the length expected for the text.
        slack: tokens that are always tolerated on both sides of those shares.
        leak_run: this many prompt tokens in prompt order are a leak of the prompt.
        leak_kinds: and that run holds at least this many different tokens, so that a shared
            pause is not taken for one.
        silence_rms: a piece below this root mean square is silent (full scale is 1).
    """

    equal_run: int = 25
    loop_period: int = 25
    loop_span: int = 50
    min_share: float = 0.4
    max_share: float = 2.2
    slack: int = 12
    leak_run: int = 15
    leak_kinds: int = 8
    silence_rms: float = 1e-3


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """Why speech was refused: `cause` is one word for programs, `detail` a fact for people."""

    cause: str
    detail: str


@dataclass
class TokenWatch:
    """Watches tokens as they come; `add` answers as soon as they cannot be speech.

    Args:
        limits: what is tolerated.
        prompt: speech tokens of the voice prompt, for the leak guard.
    """

    limits: GuardLimits = GuardLimits()
    prompt: Sequence[int] = ()
    _seen: list[int] = field(default_factory=list)
    _runs: list[int] = field(default_factory=list)
    _leaks: set[tuple[int, ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._runs = [0] * (self.limits.loop_period + 1)
        run, prompt = self.limits.leak_run, tuple(self.prompt)
        grams = (prompt[i : i + run] for i in range(len(prompt) - run + 1))
        self._leaks = {gram for gram in grams if len(set(gram)) >= self.limits.leak_kinds}

    def add(self, token: int) -> Rejection | None:
        """Take one token; return the reason to stop, if there is one."""
        seen, limits = self._seen, self.limits
        for period in range(1, min(limits.loop_period, len(seen)) + 1):
            repeats = seen[-period] == token
            self._runs[period] = self._runs[period] + 1 if repeats else 0
        seen.append(token)
        if self._runs[1] + 1 >= limits.equal_run:
            return Rejection(
                cause="runaway", detail=f"token {token} repeated {limits.equal_run} times"
            )
        for period in range(2, limits.loop_period + 1):
            span = self._runs[period] + period
            if self._runs[period] and span >= max(limits.loop_span, 4 * period):
                return Rejection(
                    cause="runaway", detail=f"a loop of {period} tokens ran for {span}"
                )
        if self._leaks and tuple(seen[-limits.leak_run :]) in self._leaks:
            return Rejection(
                cause="prompt_leak",
                detail=f"{limits.leak_run} tokens of the voice prompt came back",
            )
        return None


def check_length(
    count: int,
    *,
    expected: float | None,
    capped: bool,
    limits: GuardLimits | None = None,
) -> Rejection | None:
    """Judge the number of tokens of a finished piece.

    Args:
        count: tokens generated.
        expected: tokens that the text should take, or `None` where the model cannot say.
        capped: whether generation ended at the cap and not at a stop token.
        limits: what is tolerated.
    """
    limits = limits or GuardLimits()
    if capped:
        return Rejection(cause="runaway", detail=f"no end after {count} tokens")
    if count == 0:
        return Rejection(cause="too_short", detail="no speech tokens")
    if expected is not None and count + limits.slack < limits.min_share * expected:
        return Rejection(
            cause="too_short", detail=f"{count} tokens where about {expected:.0f} were expected"
        )
    return too_long(count, expected, limits)


def too_long(count: int, expected: float | None, limits: GuardLimits) -> Rejection | None:
    """Refuse more tokens than the text can take, finished or not."""
    if expected is None or count - limits.slack <= limits.max_share * expected:
        return None
    return Rejection(
        cause="too_long", detail=f"{count} tokens where about {expected:.0f} were expected"
    )


def check_finite(values: Tensor, what: str) -> Rejection | None:
    """Refuse NaN and infinity. values: any shape; `what` names them."""
    if bool(torch.isfinite(values).all()):
        return None
    bad = int((~torch.isfinite(values)).sum())
    return Rejection(cause="non_finite", detail=f"{bad} of {values.numel()} {what} are not finite")


def check_audio(audio: Tensor, limits: GuardLimits | None = None) -> Rejection | None:
    """Judge the samples of a finished piece. audio: (S,) float."""
    limits = limits or GuardLimits()
    rejection = check_finite(audio, "samples")
    if rejection is not None:
        return rejection
    if audio.numel() == 0:
        return Rejection(cause="too_short", detail="no samples")
    level = float(audio.square().mean().sqrt())
    if level < limits.silence_rms:
        return Rejection(cause="silence", detail=f"root mean square {level:.1e} of full scale")
    return None
