"""Text to conditioning frames in windows with a finite look-ahead; a whole text is one window.

A window commits C phones and hears L more. What is at hand decides nothing: windows begin as soon
as C + L phones are known or the text has ended, so how the text arrives does not matter. When all
that remains of an ended text fits in the look-ahead it is committed at once, so a look-ahead that
covers the text gives exactly what the whole text gives. State is a value of constant size. What
computes is a `Reader`, over modules (stream.py) or over graphs (light.py); nothing here needs
torch.
Source: the semantics of look-ahead of MambaVoiceCloning (arXiv 2604.00292, section on streaming)
on phones instead of a future mel, which does not exist at synthesis.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mamtra_cli.families.mvc.manner import Steering
from mamtra_cli.ops.arrays import joined

FRAME_BLOCK = 192  # frames that the prosody encoder takes at once: its scratch never grows
LEAST_FRAMES = 1
SHORTEST, LONGEST = -4.0, 9.0  # log2 of frames that a phone may be wished


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How text is read: `commit` phones at a time (C), hearing `ahead` more (L)."""

    commit: int = 32
    ahead: int = 8

    def __post_init__(self) -> None:
        if self.commit < 1 or self.ahead < 0:
            raise ValueError(f"a window commits one phone or more and hears none or more: {self}")

    @classmethod
    def of_seconds(cls, seconds: float, symbol_rate: float, commit: int = 32) -> "Windows":
        """A look-ahead in seconds as phones."""
        return cls(commit=commit, ahead=math.ceil(seconds * symbol_rate))


WHOLE = Windows(commit=1, ahead=10**9)
"""The whole text in one window."""


@dataclass(frozen=True, kw_only=True)
class FrameFeatures:
    """What the frame side says of each frame, as tensors or arrays.

    pitch: (B, F) normalised log2 F0; voiced: (B, F) logits; energy: (B, F) normalised; mu:
    (B, F, mel).
    """

    pitch: Any
    voiced: Any
    energy: Any
    mu: Any


class Reader(Protocol):
    """A conditioning stack as texts are read by it, one at a time."""

    def read(
        self, ids: Sequence[int], style: Any, carry: Any, *, commit: int
    ) -> tuple[Any, Sequence[float], Any]:
        """Read a window of phones.

        Args:
            ids: of T phones.
            style: who speaks.
            carry: what the window before left; `None` at the start.
            commit: phones that are final; the rest is look-ahead.

        Returns:
            features (1, commit, D) and log2 of frames of those that are final, and what the next
            window starts from.
        """
        ...

    def spread(self, features: Any, counts: Sequence[int]) -> Any:
        """Features (1, T, D) given to each phone's frames: (1, F, ...)."""
        ...

    def frames(
        self, x: Any, style: Any, states: Any, steering: Steering
    ) -> tuple[FrameFeatures, Any]:
        """What a block of frames of `spread` is, and the states after it."""
        ...


@dataclass(frozen=True, kw_only=True)
class FrameChunk:
    """Conditioning of the frames of some phones.

    ids: the phones; counts: frames of each; pitch, voiced, energy: (F,); mu: (F, mel).
    """

    ids: tuple[int, ...]
    counts: tuple[int, ...]
    pitch: Any
    voiced: Any
    energy: Any
    mu: Any


@dataclass(frozen=True, kw_only=True)
class TextState:
    """A text under way.

    Attributes:
        style: who speaks, as the reader takes it.
        windows, steering: how.
        held: phones that are known and not final yet.
        closed: whether the text has ended.
        carry: of the phone side; `None` at the start.
        frames: of the frame side; `None` at the start.
        rest: frames owed by the rounding of durations.
    """

    style: Any
    windows: Windows = WHOLE
    steering: Steering = field(default_factory=Steering)
    held: tuple[int, ...] = ()
    closed: bool = False
    carry: Any = None
    frames: Any = None
    rest: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of what is carried from window to window."""
        held = (*(self.frames or ()), *(() if self.carry is None else (self.carry,)))
        return sum(int(state.nbytes) for state in held)


def pushed(
    reader: Reader, state: TextState, ids: Sequence[int], *, last: bool = False
) -> tuple[TextState, list[FrameChunk]]:
    """Add phones; `last` ends the text.

    Returns:
        the state after them, and the chunks that became final.
    """
    if state.closed:
        raise ValueError("text arrived after its end")
    state = replace(state, held=(*state.held, *ids), closed=last)
    commit, ahead = state.windows.commit, state.windows.ahead
    chunks: list[FrameChunk] = []
    while state.held:
        count = len(state.held)
        if state.closed and count <= max(commit, ahead):
            window, final = count, count
        elif count >= commit + ahead:
            window, final = commit + ahead, commit
        elif state.closed:
            window, final = count, commit
        else:
            break
        state, chunk = _spoken(reader, state, window, final)
        chunks.append(chunk)
    return state, chunks


def _spoken(
    reader: Reader, state: TextState, window: int, commit: int
) -> tuple[TextState, FrameChunk]:
    """Make the first `commit` of the next `window` phones final."""
    features, wished, carry = reader.read(
        state.held[:window], state.style, state.carry, commit=commit
    )
    counts, rest = durations(wished, state.steering.speed, state.rest)
    x = reader.spread(features, counts)
    parts: list[FrameFeatures] = []
    frames = state.frames
    for start in range(0, x.shape[1], FRAME_BLOCK):
        block = x[:, start : start + FRAME_BLOCK]
        part, frames = reader.frames(block, state.style, frames, state.steering)
        parts.append(part)
    chunk = FrameChunk(
        ids=state.held[:commit],
        counts=counts,
        pitch=joined([part.pitch[0] for part in parts]),
        voiced=joined([part.voiced[0] for part in parts]),
        energy=joined([part.energy[0] for part in parts]),
        mu=joined([part.mu[0] for part in parts]),
    )
    after = replace(state, held=state.held[commit:], carry=carry, frames=frames, rest=rest)
    return after, chunk


def durations(
    wished: Iterable[float], speed: float = 1.0, rest: float = 0.0
) -> tuple[tuple[int, ...], float]:
    """Whole frames of each phone; what rounding leaves is carried, so that lengths add up.

    Args:
        wished: log2 of frames.
        speed: 2 speaks twice as fast.
        rest: frames owed from earlier phones.

    Returns:
        at least one frame each, and what is owed after them.
    """
    counts = []
    for value in wished:
        owed = 2.0 ** min(max(value, SHORTEST), LONGEST) / speed + rest
        counts.append(max(LEAST_FRAMES, round(owed)))
        rest = min(max(owed - counts[-1], -1.0), 1.0)
    return tuple(counts), rest
