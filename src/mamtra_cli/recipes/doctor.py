"""Every knob of `doctor`, and what it returns."""

from dataclasses import dataclass

from mamtra_cli.recipes.shared import Device, DType, Threads


@dataclass(frozen=True, kw_only=True)
class DoctorRecipe:
    """Look at this installation."""

    device: Device = "auto"
    dtype: DType = "auto"
    threads: Threads = 0


@dataclass(frozen=True, kw_only=True)
class DoctorResult:
    """What is installed here, and which implementation runs."""

    mamtra: str
    python: str
    platform: str
    packages: dict[str, str]  # version, or "" where missing
    device: str
    dtype: str
    threads: int
    reason: str
    ops: dict[str, str]
    models: dict[str, str]  # built-in ones, and how they are spoken
