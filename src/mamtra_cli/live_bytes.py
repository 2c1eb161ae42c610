"""Bytes of live tensors during a stage of work: handed out by the allocator, not yet given back.

Unlike the resident set this knows no pages, no caches of the C library and no other thread of the
program, so it is the same number on every run, and it sees the scratch inside an operation. On
the CPU it replays the memory events of torch's profiler, on CUDA it reads the allocator's own
counters. Knows nothing of what is measured.
"""

import os
from collections.abc import Callable
from typing import TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

T = TypeVar("T")


def live_peak(
    work: Callable[[], T], device: torch.device | None = None, *, carried: int = 0
) -> tuple[int, T]:
    """Run work and tell the most bytes that it had alive at once, its result included.

    Args:
        work: what to run.
        device: whose memory counts.
        carried: bytes that belong to the work but were there before (a state it takes up). What
            is freed of them meanwhile is not subtracted, so the peak errs upwards by no more.

    Returns:
        the peak in bytes, and what the work returned.
    """
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = work()
        torch.cuda.synchronize(device)
        return carried + torch.cuda.max_memory_allocated(device) - before, result
    # The profiler's library writes its probes to stderr unless told not to.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        result = work()
    kineto = watched.profiler
    assert kineto is not None
    assert kineto.kineto_results is not None
    changes = [
        (event.start_ns(), event.nbytes())
        for event in kineto.kineto_results.events()
        if event.name() == "[memory]"
    ]
    live, highest = 0, 0
    for _, change in sorted(changes, key=lambda pair: pair[0]):
        live += change
        highest = max(highest, live)
    return carried + highest, result


def tensor_bytes(value: object) -> int:
    """Bytes of all tensors in nested containers and dataclasses; shared storage counts once."""
    seen: dict[int, int] = {}
    stack: list[object] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, torch.Tensor):
            storage = item.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
        elif hasattr(item, "__dataclass_fields__"):
            stack.extend(getattr(item, name) for name in item.__dataclass_fields__)
    return sum(seen.values())
