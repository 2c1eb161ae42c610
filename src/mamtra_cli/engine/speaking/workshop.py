"""Sound made beside the token loop: on a thread of its own where a core is free, else at once.

The frames of a stream become sound in their order, and one stream waits for no other. What a sound
is does not depend on where it is made; only when it is there does. Knows streams by number.
"""

import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mamtra_cli.engine.decoding.streams import Event
from mamtra_cli.engine.loading.talker import Talker
from mamtra_cli.engine.speaking.attempts import Sound

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Parts = list[Any]
"""What `take` of a sound gives for an event."""


@dataclass(kw_only=True)
class _Bench:
    """A stream's events in line, and the one that is worked on."""

    sound: Sound
    line: deque[Event] = field(default_factory=deque)
    event: Event | None = None
    made: "Future[Parts] | None" = None


class Workshop:
    """See the module docstring.

    Args:
        threads: that make sound; 0 makes it where it is taken.

    Attributes:
        seconds: spent on sound so far, of all threads.
    """

    def __init__(self, threads: int = 0) -> None:
        self._pool = _pool(threads) if threads else None
        self._benches: dict[int, _Bench] = {}
        self.seconds = 0.0

    def __len__(self) -> int:
        """Streams whose sound is not all made."""
        return len(self._benches)

    def put(self, event: Event, sound: Sound) -> None:
        """More of a stream."""
        bench = self._benches.setdefault(event.id, _Bench(sound=sound))
        bench.line.append(event)
        self._begin(bench)

    def drop(self, id: int) -> None:
        """Forget a stream; what is being made of it ends unheard."""
        self._benches.pop(id, None)

    def take(self, *, patient: bool) -> Iterator[tuple[Event, Parts]]:
        """What is made by now, in the order of each stream.

        Args:
            patient: wait for something, where something is under way.
        """
        if self._pool is None:
            yield from self._at_once()
            return
        if patient and self._benches:
            from concurrent.futures import FIRST_COMPLETED, wait

            under_way = [bench.made for bench in self._benches.values() if bench.made]
            wait(under_way, return_when=FIRST_COMPLETED)
        for id, bench in list(self._benches.items()):
            if self._benches.get(id) is bench and bench.made is not None and bench.made.done():
                event, parts = bench.event, bench.made.result()
                assert event is not None
                bench.made = None
                self._begin(bench)
                if bench.made is None:
                    del self._benches[id]
                yield event, parts

    def _at_once(self) -> Iterator[tuple[Event, Parts]]:
        for id, bench in list(self._benches.items()):
            while bench.line and self._benches.get(id) is bench:
                event = bench.line.popleft()
                if not bench.line:
                    del self._benches[id]
                yield event, self._made(bench.sound, event)

    def _made(self, sound: Sound, event: Event) -> Parts:
        started = time.perf_counter()
        parts = sound.take(event)
        self.seconds += time.perf_counter() - started
        return parts

    def _begin(self, bench: _Bench) -> None:
        """Work on the next event of a stream, if there is one and nothing else of it is made."""
        if self._pool is not None and bench.made is None and bench.line:
            bench.event = bench.line.popleft()
            bench.made = self._pool.submit(self._made, bench.sound, bench.event)


def _pool(threads: int) -> "ThreadPoolExecutor":
    """Imported here: a short sentence from the shell needs none."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(threads, "sound")


def sound_threads(engine: Talker, asked: int = 0) -> int:
    """Threads that may make sound beside a token loop: as many as the cores have room for.

    None where the user or `OMP_NUM_THREADS` counted the threads, on a GPU, which works in one line
    anyway, and where the model takes every core.

    Args:
        engine: the model.
        asked: threads the user asked for; 0 for none.
    """
    if asked or "OMP_NUM_THREADS" in os.environ or str(engine.device) != "cpu":
        return 0
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    found = cores // max(engine.threads, 1)
    return found if found > 1 else 0
