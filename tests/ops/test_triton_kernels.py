"""Triton kernels against their slow twins: on a GPU where there is one, else in the interpreter."""

import importlib.util
import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mamtra_cli.ops.dispatch import forced
from mamtra_cli.ops.ssd import ssd_scan, ssd_scan_naive, ssd_step

if importlib.util.find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:triton")


@pytest.fixture(autouse=True, scope="module")
def interpreter() -> Iterator[None]:
    """Read kernels with the interpreter where no GPU runs them."""
    before = os.environ.get("TRITON_INTERPRET")
    if DEVICE == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    yield
    if before is None:
        os.environ.pop("TRITON_INTERPRET", None)
    else:
        os.environ["TRITON_INTERPRET"] = before


def random(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).to(DEVICE)


def same(got: Tensor, want: Tensor) -> None:
    assert got.shape == want.shape
    assert float((got - want).abs().max()) <= 3e-6 * float(want.abs().max())


@pytest.mark.parametrize("gain", [None, 1.0, 0.5], ids=["dt", "one", "half"])
@pytest.mark.parametrize(
    ("heads", "groups", "readers"),
    [(4, 4, 4), (4, 2, 4), (2, 2, 6)],
    ids=["own", "gqa", "kv-state"],
)
def test_a_step_is_that_of_its_twin(
    gain: float | None, heads: int, groups: int, readers: int
) -> None:
    state, x, dt = random(3, heads, 6, 12), random(3, groups, 6), random(3, heads)
    A, B, C = -random(heads).abs(), random(3, groups, 12), random(3, readers, 12)
    skip, bias = random(readers), random(heads)
    want, after = ssd_step(state, x, dt, A, B, C, D=skip, dt_bias=bias, gain=gain, force="torch")
    held = state.clone()
    got, kept = ssd_step(
        held, x, dt, A, B, C, D=skip, dt_bias=bias, gain=gain, in_place=True, force="triton"
    )
    same(got, want)
    same(kept, after)
    assert kept is held


@pytest.mark.parametrize("length", [1, 16, 37])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("initial", [False, True])
def test_a_scan_is_that_of_its_twin(length: int, packed: bool, initial: bool) -> None:
    x, dt, A = random(2, length, 4, 6), random(2, length, 4), -random(4).abs() * 9
    B, C = random(2, length, 2, 12), random(2, length, 2, 12)
    rows = torch.stack((torch.arange(length) // 7, torch.arange(length) // 16)).to(DEVICE)
    asked = {
        "D": random(4),
        "dt_bias": random(4),
        "initial_state": random(2, 4, 6, 12) if initial else None,
        "seq_idx": rows if packed else None,
    }
    want, state = ssd_scan_naive(x, dt, A, B, C, **asked)
    with forced("ssd_scan", "triton"):
        got, last = ssd_scan(x, dt, A, B, C, chunk=16, **asked)
    same(got, want)
    same(last, state)


def test_gradients_go_the_way_of_torch() -> None:
    x = random(1, 16, 2, 6).requires_grad_()
    with forced("ssd_scan", "triton"):
        y, _ = ssd_scan(
            x, random(1, 16, 2), -torch.ones(2).to(DEVICE), random(1, 16, 1, 8), random(1, 16, 1, 8)
        )
    assert y.requires_grad


def test_what_kernels_cannot_hold_is_refused() -> None:
    from mamtra_cli.ops import triton_kernels

    drive, logs, keys = random(1, 4, 1, 8), random(1, 4, 1), random(1, 4, 1, 8)
    with pytest.raises(ValueError, match="no power of two"):
        triton_kernels.scan(drive, logs, keys, keys, None, None, 24)
    state, x, each, keys = random(1, 2, 4, 4), random(1, 2, 4), random(1, 2), random(1, 3, 4)
    with pytest.raises(ValueError, match="readers"):
        triton_kernels.step(state, x, each, each, keys[:, :2], keys)
