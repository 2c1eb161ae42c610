"""What a task may report while it runs.

A task knows nothing of terminals: it calls `report(event)`; the command line draws the events,
a program may collect them, and `ignore` drops them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A named stage begins. `total` is its length in `unit`s, when known."""

    name: str
    total: float | None = None
    unit: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Advance:
    """The current stage moved on by `amount` of its unit."""

    amount: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Named numbers measured at a step."""

    step: int
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Note:
    """A sentence for the user; `warning` marks what they should not miss."""

    text: str
    warning: bool = False


Event = Stage | Advance | Metrics | Note
Report = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Drop an event."""


def remembering(report: Report) -> tuple[Report, list[str]]:
    """A report that also keeps the warnings, for a result."""
    warnings: list[str] = []

    def both(event: Event) -> None:
        if isinstance(event, Note) and event.warning:
            warnings.append(event.text)
        report(event)

    return both, warnings
