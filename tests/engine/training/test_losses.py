"""Losses against float64 references, and the traps of public implementations."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mamtra_cli.engine.training.head_loss import LossWeights, distillation_loss
from mamtra_cli.engine.training.losses import (
    DIVERGENCES,
    HIDDEN,
    IGNORE,
    Divergence,
    cross_entropy,
    hidden_distance,
    topk_kl,
)

NAME = re.compile(
    r"(?P<kind>kl_forward|kl_reverse|skew_forward|skew_reverse|js|tv)"
    r"(?:_(?P<alpha>[\d.]+))?(?:_top(?P<k>\d+)_(?P<rest>tail|renorm))?\.T(?P<T>[\d.]+)"
)
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


def golden_divergence(name: str) -> Divergence:
    match = NAME.fullmatch(name)
    assert match, name
    return Divergence(
        kind="kl_topk" if match["k"] else match["kind"],
        alpha=float(match["alpha"] or 0),
        temperature=float(match["T"]),
        top_k=int(match["k"] or 1),
        rest="renorm" if match["rest"] == "renorm" else "bucket",
    )


def close(got: Tensor, want: Tensor, tolerance: float) -> None:
    got, want = got.detach().double(), want.detach().double()
    error = float((got - want).abs().max() / want.abs().max().clamp_min(1e-30))
    assert error <= tolerance, error


@pytest.fixture(scope="module")
def golden(goldens: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    folder = goldens / "hybrid"
    values = json.loads((folder / "losses_values.json").read_text())
    return load_file(folder / "losses.safetensors"), values


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
def test_every_golden_value_is_reproduced(
    golden: tuple[dict[str, Tensor], dict[str, float]], dtype: torch.dtype
) -> None:
    tensors, values = golden
    student, teacher = (tensors[f"{who}_logits"].to(dtype) for who in ("student", "teacher"))
    hidden_s, hidden_t = (tensors[f"{who}_hidden"].to(dtype) for who in ("student", "teacher"))
    targets = tensors["targets"]
    mask = targets != IGNORE
    tolerance = TOLERANCE[dtype]
    seen = 0
    for name, value in values.items():
        assert float(tensors[f"value.{name}"]) == pytest.approx(value, rel=1e-12)
        if name.startswith("ce_"):
            smoothing = float(name.rpartition("_")[2]) if "smoothing" in name else 0.0
            per_token = cross_entropy(student, targets, smoothing=smoothing)
            if not smoothing:
                close(per_token * mask, tensors["ce_per_token"] * mask, tolerance)
            got = row_mean(per_token, mask) if "sequence" in name else per_token[mask].mean()
        elif name.startswith("hidden_"):
            kind, _, which = name.removeprefix("hidden_").partition(".")
            layers = range(len(hidden_s)) if which == "mean" else [int(which[5:])]
            parts = [hidden_distance(hidden_s[i], hidden_t[i], mask, kind=kind) for i in layers]
            got = torch.stack(parts).mean()
        else:
            per_token = golden_divergence(name)(student, teacher)
            want = tensors[f"{name}.per_token"]
            close(per_token * mask, want * mask, tolerance)
            got = per_token[mask].mean()
        close(got, torch.tensor(value, dtype=torch.float64), tolerance)
        seen += 1
    assert seen == len(values) > 0


def row_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of the means of rows (B, T)."""
    return torch.stack([row[own].mean() for row, own in zip(values, mask, strict=True)]).mean()


def pair(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    student = torch.randn(2, 5, 7, generator=generator, dtype=dtype) * 2
    teacher = torch.randn(2, 5, 7, generator=generator, dtype=dtype) * 2
    return student, teacher


@pytest.mark.parametrize("kind", DIVERGENCES)
@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("rest", ["bucket", "renorm"])
def test_divergence_is_nonnegative_and_zero_at_equality(kind: str, alpha: float, rest: str) -> None:
    student, teacher = pair()
    loss = Divergence(kind=kind, alpha=alpha, top_k=3, rest=rest)
    assert bool((loss(student, teacher) >= 0).all())
    close(loss(teacher + 1.5, teacher) + 1, torch.ones(()), 1e-12)


@pytest.mark.parametrize("kind", DIVERGENCES)
def test_divergence_gradient_is_right(kind: str) -> None:
    student, teacher = pair()
    loss = Divergence(kind=kind, alpha=0.2, temperature=1.7, t2=True, top_k=3)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), (student,))


@pytest.mark.parametrize("kind", HIDDEN)
def test_hidden_gradient_is_right(kind: str) -> None:
    student, teacher = pair()
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[1, 3:] = False
    student.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: hidden_distance(s, teacher, mask, kind=kind), (student,)
    )


