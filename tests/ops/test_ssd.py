"""The scan against stored float64 results, against its loop, and against itself in pieces."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from mamtra_cli.ops import dispatch
from mamtra_cli.ops.ssd import ssd_scan, ssd_scan_naive, ssd_step

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 2e-2}


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        meta = {name: json.loads(value) for name, value in file.metadata().items()}
    return tensors, meta


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want).abs().max() / want.abs().max())


def arguments(
    tensors: dict[str, Tensor], meta: dict[str, Any], dtype: torch.dtype
) -> tuple[list[Tensor], dict[str, Any]]:
    """Positional and keyword arguments; decays and states stay float32 under half precision."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    model = {"x", "B", "C", "z"}
    cast = {
        name: value if name == "seq_idx" else value.to(dtype if name in model else wide)
        for name, value in tensors.items()
    }
    names = ("D", "z", "dt_bias", "initial_state", "seq_idx")
    options: dict[str, Any] = {name: cast[name] for name in names if name in cast}
    limit = meta["dt_limit"]
    options["dt_limit"] = None if limit is None else tuple(limit)
    options["dt_softplus"] = meta["dt_softplus"]
    return [cast[name] for name in ("x", "dt", "A", "B", "C")], options


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("form", [ssd_scan, ssd_scan_naive], ids=["chunked", "naive"])
def test_ssd_scan_equals_every_stored_case(goldens: Path, form: Any, dtype: torch.dtype) -> None:
    paths = sorted((goldens / "hybrid").glob("ssd_scan_*.safetensors"))
    assert paths
    for path in paths:
        tensors, meta = load(path)
        inputs, options = arguments(tensors, meta, dtype)
        y, state = form(*inputs, **options)
        assert y.dtype == dtype
        assert state.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert relative(y, tensors["y"]) <= TOLERANCES[dtype], path.stem
        assert relative(state, tensors["final_state"]) <= TOLERANCES[dtype], path.stem


@pytest.mark.parametrize("chunk", [1, 16, 64, 1000], ids=lambda q: f"chunk{q}")
def test_stored_cases_hold_for_any_chunk(goldens: Path, chunk: int) -> None:
    for path in sorted((goldens / "hybrid").glob("ssd_scan_*.safetensors")):
        tensors, meta = load(path)
        if chunk == 1 and meta["length"] > 100:
            continue
        inputs, options = arguments(tensors, meta, torch.float32)
        y, state = ssd_scan(*inputs, **options, chunk=chunk)
        assert relative(y, tensors["y"]) <= 1e-5, path.stem
        assert relative(state, tensors["final_state"]) <= 1e-5, path.stem


