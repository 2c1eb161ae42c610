"""Many scripts spoken by one model at once: they join a batch that runs, and leave it.

`step` is all there is to drive: it lets those in who wait in line, reads what is to be read, draws
one frame for every row in one call, and says what came of it. Each row draws from numbers of its
own, so its frames do not depend on its company. Scores are tensors or arrays, as the model gives
them, and nothing here needs torch. Knows scripts and scores, nothing of text or sound; who may come
in, and when, is the caller's.
"""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from mamtra_cli.engine.decoding.guards import (
    GuardLimits,
    Rejection,
    TokenWatch,
    check_finite,
    check_length,
    too_long,
)
from mamtra_cli.families.script import Frame, Script, TokenModel
from mamtra_cli.ops.arrays import joined
from mamtra_cli.ops.draws import Variates, barred, draw_frames, finite_rows
from mamtra_cli.ops.sampling import Sampling

ROWS = 16


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an utterance ended.

    Attributes:
        rejection: the guard that refused it.
        cut: it was kept, though its cap ended it.
    """

    frames: tuple[Frame, ...]
    rejection: Rejection | None = None
    cut: bool = False

    @property
    def tokens(self) -> tuple[int, ...]:
        """The ids of its frames, one frame after the other."""
        return tuple(token for frame in self.frames for token in frame)


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a step did to one stream.

    Attributes:
        id: of the stream.
        frames: new ones, which nothing will change any more.
        waits: whether it goes on only when more text comes, or its end.
        outcome: how it ended, if it did; nothing follows.
    """

    id: int
    frames: tuple[Frame, ...] = ()
    waits: bool = False
    outcome: Outcome | None = None


@dataclass(kw_only=True)
class _Row:
    """One stream; `slot` is its place in the batch, `held` what the model keeps of it outside."""

    id: int
    script: Script
    sampling: Sampling
    watch: TokenWatch
    variates: Variates
    slot: int | None = None
    held: Any = None
    told: int = 0


