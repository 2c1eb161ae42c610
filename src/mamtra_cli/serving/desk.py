"""Between many callers on an event loop and one studio on a thread of its own.

Callers give orders and hear what comes of them; the thread drives the studio step by step and
hands every event to the loop of its caller. Admission is decided here: how many may wait, what
memory they need, how long until there is room. A caller that leaves frees its place within a step.
"""

import asyncio
import atexit
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from mamtra_cli.engine.speaking.studio import Order, Spoken, Studio
from mamtra_cli.errors import MamtraError
from mamtra_cli.serving.metrics import Metrics
from mamtra_cli.serving.requests import placed

log = logging.getLogger(__name__)
IDLE_TICK = 0.25  # seconds between looks at the clock of a studio with nothing to do


class BusyError(MamtraError):
    """There is no room for one more; `status` and `retry_after` are for the caller."""

    code = "busy"

    def __init__(self, message: str, hint: str, *, status: int, retry_after: float) -> None:
        super().__init__(message, hint)
        self.status = status
        self.retry_after = max(1, round(retry_after))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is taken in.

    Attributes:
        queue: utterances that may wait beside those under way.
        memory: bytes that utterances under way and waiting may need beside the model, what all
            of them share included; 0 for no bound.
        idle_unload: seconds without a caller after which the model is let go; 0 for never.
    """

    queue: int = 64
    memory: int = 0
    idle_unload: float = 0.0


@dataclass(eq=False)
class Visit:
    """One caller: the events of its utterance, in order."""

    desk: "Desk"
    order: Order
    expected: float
    need: int
    loop: asyncio.AbstractEventLoop
    events: "asyncio.Queue[Spoken]" = field(default_factory=asyncio.Queue)
    id: int | None = None
    started: float = field(default_factory=time.monotonic)
    first: float | None = None
    over: bool = False

    async def __aiter__(self) -> AsyncIterator[Spoken]:
        """Events until the last one.

        Raises:
            MamtraError: the utterance ended early; what was heard stays heard.
        """
        while True:
            event = await self.events.get()
            if event.error is not None:
                raise event.error
            yield event
            if event.done:
                return

    def hear(self, text: str) -> None:
        """More text has come."""

        def tell(studio: Studio) -> None:
            if self.id is not None and not self.over:
                studio.hear(self.id, text)

        self.desk.send(tell)

    def close(self) -> None:
        """The text has ended."""

        def tell(studio: Studio) -> None:
            if self.id is not None and not self.over:
                studio.close(self.id)

        self.desk.send(tell)

    def leave(self) -> None:
        """The caller has gone; does nothing where all was said."""
        if not self.over:
            self.desk.dismiss(self)


class Desk:
    """See the module docstring.

    Args:
        open_studio: loads the model; called on the desk's thread, again after an unload.
        limits: what is taken in.
        metrics: told of everything.
    """

    def __init__(self, open_studio: Callable[[], Studio], limits: Limits, metrics: Metrics) -> None:
        self._open = open_studio
        self.limits = limits
        self.metrics = metrics
        self._calls: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._visits: dict[int, Visit] = {}
        self._line: list[Visit] = []
        self._lock = threading.Lock()
        self._studio: Studio | None = None
        self._closing = self._stopped = False
        self._last = time.monotonic()
        self._pace = 1.0  # seconds of work a second of sound, as measured lately
        self._thread = threading.Thread(target=self._run, name="studio", daemon=True)
        self._thread.start()
        atexit.register(self.stop)  # a process that leaves while a graph runs is aborted by it

    # The side of the callers.

    async def ask(self, call: Callable[[Studio], object]) -> object:
        """Run something on the studio's thread and hand back what it gives."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[object] = loop.create_future()

        def run() -> None:
            try:
                value = call(self._ready())
            except BaseException as error:
                loop.call_soon_threadsafe(_set, answer, None, error)
            else:
                loop.call_soon_threadsafe(_set, answer, value, None)

        self._calls.put(run)
        return await answer

    async def visit(self, order: Order) -> Visit:
        """Take an order in.

        Raises:
            BusyError: there is no room, or the server is closing.
            MamtraError: it cannot be spoken.
        """
        self._refuse_when_full()
        checked = await self.ask(lambda studio: _checked(studio, order))
        assert isinstance(checked, tuple)
        order, expected, need = checked
        loop = asyncio.get_running_loop()
        visit = Visit(desk=self, order=order, expected=expected, need=need, loop=loop)
        with self._lock:
            # Those who came while this one was checked count too.
            self._refuse_when_full()
            self._refuse_for_memory(need)
            self._line.append(visit)
        self._calls.put(lambda: self._begin(visit))
        return visit

    def send(self, call: Callable[[Studio], object]) -> None:
        """Run something on the studio's thread, without waiting for it."""
        self._calls.put(lambda: call(self._ready()))

    def dismiss(self, visit: Visit) -> None:
        """Forget a caller who has gone."""
        visit.over = True
        self._calls.put(lambda: self._forget(visit))

    @property
    def queued(self) -> int:
        """Callers whose sound has not begun."""
        with self._lock:
            waiting = sum(visit.first is None for visit in self._visits.values())
            return len(self._line) + waiting

    @property
    def present(self) -> int:
        """Callers altogether."""
        with self._lock:
            return len(self._line) + len(self._visits)

    @property
    def running(self) -> int:
        """Rows that are in use."""
        return 0 if self._studio is None else self._studio.running

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._studio is not None

    async def unload(self) -> bool:
        """Let the model go, if nobody is being spoken to; says whether it was."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[object] = loop.create_future()
        self._calls.put(lambda: loop.call_soon_threadsafe(_set, answer, self._let_go(), None))
        return bool(await answer)

    async def close(self, patience: float) -> None:
        """Take nobody in any more, and wait until those present are done, or patience ends."""
        self._closing = True
        until = time.monotonic() + patience
        while self.present and time.monotonic() < until:
            await asyncio.sleep(0.05)
        await asyncio.to_thread(self.stop)

    def stop(self) -> None:
        """End the studio's thread once what it does just now is done."""
        self._stopped = True
        self._calls.put(lambda: None)
        self._thread.join(5.0)
        atexit.unregister(self.stop)

    def _refuse_when_full(self) -> None:
        if self._closing:
            self.metrics.refuse("closing")
            raise BusyError("the server is closing", "ask again later", status=503, retry_after=5)
        studio = self._studio
        ahead = len(self._line) + len(self._visits)
        room = self.limits.queue + (0 if studio is None else studio.running)
        if ahead >= max(room, 1):
            self.metrics.refuse("queue")
            raise BusyError(
                f"{ahead} utterances are under way or waiting",
                "ask again later",
                status=429,
                retry_after=self._wait(),
            )

    def _refuse_for_memory(self, need: int) -> None:
        shared = 0 if self._studio is None else self._studio.shared_bytes
        held = shared + sum(visit.need for visit in (*self._line, *self._visits.values()))
        if self.limits.memory and held + need > self.limits.memory:
            self.metrics.refuse("memory")
            raise BusyError(
                f"one more utterance needs {need:,} bytes beside the {held:,} in use of "
                f"{self.limits.memory:,}",
                "ask again later, or for a shorter text",
                status=503,
                retry_after=self._wait(),
            )

    def _wait(self) -> float:
        """Seconds until there should be room."""
        every = (*self._line, *self._visits.values())
        return self._pace * sum(visit.expected for visit in every) / max(len(every), 1)

    # The side of the studio.

    def _ready(self) -> Studio:
        if self._studio is None:
            self._studio = self._open()
            self.metrics.loaded(True)
        return self._studio

    def _run(self) -> None:
        while not self._stopped:
            studio = self._studio
            busy = studio is not None and studio.busy
            self._answer_calls(wait=not busy)
            studio = self._studio
            if studio is not None and studio.busy:
                self._step(studio)
            self._rest()

    def _answer_calls(self, *, wait: bool) -> None:
        """Do what callers asked for; where there is nothing else to do, wait for one."""
        try:
            call = self._calls.get(timeout=IDLE_TICK) if wait else self._calls.get_nowait()
        except Empty:
            return
        while True:
            self._last = time.monotonic()
            try:
                call()
            except Exception:
                log.exception("a call of a caller failed")
            try:
                call = self._calls.get_nowait()
            except Empty:
                return

    def _step(self, studio: Studio) -> None:
        start = time.perf_counter()
        try:
            events = studio.step()
        except MamtraError as error:
            self._fail_all(error)
            return
        except Exception as error:
            log.exception("the studio failed")
            self._fail_all(_internal(error))
            self._studio = None
            return
        made = sum(0 if e.audio is None else len(e.audio) for e in events) / studio.sample_rate
        for event in events:
            self._tell(event)
        self.metrics.worked(time.perf_counter() - start, made)
        self._last = time.monotonic()

    def _begin(self, visit: Visit) -> None:
        with self._lock:
            self._line.remove(visit)
        if visit.over:
            return
        try:
            visit.id = self._ready().add(visit.order)
        except Exception as error:
            visit.over = True
            known = error if isinstance(error, MamtraError) else _internal(error)
            self._hand(visit, Spoken(id=-1, error=known, done=True))
            return
        with self._lock:
            self._visits[visit.id] = visit

    def _tell(self, event: Spoken) -> None:
        visit = self._visits.get(event.id)
        if visit is None:
            return
        if visit.first is None and event.audio is not None and len(event.audio):
            visit.first = time.monotonic() - visit.started
            self.metrics.first_audio(visit.first)
        if event.done or event.error is not None:
            visit.over = True
            with self._lock:
                self._visits.pop(event.id, None)
            took = time.monotonic() - visit.started
            if event.error is None and event.seconds:
                self._pace += 0.2 * (took / event.seconds - self._pace)
                self.metrics.spoken(event.seconds, took)
        self._hand(visit, event)

    def _hand(self, visit: Visit, event: Spoken) -> None:
        try:
            visit.loop.call_soon_threadsafe(visit.events.put_nowait, event)
        except RuntimeError:  # the caller's loop has ended
            self._forget(visit)

    def _forget(self, visit: Visit) -> None:
        with self._lock:
            if visit in self._line:
                self._line.remove(visit)
            known = visit.id is not None and self._visits.pop(visit.id, None) is not None
        if known and self._studio is not None and visit.id is not None:
            self._studio.drop(visit.id)

    def _fail_all(self, error: MamtraError) -> None:
        with self._lock:
            visits = list(self._visits.values())
            self._visits.clear()
        for visit in visits:
            visit.over = True
            if self._studio is not None and visit.id is not None:
                self._studio.drop(visit.id)
            self._hand(visit, Spoken(id=visit.id or 0, error=error, done=True))

    def _rest(self) -> None:
        idle = self.limits.idle_unload
        idle_now = self._studio is not None and not self.present
        if idle and idle_now and time.monotonic() - self._last > idle:
            self._let_go()

    def _let_go(self) -> bool:
        """Let the model go, unless somebody is there."""
        if self.present:
            return False
        self._studio = None
        self.metrics.loaded(False)
        return True


def _checked(studio: Studio, order: Order) -> tuple[Order, float, int]:
    order = placed(order, studio.voices)
    expected = studio.check(order)
    return order, expected, studio.bytes_of(expected)


def _internal(error: Exception) -> MamtraError:
    failure = MamtraError(f"the model failed: {type(error).__name__}", "see the server's log")
    failure.code = "internal"
    return failure


def _set(answer: "asyncio.Future[object]", value: object, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(value)
