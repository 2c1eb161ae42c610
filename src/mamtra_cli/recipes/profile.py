"""Every knob of `profile`, and what it returns."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ProfileRecipe:
    """Measure speed, memory and size."""

    model: str = ""  # "" is `mini` beside its hybrids
    compare: str = ""  # a second model in the same run
    seq: int = 1024  # tokens in the context
    batch: int = 1
    estimate: bool = False  # formulas only
    runs: int = 3
    warmup: int = 1
    min_speed: float | None = None  # fail below this many seconds of audio a second
    dtype: str = "auto"
    device: str = "auto"
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class ProfileRow:
    """One model, one stage, numbers by name; `measured` tells them from estimates."""

    model: str
    stage: str
    measured: bool
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ProfileResult:
    """Measured and estimated numbers, never merged."""

    seq: int
    batch: int
    device: str
    dtype: str
    rows: tuple[ProfileRow, ...]
    environment: dict[str, Any] = field(default_factory=dict)
