"""Clocks and memory meters for a stage of work.

Times are wall-clock seconds with the device idle before and after. Memory is that of this
process (resident set and its peak) and, on a GPU, torch's own counters beside it; the two are
never added. Knows nothing of what is measured.
"""

import contextlib
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mamtra_cli import __version__

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
MOST_READ = 1 << 29  # bytes of a plain read; of more, a part is read and the rest counted


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of repeated runs: the first one (cold) apart from the others."""

    first: float
    median: float
    least: float
    runs: int


@dataclass
class Memory:
    """Bytes before, after and at most during a stage; `None` where the system cannot say.

    resident: growth of the resident set; peak: its highest point over the start; device and
    reserved: torch's peak of live and of reserved device memory.
    """

    resident: int | None = None
    peak: int | None = None
    device: int | None = None
    reserved: int | None = None


def synchronise(device: torch.device) -> None:
    """Wait until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(
    work: Callable[[], object],
    *,
    runs: int = 3,
    warmup: int = 1,
    device: torch.device | None = None,
) -> Timing:
    """Time a piece of work.

    Args:
        work: what to run.
        runs: measured runs, after the warm-up.
        warmup: runs that only count as `first`.
        device: waited for around each run.
    """
    if runs < 1:
        raise ValueError(f"runs must be at least 1, got {runs}")
    where = device or torch.device("cpu")

    def once() -> float:
        synchronise(where)
        start = time.perf_counter()
        work()
        synchronise(where)
        return time.perf_counter() - start

    seconds = [once() for _ in range(warmup + runs)]
    kept = seconds[warmup:]
    return Timing(first=seconds[0], median=statistics.median(kept), least=min(kept), runs=len(kept))


def read_seconds(count: int, device: torch.device, *, rounds: int = 5) -> float:
    """Seconds of a plain read of so many bytes: what no step that reads as many can be under."""
    held = torch.ones(max(1, min(count, MOST_READ) // 4), device=device)
    least = timed(lambda: held.sum(), runs=rounds, device=device).least
    return least * count / (4 * len(held))


def resident_bytes() -> int | None:
    """Resident set of this process now, or `None` where the system does not tell."""
    return _status("VmRSS")


def peak_bytes() -> int | None:
    """Highest resident set of this process so far (since the last reset, on Linux)."""
    known = _status("VmHWM")
    if known is not None:
        return known
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextlib.contextmanager
def metered(device: torch.device | None = None) -> Iterator[Memory]:
    """Meter the memory of the block; the fields are filled when it ends."""
    memory = Memory()
    cuda = device is not None and device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    resets = _reset_peak()
    before = resident_bytes()
    yield memory
    after = resident_bytes()
    if before is not None and after is not None:
        memory.resident = after - before
        highest = peak_bytes()
        if resets and highest is not None:
            memory.peak = max(0, highest - before)
    if cuda:
        memory.device = torch.cuda.max_memory_allocated(device)
        memory.reserved = torch.cuda.max_memory_reserved(device)


def environment(device: torch.device) -> dict[str, Any]:
    """What the numbers were measured on."""
    facts: dict[str, Any] = {
        "mamtra": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(device),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def _status(key: str) -> int | None:
    """Read a size from the process status of Linux."""
    try:
        text = STATUS.read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return None


def _reset_peak() -> bool:
    """Forget the peak of the resident set; False where that is not possible."""
    try:
        CLEAR.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
