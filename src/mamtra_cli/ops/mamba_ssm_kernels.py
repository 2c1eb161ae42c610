"""The one place that knows the optional `mamba_ssm` kernels: finding them and mapping arguments.

Nothing else imports that package. Its `__init__` needs compiled parts that the Triton kernels do
not, so after a failed ordinary import the kernels are tried below a bare stand-in package, which
is taken away again if that fails too: other libraries probe for `mamba_ssm`. Versions say little
(features change under one number), so signatures are looked at.
Source: state-spaces/mamba, `ops/triton/ssd_combined.py` and `selective_state_update.py`.
"""

import importlib
import importlib.machinery
import inspect
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

MAX_TOKENS = 32_768
"""Tokens (batch times length) a call; the kernels' 32-bit offsets fail silently above about 61k."""

_SCAN_NEEDS = {
    "x",
    "dt",
    "A",
    "B",
    "C",
    "chunk_size",
    "initial_states",
    "seq_idx",
    "dt_softplus",
    "return_final_states",
}
_STEP_NEEDS = {"state", "x", "dt", "A", "B", "C", "D", "dt_bias", "dt_softplus"}


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """The two functions, or why there are none."""

    scan: Callable[..., Any] | None
    step: Callable[..., Any] | None
    reason: str


def _import_kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    combined = importlib.import_module("mamba_ssm.ops.triton.ssd_combined")
    update = importlib.import_module("mamba_ssm.ops.triton.selective_state_update")
    return combined.mamba_chunk_scan_combined, update.selective_state_update


def _forget_partial_imports(before: set[str]) -> None:
    for name in [n for n in sys.modules if n == "mamba_ssm" or n.startswith("mamba_ssm.")]:
        if name not in before:
            del sys.modules[name]


def _import_below_stand_in() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Import the kernels without running the package's `__init__`."""
    spec = importlib.machinery.PathFinder.find_spec("mamba_ssm")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("mamba_ssm is not installed")
    stand_in = types.ModuleType("mamba_ssm")
    stand_in.__path__ = list(spec.submodule_search_locations)
    sys.modules["mamba_ssm"] = stand_in
    return _import_kernels()


@cache
def load() -> Kernels:
    """Find the kernels once and say how, or why not."""
    before = {n for n in sys.modules if n == "mamba_ssm" or n.startswith("mamba_ssm.")}
    if not before and importlib.machinery.PathFinder.find_spec("mamba_ssm") is None:
        return Kernels(scan=None, step=None, reason="mamba_ssm is not installed")
    how = "imported"
    try:
        scan, step = _import_kernels()
    except Exception as first:  # a broken installation may raise anything at import
        _forget_partial_imports(before)
        how = f"imported without the package's __init__ ({type(first).__name__}: {first})"
        try:
            scan, step = _import_below_stand_in()
        except Exception as second:
            _forget_partial_imports(before)
            return Kernels(
                scan=None,
                step=None,
                reason=f"mamba_ssm cannot be imported ({type(second).__name__}: {second})",
            )
    for name, function, needs in (
        ("mamba_chunk_scan_combined", scan, _SCAN_NEEDS),
        ("selective_state_update", step, _STEP_NEEDS),
    ):
        missing = needs - set(inspect.signature(function).parameters)
        if missing:
            return Kernels(
                scan=None,
                step=None,
                reason=f"{name} of mamba_ssm lacks {', '.join(sorted(missing))}",
            )
    return Kernels(scan=scan, step=step, reason=f"mamba_ssm {how}")


def _decoupled(x: Tensor, dt: Tensor, gain: Tensor | float | None) -> Tensor:
    """x: (..., H, P) such that the kernel's own gain `dt` (..., H) gives the asked one."""
    if gain is None:
        return x
    if not isinstance(gain, Tensor):
        gain = torch.full_like(dt, gain)
    # dt is 0 on pads, where x is 0 too: any finite factor will do there.
    ratio = gain.to(dt.dtype) / torch.where(dt == 0, torch.ones_like(dt), dt)
    scaled = x * ratio[..., None]
    # A small step makes a large input, which float16 may not hold.
    return scaled if x.dtype == torch.float16 else scaled.to(x.dtype)


def scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    gain: Tensor | float | None,
    initial_state: Tensor | None,
    runs: Tensor | None,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """Scan with the library kernel, in pieces of at most `MAX_TOKENS` with carried state.

    Args:
        x: (B, T, H, P).
        dt: (B, T, H) effective step sizes, float32.
        A: (H,).
        B, C: (B, T, G, N).
        gain: as in `ssd_scan`.
        initial_state: (B, H, P, N).
        runs: (B, T) numbered packed sequences, non-decreasing along a row.
        chunk: tokens a chunk; a power of two of at least 16.

    Returns:
        y: (B, T, H, P) without skip or gate; final state (B, H, P, N) float32. For float16 `x`
            with a gain of its own, y is float32.
    """
    kernel = load().scan
    if kernel is None:
        raise ValueError(load().reason)
    batch, length = x.shape[:2]
    if batch > MAX_TOKENS:
        raise ValueError(f"batch of {batch} rows exceeds {MAX_TOKENS} tokens a call")
    piece = MAX_TOKENS // batch
    x = _decoupled(x, dt, gain)
    state = initial_state
    outputs = []
    for start in range(0, length, piece):
        end = min(start + piece, length)
        if state is not None and runs is not None and start > 0:
            same = runs[:, start] == runs[:, start - 1]
            state = state * same[:, None, None, None].to(state.dtype)
        numbers = None
        if runs is not None:
            # The kernel gives its initial state to sequence 0 alone.
            numbers = (runs[:, start:end] - runs[:, start : start + 1]).to(torch.int32).contiguous()
        y, state = kernel(
            x[:, start:end],
            dt[:, start:end],
            A.float(),
            B[:, start:end].contiguous(),
            C[:, start:end].contiguous(),
            chunk_size=chunk,
            initial_states=None if state is None else state.float(),
            seq_idx=numbers,
            dt_softplus=False,
            return_final_states=True,
        )
        outputs.append(y)
    assert state is not None
    return torch.cat(outputs, dim=1), state.float()


def step(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    gain: Tensor | float | None,
) -> Tensor:
    """One token with the library kernel; `state` (B, H, P, N) is overwritten.

    Args:
        state: (B, H, P, N) float32.
        x: (B, H, P).
        dt: (B, H) effective step sizes.
        A: (H,).
        B, C: (B, G, N).
        gain: as in `ssd_step`.

    Returns:
        y: (B, H, P) without skip or gate; in float32 as in `scan`.
    """
    kernel = load().step
    if kernel is None:
        raise ValueError(load().reason)
    heads, width, states = state.shape[1:]
    zero = torch.zeros((), device=x.device, dtype=torch.float32)
    # Views with stride 0 over P and N select the kernel's fast path; D and dt_bias must be given.
    y: Tensor = kernel(
        state,
        _decoupled(x, dt, gain),
        dt.float()[..., None].expand(-1, -1, width),
        A.float()[:, None, None].expand(heads, width, states),
        B,
        C,
        D=zero.expand(heads, width),
        dt_bias=zero.expand(heads, width),
        dt_softplus=False,
    )
    return y
