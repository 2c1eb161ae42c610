"""Clocks and memory meters."""

import time
from dataclasses import dataclass

import pytest
import torch

from mamtra_cli.engine.measuring.meter import environment, metered, peak_bytes, timed
from mamtra_cli.live_bytes import tensor_bytes


def test_timing_keeps_the_cold_run_apart() -> None:
    waits = iter([0.2, 0.001, 0.001, 0.001])
    timing = timed(lambda: time.sleep(next(waits)), runs=3, warmup=1)
    assert timing.first >= 0.2
    assert timing.least <= timing.median < 0.2
    assert timing.runs == 3


def test_timing_without_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="runs must be at least 1"):
        timed(lambda: None, runs=0)


def test_meter_sees_memory_that_was_freed_again() -> None:
    with metered() as memory:
        # More than the C library keeps in hand of what was freed before.
        held = torch.ones(64 * 1024 * 1024 // 4)
        del held
    if memory.peak is None:
        pytest.skip("this system does not reset the peak")
    assert memory.peak > 48 * 1024 * 1024
    assert (peak_bytes() or 0) > 0


def test_tensor_bytes_counts_shared_storage_once() -> None:
    @dataclass(frozen=True)
    class State:
        keys: list[torch.Tensor]
        position: int

    base = torch.zeros(10)
    assert tensor_bytes({"a": State([base, base[:5]], 3), "b": torch.zeros(2)}) == 48


def test_environment_names_versions_and_device() -> None:
    facts = environment(torch.device("cpu"))
    assert facts["torch"] == torch.__version__
    assert facts["device"] == "cpu"
