"""A token model that says what it was told: no tensors but scores, and every call written down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mamtra_cli.families.script import Frame

EOS = 49
WIDTH = 52


@dataclass(frozen=True, kw_only=True)
class Said:
    """A script that reads a line by its number, and takes ids until the end id."""

    reads: Any
    least: int = 0
    most: int = 100
    expected: float | None = None
    heard: tuple[Frame, ...] = ()
    frames: tuple[Frame, ...] = ()
    history: tuple[Frame, ...] = ()
    waiting: bool = False
    ended: bool = False
    capped: bool = False
    due: Frame | None = None
    turns: int = 0  # frames after which it waits for more text; 0 for never

    @property
    def column(self) -> Frame:
        return self.history[-1]

    @property
    def barred(self) -> tuple[tuple[int, int], ...]:
        return ((0, EOS),) if len(self.frames) < self.least else ()

    def accept(self, frame: Frame) -> "Said":
        history = (*self.history, frame)
        if frame[0] >= EOS:
            return replace(self, reads=None, history=history, ended=True)
        frames = (*self.frames, frame)
        over = len(frames) >= self.most
        waits = bool(self.turns) and len(frames) % self.turns == 0
        return replace(
            self,
            reads=None,
            history=history,
            frames=frames,
            ended=over,
            capped=over,
            waiting=waits and not over,
        )

    def hear(self, ids: Sequence[int]) -> "Said":
        return replace(self, reads=ids[0], waiting=False)

    def close(self) -> "Said":
        return self


@dataclass
class Lines:
    """The model; a row is (line, place in it)."""

    lines: Sequence[Sequence[int]]
    codebooks: int = 1
    frame_rate: float = 25.0
    calls: list[tuple[str, Any]] = field(default_factory=list)

    def scores(self, rows: Sequence[tuple[int, int] | None]) -> Tensor:
        found = torch.full((len(rows), self.codebooks, WIDTH), -20.0)
        for slot, row in enumerate(rows):
            if row is None:
                found[slot] = torch.nan
                continue
            line, at = row
            found[slot, :, self.lines[line][at % len(self.lines[line])]] = 0.0
            found[slot, :, 3] = found[slot, :, 3].clamp(min=-5.0)
        return found

    def read(
        self, reads: Sequence[Any], rows: Any, at: Sequence[int], held: Sequence[Any]
    ) -> tuple[Tensor, Any]:
        self.calls.append(("read", list(at)))
        rows = list(rows or [])
        new = []
        for value, slot, before in zip(reads, at, held, strict=True):
            rows += [None] * (slot + 1 - len(rows))
            assert rows[slot] is None
            rows[slot] = (value, 0) if before is None else (before[0], before[1] + value)
            new.append(rows[slot])
        return self.scores(new), rows

    def step(self, columns: Tensor, rows: Any) -> tuple[Tensor, Any]:
        self.calls.append(("step", [slot for slot, row in enumerate(rows) if row is not None]))
        assert columns.shape == (len(rows), self.codebooks)
        rows = [None if row is None else (row[0], row[1] + 1) for row in rows]
        return self.scores(rows), rows

    def park(self, rows: Any, slot: int) -> tuple[Any, Any]:
        self.calls.append(("park", slot))
        held = rows[slot]
        return self._without(rows, [slot]), held

    def leave(self, rows: Any, slots: Sequence[int]) -> Any:
        self.calls.append(("leave", list(slots)))
        return self._without(rows, slots)

    def compact(self, rows: Any) -> tuple[Any, Mapping[int, int]]:
        used = [slot for slot, row in enumerate(rows) if row is not None]
        moves = {slot: number for number, slot in enumerate(used) if slot != number}
        self.calls.append(("compact", moves))
        return [rows[slot] for slot in used], moves

    @staticmethod
    def _without(rows: Any, slots: Sequence[int]) -> Any:
        rows = [None if slot in slots else row for slot, row in enumerate(rows)]
        while rows and rows[-1] is None:
            rows.pop()
        return rows or None
