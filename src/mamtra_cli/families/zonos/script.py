"""One utterance of nine delayed codebooks under way, as a value: what is read, barred and certain.

Columns are those of the delay pattern (`delay.py`). An end drawn by codebook 0 walks diagonally
through the others, so that the frames before it become whole. Ids enter by codebook; the published
loop lets them enter in order of the open cells instead, which scrambles the last frames of a run
that meets its limit: `scrambled` does so too. Knows no tensors and no scores.
After Zyphra/Zonos, zonos/model.py (`generate`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mamtra_cli.families.script import Frame
from mamtra_cli.families.zonos.config import LMConfig
from mamtra_cli.families.zonos.manner import Settings


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What stands before the columns.

    Attributes:
        ids: phones.
        voice: numbers of the voice vector, None for a voice of the model's choice.
        manner: how to speak.
    """

    ids: tuple[int, ...]
    voice: tuple[float, ...] | None = None
    manner: Settings = field(default_factory=Settings)


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What the model reads in one go.

    Attributes:
        prompt: the conditions.
        columns: that follow them.
        room: columns that may follow, for memory.
    """

    prompt: Prompt
    columns: tuple[Frame, ...]
    room: int


@dataclass(frozen=True, kw_only=True)
class DelayScript:
    """The state between two draws.

    Attributes:
        config: ids and codebooks.
        prompt: what the model reads first, None once it has.
        given: frames that the speech goes on from.
        most: frames to speak at most.
        expected: frames that the text should take, or None where nothing says.
        scrambled: exactly the published order of ids at the limit.
        columns: all columns so far, the first all masks.
        frames: spoken frames that are whole, the given ones not among them.
        left: draws to come, one that nobody needs included; None before the first.
        ending: whether the end was drawn.
    """

    config: LMConfig
    prompt: Prompt | None
    given: tuple[Frame, ...] = ()
    most: int
    expected: float | None = None
    scrambled: bool = False
    columns: tuple[Frame, ...] = ()
    frames: tuple[Frame, ...] = ()
    left: int | None = None
    ending: bool = False

    @classmethod
    def begin(
        cls,
        config: LMConfig,
        prompt: Prompt,
        most: int,
        given: Sequence[Frame] = (),
        *,
        expected: float | None = None,
        scrambled: bool = False,
    ) -> "DelayScript":
        """The state before anything was read.

        Args:
            config: of the model.
            prompt: what stands before the columns.
            most: frames to speak at most, at least one.
            given: frames of a clip to go on from.
            expected, scrambled: see the class.
        """
        if most < 1:
            raise ValueError(f"most must be at least 1, got {most}")
        script = cls(
            config=config,
            prompt=prompt,
            given=tuple(given),
            most=most,
            expected=expected,
            scrambled=scrambled,
        )
        nothing = (config.mask_id,) * config.codebooks
        columns = [script._column(place, nothing) for place in range(len(given) + 1)]
        return replace(script, columns=tuple(columns))

    @property
    def reads(self) -> Reads | None:
        """The prompt and the given columns; None where the last column is all."""
        if self.prompt is None:
            return None
        room = self.most + self.config.codebooks
        return Reads(prompt=self.prompt, columns=self.columns, room=room)

    @property
    def column(self) -> Frame:
        """The ids that the next step reads."""
        return self.columns[-1]

    @property
    def first(self) -> bool:
        """Whether nothing was drawn yet."""
        return self.left is None

    @property
    def barred(self) -> tuple[tuple[int, int], ...]:
        """Codebooks and ids that may not be drawn: only codebook 0 ends the speech."""
        if self.first:
            return ()
        return tuple((book, self.config.eos_id) for book in range(1, self.config.codebooks))

    @property
    def history(self) -> tuple[Frame, ...]:
        """What the repetition penalty looks at: every column so far, nothing at first."""
        return () if self.first else self.columns

    @property
    def due(self) -> Frame | None:
        """No frame comes by itself."""
        return None

    @property
    def heard(self) -> tuple[Frame, ...]:
        """Frames of the clip."""
        return self.given

    @property
    def waiting(self) -> bool:
        """The text is whole."""
        return False

    @property
    def ended(self) -> bool:
        """Whether every frame is whole; the published loop draws once more, for nobody."""
        return self.left is not None and self.left <= 1

    @property
    def capped(self) -> bool:
        """Whether the limit ended it."""
        return self.ended and not self.ending

    def accept(self, frame: Frame) -> "DelayScript":
        """Take the ids drawn for the next column."""
        if self.ended:
            raise ValueError("the speech has ended")
        books, eos, mask = self.config.codebooks, self.config.eos_id, self.config.mask_id
        ids, left, ending = list(frame), self.left, self.ending
        if left is None:
            left = len(self.given) + self.most + books - len(self.columns)
        else:
            # At the limit codebook 0 is closed before the others: what it draws means nothing.
            open_ = len(self.columns) - 1 < len(self.given) + self.most
            if ids[0] == eos and (open_ or self.scrambled):
                left, ending = min(left, books), True
            if ending:
                walked = min(books - left, books - 1)
                ids[: walked + 1] = [mask] * walked + [eos]
            left -= 1
        column = self._column(len(self.columns), ids)
        script = replace(
            self,
            prompt=None,
            columns=(*self.columns, column),
            left=left,
            ending=ending,
        )
        return script._completed()

    def hear(self, ids: Sequence[int]) -> "DelayScript":
        """Refuse more text: it was whole."""
        raise ValueError("the text was whole")

    def close(self) -> "DelayScript":
        """The text has ended, as it had."""
        return self

    def _column(self, place: int, ids: Sequence[int]) -> Frame:
        """A column: masks outside the speech, given ids, and where open the ids that came."""
        mask, known, total = self.config.mask_id, len(self.given), len(self.given) + self.most
        coming = iter(ids)
        column = []
        for book in range(self.config.codebooks):
            frame = place - book - 1
            if not 0 <= frame < total:
                column.append(mask)
            elif frame < known:
                column.append(self.given[frame][book])
            else:
                column.append(next(coming) if self.scrambled else ids[book])
        return tuple(column)

    def _completed(self) -> "DelayScript":
        """Add the frame that the last column made whole, where it is speech."""
        books, end = self.config.codebooks, self.config.eos_id
        frame = len(self.columns) - 1 - books
        if frame < len(self.given) or frame >= len(self.given) + self.most:
            return self
        ids = (self.columns[frame + book + 1][book] for book in range(books))
        whole = tuple(0 if each >= end else each for each in ids)
        return replace(self, frames=(*self.frames, whole))
