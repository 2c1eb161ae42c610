"""Text to conditioning frames in windows with a finite look-ahead; a whole text is one window.

A window commits C phones and hears L more. What is at hand decides nothing: windows begin as soon
as C + L phones are known or the text has ended, so how the text arrives does not matter. When all
that remains of an ended text fits in the look-ahead it is committed at once, so a look-ahead that
covers the text gives exactly what the whole text gives. State is a value of constant size.
Source: the semantics of look-ahead of MambaVoiceCloning (arXiv 2604.00292, section on streaming)
on phones instead of a future mel, which does not exist at synthesis.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mamtra_cli.families.mvc.conditioner import (
    Conditioner,
    FrameFeatures,
    Steering,
    Style,
    TokenCarry,
    durations,
)
from mamtra_cli.layers.state import MambaState

FRAME_BLOCK = 192  # frames that the prosody encoder takes at once: its scratch never grows


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


PLAIN = Steering()


@dataclass(frozen=True, kw_only=True)
class FrameChunk:
    """Conditioning of the frames of some phones.

    ids: the phones; counts: frames of each; pitch, voiced, energy: (F,); mu: (F, mel).
    """

    ids: tuple[int, ...]
    counts: tuple[int, ...]
    pitch: Tensor
    voiced: Tensor
    energy: Tensor
    mu: Tensor


@dataclass(frozen=True, kw_only=True)
class TextState:
    """A text under way.

    Attributes:
        style: who speaks.
        windows, steering: how.
        held: phones that are known and not final yet.
        closed: whether the text has ended.
        carry: of the phone side; `None` at the start.
        frames: of the frame side; `None` at the start.
        rest: frames owed by the rounding of durations.
    """

    style: Style
    windows: Windows = WHOLE
    steering: Steering = PLAIN
    held: tuple[int, ...] = ()
    closed: bool = False
    carry: TokenCarry | None = None
    frames: tuple[MambaState, ...] | None = None
    rest: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of what is carried from window to window."""
        frames = sum(state.nbytes for state in self.frames or ())
        return frames + (0 if self.carry is None else self.carry.nbytes)


@torch.inference_mode()
def push(
    model: Conditioner, state: TextState, ids: Sequence[int], *, last: bool = False
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
        state, chunk = _spoken(model, state, window, final)
        chunks.append(chunk)
    return state, chunks


def _spoken(
    model: Conditioner, state: TextState, window: int, commit: int
) -> tuple[TextState, FrameChunk]:
    """Make the first `commit` of the next `window` phones final."""
    device = model.embedding.weight.device
    ids = torch.tensor([state.held[:window]], device=device)
    found, carry = model.tokens(ids, state.style, state.carry, commit=commit)
    rest = torch.tensor(state.rest, dtype=torch.float64)
    counts, rest = durations(found.log_duration[0, :commit].cpu(), state.steering.speed, rest)
    x, _ = model.expand(found.features[:, :commit], counts[None].to(device))
    parts: list[FrameFeatures] = []
    frames = state.frames
    for start in range(0, x.shape[1], FRAME_BLOCK):
        block = x[:, start : start + FRAME_BLOCK]
        part, frames = model.frames(block, state.style, frames, steering=state.steering)
        parts.append(part)
    chunk = FrameChunk(
        ids=state.held[:commit],
        counts=tuple(counts.tolist()),
        pitch=torch.cat([part.pitch[0] for part in parts]),
        voiced=torch.cat([part.voiced[0] for part in parts]),
        energy=torch.cat([part.energy[0] for part in parts]),
        mu=torch.cat([part.mu[0] for part in parts]),
    )
    after = replace(state, held=state.held[commit:], carry=carry, frames=frames, rest=float(rest))
    return after, chunk