def problem(
    batch: int = 2,
    length: int = 13,
    heads: int = 4,
    groups: int = 2,
    width: int = 3,
    states: int = 5,
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(length)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return {
        "x": draw(batch, length, heads, width),
        "dt": draw(batch, length, heads),
        "A": -draw(heads).exp(),
        "B": draw(batch, length, groups, states),
        "C": draw(batch, length, groups, states),
        "D": draw(heads, width),
        "z": draw(batch, length, heads, width),
        "dt_bias": draw(heads),
        "gain": draw(batch, length, heads),
        "initial_state": draw(batch, heads, width, states),
    }


@pytest.mark.parametrize("segments", [False, True], ids=["one", "packed"])
@pytest.mark.parametrize("groups", [1, 2, 4], ids=lambda g: f"groups{g}")
def test_gradients_of_chunked_scan_equal_those_of_the_loop(groups: int, segments: bool) -> None:
    values = problem(groups=groups)
    ids = torch.tensor([[0] * 2 + [1] * 7 + [0] * 4, [5] * 12 + [6]]) if segments else None
    grads = []
    for form, extra in ((ssd_scan_naive, {}), (ssd_scan, {"chunk": 4}), (ssd_scan, {})):
        leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
        y, state = form(**leaves, seq_idx=ids, **extra)  # type: ignore[arg-type]
        (y.sin().sum() + state.cos().sum()).backward()
        grads.append({name: leaf.grad for name, leaf in leaves.items()})
    for other in grads[1:]:
        for name, grad in grads[0].items():
            torch.testing.assert_close(other[name], grad, msg=lambda m, n=name: f"{n}: {m}")


def test_chunked_scan_passes_gradcheck() -> None:
    values = problem(batch=1, length=5, heads=2, groups=1, width=2, states=2)
    names = list(values)

    def run(*leaves: Tensor) -> tuple[Tensor, Tensor]:
        return ssd_scan(**dict(zip(names, leaves, strict=True)), chunk=2)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(run, [value.requires_grad_() for value in values.values()])


def test_checkpointed_scan_has_the_same_gradients() -> None:
    grads = []
    for checkpoint in (False, True):
        leaves = {name: value.clone().requires_grad_() for name, value in problem().items()}
        y, state = ssd_scan(**leaves, chunk=4, checkpoint=checkpoint)  # type: ignore[arg-type]
        (y.sum() + state.sum()).backward()
        grads.append([leaf.grad for leaf in leaves.values()])
    torch.testing.assert_close(grads[0], grads[1])


def test_gradients_stay_finite_under_extreme_decay() -> None:
    values = {name: value.float() for name, value in problem(length=70).items()}
    values["A"] = values["A"] * 1e4
    leaves = {name: value.requires_grad_() for name, value in values.items()}
    y, state = ssd_scan(**leaves)  # type: ignore[arg-type]
    (y.sum() + state.sum()).backward()
    for name, leaf in leaves.items():
        assert leaf.grad is not None, name
        assert torch.isfinite(leaf.grad).all(), name


@pytest.mark.parametrize("gain", [None, 1.0, 0.5, "tensor"], ids=str)
def test_carried_state_and_steps_equal_one_scan(gain: Any) -> None:
    values = problem()
    per_token = values.pop("gain")
    per_token_names = ("x", "dt", "B", "C", "z")

    def part(start: int, end: int) -> dict[str, Any]:
        cut = {name: values[name][:, start:end] for name in per_token_names}
        return {
            **values,
            **cut,
            "gain": per_token[:, start:end] if gain == "tensor" else gain,
        }

    want, final = ssd_scan(**part(0, 13))
    y, state = ssd_scan(**part(0, 6))
    parts = [y]
    for t in range(6, 13):
        token = part(t, t + 1)
        token.pop("initial_state")
        for name in (*per_token_names, *(["gain"] if gain == "tensor" else [])):
            token[name] = token[name][:, 0]
        before = state.clone()
        untouched, _ = ssd_step(state, **token)
        assert torch.equal(state, before)
        with torch.no_grad():
            y, after = ssd_step(state, **token, in_place=True)
        assert after is state
        torch.testing.assert_close(y, untouched)
        parts.append(y[:, None])
    torch.testing.assert_close(torch.cat(parts, dim=1), want)
    torch.testing.assert_close(state, final)


def test_zero_step_is_inert() -> None:
    values = problem()
    values["gain"][:, 5:] = 0.0
    values["dt"][:, 5:] = -torch.inf
    _, final = ssd_scan(**values)  # type: ignore[arg-type]
    short = {
        n: v[:, :5] if n in ("x", "dt", "B", "C", "z", "gain") else v for n, v in values.items()
    }
    _, want = ssd_scan(**short)  # type: ignore[arg-type]
    torch.testing.assert_close(final, want)


def test_forced_naive_runs_the_loop() -> None:
    values = problem()
    want = ssd_scan(**values)  # type: ignore[arg-type]
    with dispatch.forced("ssd_scan", "naive"):
        got = ssd_scan(**values)  # type: ignore[arg-type]
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", ["dt", "A", "B", "C"])
def test_wrong_shape_is_refused(name: str) -> None:
    values = problem()
    values[name] = values[name][..., :-1] if name != "B" else values[name][:, :-1]
    with pytest.raises(ValueError, match="for x"):
        ssd_scan(**values)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_gpu_scan_equals_every_stored_case(goldens: Path, dtype: torch.dtype) -> None:
    for path in sorted((goldens / "hybrid").glob("ssd_scan_*.safetensors")):
        tensors, meta = load(path)
        inputs, options = arguments(tensors, meta, dtype)
        inputs = [value.cuda() for value in inputs]
        options = {n: v.cuda() if isinstance(v, Tensor) else v for n, v in options.items()}
        y, state = ssd_scan(*inputs, **options)
        limit = 5e-5 if dtype == torch.float32 else 2e-2
        assert relative(y.cpu(), tensors["y"]) <= limit, path.stem
        assert relative(state.cpu(), tensors["final_state"]) <= limit, path.stem
