"""Signals that end a run early: Ctrl-C, SIGTERM and SIGUSR1 (a batch system's warning).

Inside a training loop the first one sets a flag, so that the update ends and the run is saved;
elsewhere it interrupts like Ctrl-C. Signals belong to the main thread: in others nothing is set.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def stop_flag() -> Iterator[threading.Event]:
    """Turn the first signal into a flag; the second one interrupts at once."""
    flag = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    with _handled(on_signal):
        yield flag


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGUSR1 interrupt like Ctrl-C, so that what is open is tidied up."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(on_signal):
        yield


@contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # SIGUSR1 is unknown to Windows.
    known = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    previous = {number: signal.getsignal(number) for number in known}
    for number in known:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