def test_cross_entropy_gradient_is_right() -> None:
    logits = pair()[0].requires_grad_()
    targets = torch.tensor([[0, 1, IGNORE, 3, 4], [5, 6, 0, IGNORE, IGNORE]])

    def mean(value: Tensor) -> Tensor:
        return cross_entropy(value, targets, smoothing=0.1)[targets != IGNORE].mean()

    assert torch.autograd.gradcheck(mean, (logits,))


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = pair()
    student.requires_grad_()
    teacher.requires_grad_()
    for kind in DIVERGENCES:
        Divergence(kind=kind)(student, teacher).sum().backward()
    for kind in HIDDEN:
        hidden_distance(student, teacher, kind=kind).backward()
    assert teacher.grad is None


def test_forward_and_reverse_are_not_swapped() -> None:
    p, q = torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5])
    forward = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    got = Divergence(kind="kl_forward")(q.log(), p.log())
    assert float(got) == pytest.approx(forward, rel=1e-6)


def test_t2_multiplies_by_the_square() -> None:
    student, teacher = pair()
    plain = Divergence(kind="kl_forward", temperature=3.0)(student, teacher)
    scaled = Divergence(kind="kl_forward", temperature=3.0, t2=True)(student, teacher)
    close(scaled, plain * 9, 1e-12)


def test_bucket_is_a_lower_bound_and_exact_at_full_size() -> None:
    student, teacher = pair()
    full = Divergence(kind="kl_forward")(student, teacher)
    for k in range(1, 8):
        assert bool((Divergence(kind="kl_topk", top_k=k)(student, teacher) <= full + 1e-12).all())
    close(Divergence(kind="kl_topk", top_k=99)(student, teacher), full, 1e-12)


def test_bucket_of_a_half_precision_cache_is_close_to_live() -> None:
    student, teacher = pair(torch.float32)
    top, ids = teacher.log_softmax(-1).topk(3)
    live = Divergence(kind="kl_topk", top_k=3)(student, teacher)
    close(topk_kl(student, ids, top.half(), rest="bucket"), live, 5e-3)


def run_distillation(chunk: int, weights: LossWeights, codebooks: int = 1) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64).requires_grad_()
    aim = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    table = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    targets = torch.tensor([[0, 1, IGNORE, 3, 4], [5, 0, 0, IGNORE, IGNORE]])
    targets = torch.stack([targets.roll(k, 1) for k in range(codebooks)], -1)  # (2, 5, K)

    def head(value: Tensor) -> Tensor:
        return torch.stack([value @ table.T * (k + 1) for k in range(codebooks)], -2)

    losses = distillation_loss(
        hidden,
        aim,
        head,
        head,
        targets,
        weights=weights,
        divergence=Divergence(),
        layers=[(hidden, aim), (hidden * 2, aim)],
        chunk=chunk,
    )
    losses.total.backward()
    assert hidden.grad is not None
    mask = targets != IGNORE
    ce = cross_entropy(head(hidden), targets)[mask].mean()
    kl = Divergence()(head(hidden), head(aim))[mask].mean()
    gap = (hidden_distance(hidden, aim) + hidden_distance(hidden * 2, aim)) / 2
    want = weights.ce * ce + weights.divergence * kl + weights.hidden * gap
    (grad,) = torch.autograd.grad(want, hidden)
    close(losses.total, want, 1e-12)
    close(hidden.grad, grad, 1e-10)
    return dict(losses.parts)


@pytest.mark.parametrize("codebooks", [1, 3], ids=["one-codebook", "three-codebooks"])
@pytest.mark.parametrize("chunk", [1, 3, 1024])
def test_chunked_total_equals_the_plain_sum(chunk: int, codebooks: int) -> None:
    weights = LossWeights(ce=0.3, divergence=1.1, hidden=0.2)
    parts = run_distillation(chunk, weights, codebooks)
    assert set(parts) == {"ce", "skew_forward", "hidden_nmse"}


def test_zero_weights_drop_their_term() -> None:
    parts = run_distillation(2, LossWeights(ce=1.0, divergence=0.0, hidden=0.0))
    assert "hidden_nmse" not in parts


@pytest.mark.parametrize(
    "make",
    [
        lambda: Divergence(kind="kl"),
        lambda: Divergence(alpha=1.0),
        lambda: Divergence(temperature=0.0),
        lambda: Divergence(rest="drop"),
        lambda: Divergence()(torch.zeros(2, 3), torch.zeros(2, 4)),
        lambda: hidden_distance(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4)),
        lambda: hidden_distance(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), kind="mae"),
    ],
    ids=["kind", "alpha", "temperature", "rest", "logits", "hidden", "distance"],
)
def test_wrong_use_is_a_value_error(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        make()
