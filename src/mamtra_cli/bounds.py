"""Ranges of numbers that come from files, stated where their fields are: `layers: Layers = 24`.

A config calls `check_fields` when it is made, wherever its numbers came from: a size of a billion
or a rate of nothing is refused before anything is built of it. Knows dataclasses, no models.
"""

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Annotated, Any

from mamtra_cli.errors import UsageError


@dataclass(frozen=True)
class Bounds:
    """Both ends included."""

    low: float
    high: float


Width = Annotated[int, Bounds(1, 1 << 20)]  # channels
Layers = Annotated[int, Bounds(1, 1024)]
Heads = Annotated[int, Bounds(1, 4096)]
Rows = Annotated[int, Bounds(1, 1 << 24)]  # of a table
Optional = Annotated[int, Bounds(0, 1 << 24)]  # a size that may be left out
Kernel = Annotated[int, Bounds(1, 1 << 16)]  # taps, samples of a window, frames
Kernels = Annotated[tuple[int, ...], Bounds(1, 1 << 16)]
Places = Annotated[tuple[int, ...], Bounds(0, 1 << 20)]  # of layers, heads
Frames = Annotated[int, Bounds(0, 1 << 20)]
Rate = Annotated[int, Bounds(1000, 768_000)]  # samples a second
Hertz = Annotated[float, Bounds(0, 384_000)]
Steps = Annotated[int, Bounds(1, 10_000)]
Positive = Annotated[float, Bounds(1e-12, 1e12)]
Share = Annotated[float, Bounds(0, 1)]
Scale = Annotated[float, Bounds(0, 1e6)]
Durations = Annotated[tuple[float, ...], Bounds(0, 10_000)]


def check_fields(config: Any) -> None:
    """Refuse a number that is not finite, or outside the bounds of its field.

    Raises:
        UsageError: naming the first such field.
    """
    hints = _hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        bounds = hints.get(field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if isinstance(number, float) and not math.isfinite(number):
                raise UsageError(f"`{field.name}` is not finite")
            if bounds is not None and not bounds.low <= number <= bounds.high:
                raise UsageError(
                    f"`{field.name}` is {_short(number)}, which is not between {bounds.low:g} and "
                    f"{bounds.high:g}"
                )


def _short(number: float) -> str:
    return f"{number:g}" if abs(number) < 1e300 else f"a number of {len(str(number))} digits"


def _hints(cls: type) -> dict[str, Bounds]:
    """Bounds of the fields of a config that have any."""
    if cls not in _known:
        found = {}
        for name, hint in typing.get_type_hints(cls, include_extras=True).items():
            for extra in getattr(hint, "__metadata__", ()):
                if isinstance(extra, Bounds):
                    found[name] = extra
        _known[cls] = found
    return _known[cls]


_known: dict[type, dict[str, Bounds]] = {}
