"""The causal convolution against stored results, its loop, and itself in pieces."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mamtra_cli.ops.causal_conv import (
    causal_conv,
    causal_conv_naive,
    causal_conv_step,
    segment_runs,
)

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 2e-2}


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want).abs().max() / want.abs().max())


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("form", [causal_conv, causal_conv_naive], ids=["fast", "naive"])
def test_causal_conv_equals_the_stored_case(goldens: Path, form: Any, dtype: torch.dtype) -> None:
    data = load_file(goldens / "hybrid" / "conv_causal.safetensors")
    u, weight, bias = (data[name].to(dtype) for name in ("u", "weight", "bias"))
    state = data["initial_conv_state"].to(dtype)
    short = data["y_short"].shape[1]
    runs: list[tuple[dict[str, Any], str, str | None]] = [
        ({"u": u}, "y_zero_init", "conv_state_after"),
        ({"u": u, "activation": "silu"}, "y_zero_init_silu", "conv_state_after"),
        (
            {"u": u, "activation": "silu", "state": state},
            "y_with_init_silu",
            "conv_state_after_with_init",
        ),
        ({"u": u, "activation": "silu", "seq_idx": data["seq_idx"]}, "y_segments_silu", None),
        ({"u": u[:, :short], "state": state}, "y_short", "conv_state_short"),
    ]
    for options, y_name, state_name in runs:
        y, after = form(weight=weight, bias=bias, **options)
        assert y.dtype == dtype
        assert relative(y, data[y_name]) <= TOLERANCES[dtype], y_name
        if state_name is not None:
            assert relative(after, data[state_name]) <= TOLERANCES[dtype], state_name


def problem(taps: int = 4, length: int = 11) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(taps)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return {
        "u": draw(2, length, 3),
        "weight": draw(3, taps),
        "bias": draw(3),
        "state": draw(2, 3, taps - 1),
    }


@pytest.mark.parametrize("taps", [1, 2, 4], ids=lambda w: f"taps{w}")
@pytest.mark.parametrize("segments", [False, True], ids=["one", "packed"])
def test_fast_form_and_its_gradients_equal_the_loop(taps: int, segments: bool) -> None:
    ids = torch.tensor([[0] * 2 + [1] * 7 + [0] * 2, [5] * 10 + [6]]) if segments else None
    results = []
    for form in (causal_conv_naive, causal_conv):
        leaves = {name: value.requires_grad_() for name, value in problem(taps).items()}
        y, after = form(**leaves, seq_idx=ids, activation="silu")
        grads = torch.autograd.grad(y.sin().sum() + after.cos().sum(), list(leaves.values()))
        results.append((y, after, *grads))
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize("taps", [1, 2, 4], ids=lambda w: f"taps{w}")
def test_pieces_and_steps_equal_one_call(taps: int) -> None:
    values = problem(taps)
    u, state = values.pop("u"), values.pop("state")
    want, final = causal_conv(u, **values, state=state, activation="silu")
    y, state = causal_conv(u[:, :2], **values, state=state, activation="silu")
    parts = [y]
    for t in range(2, u.shape[1]):
        y, state = causal_conv_step(u[:, t], values["weight"], values["bias"], state, "silu")
        parts.append(y[:, None])
    torch.testing.assert_close(torch.cat(parts, dim=1), want)
    torch.testing.assert_close(state, final)


@pytest.mark.parametrize("taps", [1, 4], ids=lambda w: f"taps{w}")
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("carried", [False, True], ids=["fresh", "carried"])
@pytest.mark.parametrize("packed", [False, True], ids=["one", "packed"])
def test_padding_leaves_no_trace(taps: int, side: str, carried: bool, packed: bool) -> None:
    values = problem(taps)
    u, state = values.pop("u"), values.pop("state")
    real = torch.tensor([9, 2])
    places = torch.arange(11)
    mask = places < real[:, None] if side == "right" else places >= 11 - real[:, None]
    ids = torch.where(mask, places // 3, -1) if packed else None
    y, after = causal_conv(
        torch.where(mask[..., None], u, 1e3),
        **values,
        state=state if carried else None,
        seq_idx=ids,
        pad_mask=mask,
    )
    for row in range(2):
        kept = mask[row]
        want, final = causal_conv_naive(
            u[row][kept][None],
            **values,
            state=state[row : row + 1] if carried else None,
            seq_idx=None if ids is None else ids[row][kept][None],
        )
        torch.testing.assert_close(y[row][kept][None], want)
        if not packed:
            torch.testing.assert_close(after[row : row + 1], final)


def test_segment_runs_count_changes_and_skip_pads() -> None:
    ids = torch.tensor([[4, 4, 2, 2, 4], [9, 1, 1, 9, 2]])
    assert segment_runs(ids).tolist() == [[0, 0, 1, 1, 2], [0, 1, 1, 2, 3]]
    mask = torch.tensor([[True, True, True, True, False], [False, True, True, False, True]])
    assert segment_runs(ids, mask).tolist() == [[0, 0, 1, 1, 1], [0, 0, 0, 0, 1]]


def test_wrong_shapes_are_refused() -> None:
    values = problem()
    with pytest.raises(ValueError, match="for 3 channels"):
        causal_conv(values["u"], values["weight"][:2])
    with pytest.raises(ValueError, match="expected"):
        causal_conv(values["u"], values["weight"], state=values["state"][:1])
    with pytest.raises(ValueError, match="relu"):
        causal_conv(values["u"], values["weight"], activation="relu")


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "pads"])
def test_state_holds_nothing_but_itself(masked: bool) -> None:
    given = problem(length=50)
    mask = torch.ones(2, 50, dtype=torch.bool) if masked else None
    _, after = causal_conv(**given, pad_mask=mask)
    assert after.untyped_storage().nbytes() == after.nbytes
