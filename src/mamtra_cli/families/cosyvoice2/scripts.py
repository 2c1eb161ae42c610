"""What the model reads at once, and the script of a text that is whole: prompt, tokens, end.

Values over ids; the one tensor they may carry along, never look at, is a state that was kept with a
voice. See `families.script.Script`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.rows import (
    Row,
    decode_row,
    expected_tokens,
    is_aligned,
    length_limits,
)
from mamtra_cli.families.script import Frame

if TYPE_CHECKING:
    from mamtra_cli.layers.state import HybridState


@dataclass(frozen=True, kw_only=True)
class Reads:
    """Positions to read in one go.

    Attributes:
        row: their ids, tables and positions.
        after: how many of them were read before, and the state that left; None for none.
        room: tokens that are expected to follow at most, for memory.
    """

    row: Row
    after: "tuple[int, HybridState] | None" = field(default=None, compare=False)
    room: int = 0


@dataclass(frozen=True, kw_only=True)
class PlainScript:
    """A text that is whole: one prompt, then tokens until a stop id or the cap.

    Attributes:
        reads: the prompt; None once it was read.
        stop_ids: what ends the speech; the first is barred before `least` frames.
        least, most: frames; at the latter the script is cut.
        expected: frames that the text should take, or None.
        heard: frames of the voice's clip that are part of the prompt.
        frames: said so far.
    """

    reads: Reads | None
    stop_ids: tuple[int, ...]
    least: int
    most: int
    expected: float | None = None
    heard: tuple[Frame, ...] = ()
    frames: tuple[Frame, ...] = ()
    ended: bool = False
    capped: bool = False
    waiting: bool = False
    due: Frame | None = None

    @property
    def column(self) -> Frame:
        """The token said last."""
        return self.frames[-1]

    @property
    def history(self) -> Sequence[Frame]:
        """All that was said."""
        return self.frames

    @property
    def barred(self) -> Sequence[tuple[int, int]]:
        """The end, while it is too early for it."""
        return ((0, self.stop_ids[0]),) if len(self.frames) < self.least else ()

    def accept(self, frame: Frame) -> Self:
        """Take a token, or the end."""
        if frame[0] in self.stop_ids:
            return replace(self, reads=None, ended=True)
        frames = (*self.frames, frame)
        over = len(frames) >= self.most
        return replace(self, reads=None, frames=frames, ended=over, capped=over)

    def hear(self, ids: Sequence[int]) -> Self:
        """No text may come."""
        raise ValueError(f"{len(ids)} more ids for a text that was whole")

    def close(self) -> Self:
        """The text has ended already."""
        return self


def plain_script(
    config: LMConfig,
    text: Sequence[int],
    prompt_text: Sequence[int] = (),
    prompt_speech: Sequence[int] = (),
    *,
    most: int | None = None,
    start: "tuple[int, HybridState] | None" = None,
) -> PlainScript:
    """The script of a text.

    Args:
        config: of the language model.
        text: its ids.
        prompt_text, prompt_speech: what a clip says, and its tokens.
        most: cap in tokens, if it is below the model's own.
        start: positions of the prompt that were read before, and the state they left.
    """
    least, longest = length_limits(config, len(text))
    if most is not None:
        longest = max(1, min(longest, most))
    row = decode_row(config, text, prompt_text, prompt_speech)
    return PlainScript(
        reads=Reads(row=row, after=start, room=longest),
        stop_ids=config.stop_ids,
        least=min(least, longest),
        most=longest,
        expected=sum(expected_tokens(config, text)) if is_aligned(config) else None,
        heard=tuple((token,) for token in prompt_speech),
        ended=longest < 1,
        capped=longest < 1,
    )
