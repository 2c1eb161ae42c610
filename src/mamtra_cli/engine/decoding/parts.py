"""What models without a token loop make, driven as `Streams` drives those that have one.

Frames come in parts that are final. One part is made a step, and those who wait take turns.
"""

from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import Any

from mamtra_cli.engine.decoding.streams import Event, Outcome
from mamtra_cli.families.speaker import Made


class Parts:
    """Utterances whose frames are made in parts."""

    def __init__(self) -> None:
        self._ids = count()
        self._line: deque[tuple[int, Iterator[Made], tuple[Any, ...]]] = deque()

    def add(self, parts: Iterator[Made]) -> int:
        """Put an utterance at the end of the line; returns the id of its events."""
        id = next(self._ids)
        self._line.append((id, parts, ()))
        return id

    def drop(self, id: int) -> None:
        """Forget an utterance."""
        self._line = deque(entry for entry in self._line if entry[0] != id)

    def __contains__(self, id: int) -> bool:
        """Whether an utterance has neither ended nor been dropped."""
        return any(entry[0] == id for entry in self._line)

    @property
    def busy(self) -> bool:
        """Whether a step would do something."""
        return bool(self._line)

    @property
    def running(self) -> int:
        """Utterances that the next step works on."""
        return min(len(self._line), 1)

    @property
    def waiting(self) -> int:
        """Utterances in line."""
        return max(len(self._line) - 1, 0)

    def step(self) -> list[Event]:
        """Make the next part of the utterance whose turn it is."""
        id, parts, before = self._line.popleft()
        part = next(parts)
        frames = (*before, *part.frames)
        if not part.last:
            self._line.append((id, parts, frames))
        outcome = Outcome(frames=frames) if part.last else None
        return [Event(id=id, frames=tuple(part.frames), outcome=outcome)]