class Streams:
    """Streams of one model.

    Args:
        model: what speaks.
        rows: streams that run together at most; others wait in line.
        limits: what the guards tolerate.
    """

    def __init__(
        self, model: TokenModel, *, rows: int = ROWS, limits: GuardLimits | None = None
    ) -> None:
        if rows < 1:
            raise ValueError(f"at least one row, got {rows}")
        self.model = model
        self.rows = rows
        self.limits = limits or GuardLimits()
        self._ids = count()
        self._line: dict[int, _Row] = {}
        self._inside: dict[int, _Row] = {}
        self._batch: Any = None

    def add(self, script: Script, sampling: Sampling, *, seed: int = 0) -> int:
        """Put a script at the end of the line; returns the id of its stream."""
        row = _Row(
            id=next(self._ids),
            script=script,
            sampling=sampling,
            watch=TokenWatch(self.limits, self.model.frame_rate, script.heard),
            variates=Variates(seed),
        )
        self._line[row.id] = row
        return row.id

    def hear(self, id: int, ids: Sequence[int]) -> None:
        """More text of a stream has come."""
        row = self._row(id)
        row.script = row.script.hear(ids)

    def close(self, id: int) -> None:
        """The text of a stream has ended."""
        row = self._row(id)
        row.script = row.script.close()

    def drop(self, id: int) -> None:
        """Forget a stream at once, with all that is kept of it; others are not touched."""
        row = self._row(id)
        self._line.pop(id, None)
        self._inside.pop(id, None)
        self._free([row])

    def __contains__(self, id: int) -> bool:
        """Whether a stream has neither ended nor been dropped."""
        return id in self._inside or id in self._line

    @property
    def busy(self) -> bool:
        """Whether a step would do something; if not, all wait for text, or none is there."""
        rows = (*self._inside.values(), *self._next_in_line())
        return any(not row.script.waiting for row in rows)

    @property
    def running(self) -> int:
        """Streams inside; the others wait in line."""
        return len(self._inside)

    @property
    def waiting(self) -> int:
        """Streams in line."""
        return len(self._line)

    def step(self) -> list[Event]:
        """Draw one frame for every stream that can go on."""
        for row in self._next_in_line():
            self._inside[row.id] = self._line.pop(row.id)
        rows = list(self._inside.values())
        over = [row for row in rows if row.script.ended]  # nothing was to be said
        stepping = [row for row in rows if row.slot is not None]
        outside = [row for row in rows if row.slot is None]
        joining = [row for row in outside if not (row.script.waiting or row.script.ended)]
        events = [self._end(row, ()) for row in over]
        for row in over:
            self._inside.pop(row.id)
        if stepping or joining:
            with _inference():
                self._compact(stepping, len(joining))
                scores = self._scores(stepping, joining)
            events += self._drawn([*stepping, *joining], scores)
        return events

    def _row(self, id: int) -> _Row:
        row = self._inside.get(id) or self._line.get(id)
        if row is None:
            raise ValueError(f"there is no stream {id}")
        return row

    def _next_in_line(self) -> list[_Row]:
        """Those who would be let in now; a stream that waits for text keeps its place inside."""
        return list(self._line.values())[: max(self.rows - len(self._inside), 0)]

    def _scores(self, stepping: Sequence[_Row], joining: Sequence[_Row]) -> Any:
        """(B, K, V) of these rows in order, on the model's device."""
        found: list[Any] = []
        if stepping:
            slots = [row.slot for row in stepping if row.slot is not None]
            shape = (max(slots) + 1, self.model.codebooks)
            columns = np.zeros(shape, np.int64)
            columns[slots] = [row.script.column for row in stepping]
            scores, self._batch = self.model.step(columns, self._batch)
            found.append(scores if slots == list(range(len(scores))) else scores[slots])
        if joining:
            taken = {row.slot for row in stepping}
            free = (slot for slot in count() if slot not in taken)
            for row in joining:
                row.slot = next(free)
            scores, self._batch = self.model.read(
                [row.script.reads for row in joining],
                self._batch,
                [row.slot for row in joining if row.slot is not None],
                [row.held for row in joining],
            )
            for row in joining:
                row.held = None
            found.append(scores)
        return joined(found)

    def _drawn(self, rows: Sequence[_Row], scores: Any) -> list[Event]:
        """Draw for rows of scores (B, K, V), and what came of it."""
        ended: list[_Row] = []
        reading: list[_Row] = []
        events: list[Event] = []
        for row, frame in zip(rows, self._choose(rows, scores), strict=True):
            if isinstance(frame, Rejection):
                outcome = Outcome(frames=tuple(row.script.frames), rejection=frame)
                event = Event(id=row.id, outcome=outcome)
            else:
                row.script = row.script.accept(frame)
                event = self._told(row)
            if event.outcome is not None:
                ended.append(row)
            elif row.script.waiting or row.script.reads is not None:
                reading.append(row)
            if event.frames or event.waits or event.outcome is not None:
                events.append(event)
        for row in ended:
            self._inside.pop(row.id)
        self._park(reading)
        self._free(ended)
        return events

    def _choose(self, rows: Sequence[_Row], scores: Any) -> list[Frame | Rejection]:
        """What comes next in each row."""
        found: list[Frame | Rejection] = [()] * len(rows)
        closed: list[tuple[int, int, int]] = []
        drawing: dict[Sampling, list[int]] = {}
        for place, (row, sound) in enumerate(zip(rows, finite_rows(scores), strict=True)):
            if not sound:
                refused = check_finite(scores[place], "token scores")
                found[place] = refused or Rejection(
                    cause="non_finite", detail="no token can come next"
                )
            elif row.script.due is not None:
                found[place] = row.script.due
            else:
                closed += [(place, book, id) for book, id in row.script.barred]
                drawing.setdefault(row.sampling, []).append(place)
        if closed:
            scores = barred(scores, closed)
        for sampling, places in drawing.items():
            frames = draw_frames(
                scores if len(places) == len(rows) else scores[places],
                sampling,
                [rows[place].script.history for place in places],
                [rows[place].variates for place in places],
            )
            for place, frame in zip(places, frames, strict=True):
                found[place] = frame
        return found

    def _told(self, row: _Row) -> Event:
        """What is new of a row after a frame was accepted."""
        script, rate = row.script, self.model.frame_rate
        frames = tuple(script.frames[row.told :])
        for number, frame in enumerate(frames, row.told + 1):
            refused = row.watch.add(frame) or too_long(number, script.expected, rate, self.limits)
            if refused is not None:
                # What a guard refused is not handed out.
                outcome = Outcome(frames=tuple(script.frames[:number]), rejection=refused)
                return Event(id=row.id, frames=frames[: number - row.told - 1], outcome=outcome)
        row.told += len(frames)
        if script.ended:
            return self._end(row, frames)
        return Event(id=row.id, frames=frames, waits=script.waiting)

    def _end(self, row: _Row, frames: tuple[Frame, ...]) -> Event:
        """The event of a row whose script is over."""
        script = row.script
        refused = check_length(
            len(script.frames),
            expected=script.expected,
            capped=script.capped,
            rate=self.model.frame_rate,
            limits=self.limits,
        )
        cut = script.capped and refused is None
        outcome = Outcome(frames=tuple(script.frames), rejection=refused, cut=cut)
        return Event(id=row.id, frames=frames, outcome=outcome)

    def _park(self, rows: Sequence[_Row]) -> None:
        """Take rows out of the batch that must read text before their next step."""
        for row in rows:
            assert row.slot is not None
            with _inference():
                self._batch, row.held = self.model.park(self._batch, row.slot)
            row.slot = None

    def _free(self, rows: Sequence[_Row]) -> None:
        """Give slots back."""
        slots = [row.slot for row in rows if row.slot is not None]
        if slots:
            with _inference():
                self._batch = self.model.leave(self._batch, slots)
        if not self._inside:
            self._batch = None  # whoever comes next begins as alone, and nothing is held till then
        for row in rows:
            row.slot = row.held = None

    def _compact(self, rows: Sequence[_Row], joining: int) -> None:
        """Close the gaps once half of the slots are free and nobody comes to take them."""
        slots = {row.slot: row for row in rows if row.slot is not None}
        if slots and max(slots) + 1 >= 2 * (len(slots) + joining):
            self._batch, moves = self.model.compact(self._batch)
            for old, new in moves.items():
                slots[old].slot = new


def _inference() -> contextlib.AbstractContextManager[Any]:
    """torch's inference mode; nothing where torch was never imported."""
    torch = sys.modules.get("torch")
    return contextlib.nullcontext() if torch is None else torch.inference_mode()
