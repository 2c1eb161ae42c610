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
    savings: bool = False  # memory of the pipeline, official to ours, by formulas
    imitate_official: bool = False  # measure the same: the official pipeline imitated, and ours
    seconds: float = 30.0  # of speech, for the two above
    prompt_seconds: float = 5.0  # of the voice prompt, for the same
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
class SavingRow:
    """One step from the official pipeline to ours, by formulas.

    `own` counts the bytes it takes away where they are, `peak` the pipeline's most with it and
    every step before; `hybrid` marks the exchange of layers, the only one that needs a hybrid.
    """

    model: str
    name: str
    own: int
    peak: int
    hybrid: bool = False


@dataclass(frozen=True, kw_only=True)
class ProfileResult:
    """Measured and estimated numbers, never merged."""

    seq: int
    batch: int
    device: str
    dtype: str
    rows: tuple[ProfileRow, ...]
    savings: tuple[SavingRow, ...] = ()
    speech: float | None = None  # seconds; None where the context counts
    prompt: float | None = None
    environment: dict[str, Any] = field(default_factory=dict)
