"""The gated delta rule: chunks equal the loop, gradients too, and steps overwrite in place."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mamtra_cli.ops import dispatch
from mamtra_cli.ops.delta import delta_scan, delta_scan_naive, delta_step


def values(
    length: int, heads: int = 2, readers: int = 4, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(length)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    k = draw(2, length, heads, 6)
    made = {
        "v": draw(2, length, heads, 5),
        "log_decay": -torch.rand(2, length, heads, generator=generator, dtype=torch.float64),
        "beta": torch.rand(2, length, heads, generator=generator, dtype=torch.float64),
        "k": k / k.norm(dim=-1, keepdim=True),
        "q": draw(2, length, readers, 6),
    }
    return {name: value.to(dtype) for name, value in made.items()}


def test_loop_is_the_published_rule() -> None:
    given = values(7)
    y, final = delta_scan_naive(**given)
    state = torch.zeros(5, 6, dtype=torch.float64)
    for t in range(7):
        k, v, beta = (given[name][1, t, 1] for name in ("k", "v", "beta"))
        keep = torch.eye(6, dtype=torch.float64) - beta * torch.outer(k, k)
        state = given["log_decay"][1, t, 1].exp() * state @ keep + beta * torch.outer(v, k)
        for reader in (2, 3):
            torch.testing.assert_close(y[1, t, reader], state @ given["q"][1, t, reader])
    torch.testing.assert_close(final[1, 1], state)


@pytest.mark.parametrize("length", [1, 5, 8, 23])
@pytest.mark.parametrize("carried", [False, True], ids=["fresh", "carried"])
@pytest.mark.parametrize("packed", [False, True], ids=["one", "packed"])
def test_chunks_equal_the_loop(length: int, carried: bool, packed: bool) -> None:
    given: dict[str, Any] = values(length)
    if carried:
        given["initial_state"] = torch.randn(2, 2, 5, 6, dtype=torch.float64)
    if packed:
        ids = torch.arange(length) // 3
        given["seq_idx"] = torch.stack((ids, torch.zeros_like(ids)))
    want, final = delta_scan_naive(**given)
    got, state = delta_scan(**given, chunk=8)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state, final, rtol=1e-10, atol=1e-10)
    with dispatch.forced("delta_scan", "naive"):
        torch.testing.assert_close(delta_scan(**given)[0], want)


def test_gradients_of_chunks_equal_the_loops() -> None:
    given = values(11)
    grads = []
    for scan in (delta_scan_naive, delta_scan):
        inputs = {name: value.clone().requires_grad_() for name, value in given.items()}
        more = {"chunk": 4, "checkpoint": True} if scan is delta_scan else {}
        y, state = scan(**inputs, **more)
        grads.append(torch.autograd.grad(y.square().sum() + state.sum(), list(inputs.values())))
    for got, want in zip(*grads, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_steps_in_place_equal_the_scan() -> None:
    given = values(6)
    want, final = delta_scan(**given)
    state = torch.zeros(2, 2, 5, 6, dtype=torch.float64)
    untouched, _ = delta_step(state, **{name: value[:, 0] for name, value in given.items()})
    assert not state.any()
    torch.testing.assert_close(untouched, want[:, 0])
    for t in range(6):
        token = {name: value[:, t] for name, value in given.items()}
        y, after = delta_step(state, **token, in_place=True)
        assert after is state
        torch.testing.assert_close(y, want[:, t])
    torch.testing.assert_close(state, final)


def test_half_precision_keeps_a_wide_state() -> None:
    given = values(20, dtype=torch.bfloat16)
    y, state = delta_scan(**given)
    want, _ = delta_scan(**{name: value.double() for name, value in given.items()})
    assert y.dtype == torch.bfloat16
    assert state.dtype == torch.float32
    torch.testing.assert_close(y.double(), want, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", ["beta", "k", "q"])
def test_wrong_shapes_are_refused(name: str) -> None:
    given = values(3)
    given[name] = given[name][:, :, :1]
    if name == "q":
        given[name] = given["q"].repeat(1, 1, 3, 1)
    with pytest.raises(ValueError):
        delta_scan(**given)
