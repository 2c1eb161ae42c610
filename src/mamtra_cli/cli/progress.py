"""Events of a task as talk on stderr.

One live line where stderr is a terminal, otherwise one plain line a stage, one as soon as it can be
told how long it takes, and one every thirty seconds; nothing at all with `--quiet` or `--json` but
warnings. Knows events, not tasks.
"""

import sys
import time
from collections.abc import Mapping
from typing import Any

from mamtra_cli.events import Advance, Event, Metrics, Note, Stage

EVERY = 30.0
LONG = 10.0  # seconds of a stage from which on it is told before
NAME = 8


class Progress:
    """Shows events.

    Args:
        show: whether to show stages and metrics.
        warn: whether to show warnings.
    """

    def __init__(self, *, show: bool, warn: bool) -> None:
        self.show = show
        self.warn = warn
        self.live = show and sys.stderr.isatty()
        self.stage: Stage | None = None
        self.done = 0.0
        self.began = self.last = 0.0
        self.bar: Any = None
        self.task: Any = None

    def show_event(self, event: Event) -> None:
        """Show one event."""
        match event:
            case Stage():
                self._begin(event)
            case Advance():
                self._advance(event.amount)
            case Metrics():
                values = "  ".join(f"{k} {v:.4g}" for k, v in event.values.items())
                self._line(f"{'step':<{NAME}} {event.step}  {values}", self.show)
                if self.bar is not None:
                    self.bar.update(self.task, now=brief(event.values))
            case Note() if event.warning:
                self._line(f"warning: {event.text}", self.warn)
            case Note():
                self._line(event.text, self.show)

    def close(self) -> None:
        """Finish the live line."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
        self.stage = None

    def _begin(self, stage: Stage) -> None:
        self.close()
        if not self.show:
            return
        self.stage, self.done = stage, 0.0
        self.began = self.last = time.monotonic()
        if stage.total is None or not self.live:
            unit = stage.unit.removesuffix("s") if stage.total == 1 else stage.unit
            length = f"{stage.total:g} {unit}" if stage.total is not None else ""
            self._line(f"{stage.name:<{NAME}} {stage.detail or length}".rstrip(), True)
            return
        # Imported here: rich takes longer to load than a usage error to print.
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        terminal = Terminal(stderr=True, highlight=False)
        name = TextColumn(f"{stage.name:<{NAME}} {stage.detail}".rstrip(), markup=False)
        self.bar = Bar(
            name,
            BarColumn(20),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}", markup=False),
            console=terminal,
        )
        self.task = self.bar.add_task(stage.name, total=stage.total, now="")
        self.bar.start()

    def _advance(self, amount: float) -> None:
        self.done += amount
        if self.bar is not None:
            self.bar.update(self.task, advance=amount)
            return
        now = time.monotonic()
        if self.stage is None or not self.show:
            return
        left = 0.0
        if self.stage.total is not None and self.done:
            left = (now - self.began) * max(self.stage.total / self.done - 1, 0)
        first = self.last == self.began and left > LONG
        if now - self.last < EVERY and not first:
            return
        self.last = now
        total = f"/{self.stage.total:g}" if self.stage.total is not None else ""
        unit = f" {self.stage.unit}" if self.stage.unit else ""
        about = f", about {duration(left)} left" if left > LONG else ""
        self._line(f"{self.stage.name:<{NAME}} {self.done:g}{total}{unit}{about}", True)

    def _line(self, text: str, wanted: bool) -> None:
        if not wanted:
            return
        if self.bar is not None:
            self.bar.console.print(text, markup=False)
        else:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


def duration(seconds: float) -> str:
    """Seconds, minutes or hours in a word or two."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def brief(values: Mapping[str, float]) -> str:
    """The loss and the speed among the numbers of a step, for the live line."""
    parts = []
    if "loss" in values:
        parts.append(f"loss {values['loss']:.4g}")
    if "tokens_per_second" in values:
        parts.append(f"{values['tokens_per_second']:.0f} tokens/s")
    return ", ".join(parts)
