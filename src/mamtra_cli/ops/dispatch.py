"""Which implementation of an op runs here, and why: decided once, told in words.

`choose` answers for a device and dtype; `forced` lets a test pick; `describe` is what `doctor` and
`profile` show. Knows no tensors, only where they live.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch

from mamtra_cli.ops import mamba_ssm_kernels

IMPLEMENTATIONS: dict[str, tuple[str, ...]] = {
    "ssd_scan": ("torch", "naive", "mamba-ssm", "triton"),
    "ssd_step": ("torch", "mamba-ssm", "triton"),
    "delta_scan": ("torch", "naive"),
    "delta_step": ("torch",),
    "causal_conv": ("torch",),
    "causal_conv_step": ("torch",),
    "attention": ("torch", "naive"),
    "attention_step": ("torch",),
}
"""The implementations of each op; the first runs anywhere, `triton` only where it is forced."""

_forced: dict[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An op, the implementation that runs, and the reason in words."""

    op: str
    implementation: str
    reason: str


@cache
def _decide(op: str, device: torch.device, dtype: torch.dtype) -> Choice:
    if "mamba-ssm" not in IMPLEMENTATIONS[op]:
        return Choice(op=op, implementation="torch", reason="the only fast implementation")
    if device.type != "cuda":
        reason = f"library kernels need CUDA, the tensors are on {device.type}"
        return Choice(op=op, implementation="torch", reason=reason)
    if dtype == torch.float64:
        reason = "library kernels have no float64"
        return Choice(op=op, implementation="torch", reason=reason)
    if dtype == torch.float32 and op == "ssd_scan":
        reason = "library kernels round float32 products to TF32"
        return Choice(op=op, implementation="torch", reason=reason)
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        reason = f"library kernels need compute capability 8.0, this is {major}.{minor}"
        return Choice(op=op, implementation="torch", reason=reason)
    kernels = mamba_ssm_kernels.load()
    if kernels.scan is None:
        return Choice(op=op, implementation="torch", reason=kernels.reason)
    return Choice(op=op, implementation="mamba-ssm", reason=kernels.reason)


def choose(
    op: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Choice:
    """What runs for `op` on `device` with `dtype`."""
    if op not in IMPLEMENTATIONS:
        raise ValueError(f"unknown op {op!r}; known: {', '.join(IMPLEMENTATIONS)}")
    if op in _forced:
        return Choice(op=op, implementation=_forced[op], reason="forced")
    return _decide(op, torch.device(device), dtype)


@contextmanager
def forced(op: str, implementation: str) -> Iterator[None]:
    """Run `op` by `implementation` inside the block."""
    if implementation not in IMPLEMENTATIONS.get(op, ()):
        known = ", ".join(IMPLEMENTATIONS.get(op, ()))
        raise ValueError(f"{op} has no implementation {implementation!r}; known: {known}")
    before = _forced.get(op)
    _forced[op] = implementation
    try:
        yield
    finally:
        if before is None:
            del _forced[op]
        else:
            _forced[op] = before


def describe(
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[Choice, ...]:
    """The choice for every op."""
    return tuple(choose(op, device, dtype) for op in IMPLEMENTATIONS)
