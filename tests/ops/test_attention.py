"""Attention against its slow twin, and what each token may see."""

import math

import pytest
import torch
from torch import Tensor

from mamtra_cli.ops import dispatch
from mamtra_cli.ops.attention import attention, attention_naive, token_index, visible


def problem(
    tokens: int, total: int, heads: int = 6, groups: int = 2, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(tokens)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    return (
        draw(2, tokens, heads, 8),
        draw(2, groups, total, 8),
        draw(2, groups, total, 8),
    )


@pytest.mark.parametrize(
    ("tokens", "total"), [(1, 1), (1, 9), (7, 7), (5, 9)], ids=lambda n: f"{n}"
)
@pytest.mark.parametrize("groups", [1, 2, 6], ids=lambda g: f"groups{g}")
@pytest.mark.parametrize("masked", [False, True], ids=["causal", "mask"])
@pytest.mark.parametrize("scale", [None, 1.0], ids=str)
def test_attention_equals_its_twin(
    tokens: int, total: int, groups: int, masked: bool, scale: float | None
) -> None:
    q, k, v = problem(tokens, total, groups=groups)
    mask = None
    if masked:
        mask = torch.rand(2, tokens, total, generator=torch.Generator().manual_seed(0)) < 0.5
        mask[:, :, 0] = True
    want = attention_naive(q, k, v, mask=mask, scale=scale)
    torch.testing.assert_close(attention(q, k, v, mask=mask, scale=scale), want)
    with dispatch.forced("attention", "naive"):
        assert torch.equal(attention(q, k, v, mask=mask, scale=scale), want)


def test_one_bfloat16_query_is_computed_in_float32() -> None:
    q, k, v = problem(1, 50, dtype=torch.bfloat16)
    want = attention_naive(q.double(), k.double(), v.double())
    got = attention(q, k.float(), v.float())
    assert got.dtype == torch.bfloat16
    # Only the rounding of the result is left.
    torch.testing.assert_close(got.double(), want, rtol=2**-8, atol=1e-6)


def test_gradients_equal_those_of_the_twin() -> None:
    grads = []
    for form in (attention_naive, attention):
        leaves = [value.requires_grad_() for value in problem(4, 6)]
        grads.append(torch.autograd.grad(form(*leaves).sin().sum(), leaves))
    torch.testing.assert_close(grads[1], grads[0])


def brute_force(
    index: list[int],
    runs: list[int],
    past: list[int],
    window: int | None,
    sinks: int,
) -> list[list[bool]]:
    rows = []
    for t, (mine, run) in enumerate(zip(index, runs, strict=True)):
        row = []
        for column in range(len(past) + len(index)):
            new = column - len(past)
            other = past[column] if new < 0 else index[new]
            same = run == (0 if new < 0 else runs[new])
            if mine < 0:
                row.append(new == t)
            else:
                near = window is None or mine - other < window or other < sinks
                row.append(other >= 0 and same and new <= t and near)
        rows.append(row)
    return rows


@pytest.mark.parametrize("window", [None, 1, 3], ids=lambda w: f"window-{w}")
@pytest.mark.parametrize("sinks", [0, 2], ids=lambda s: f"sinks{s}")
def test_visible_equals_its_definition(window: int | None, sinks: int) -> None:
    index = [[3, 4, 0, 1, -1, 2], [-1, 2, 3, 4, 5, 6]]
    runs = [[0, 0, 1, 1, 1, 1], [0] * 6]
    past = [[0, 1, 2], [0, -1, 1]]
    got = visible(
        torch.tensor(index), torch.tensor(runs), torch.tensor(past), window=window, sinks=sinks
    )
    for row in range(2):
        assert got[row].tolist() == brute_force(index[row], runs[row], past[row], window, sinks)


def test_token_index_counts_real_tokens_of_each_sequence() -> None:
    seq_idx = torch.tensor([[0, 0, 1, 1, 1, 2], [3, 3, 3, 3, 8, 8]])
    mask = torch.tensor([[True] * 5 + [False], [False, True, True, True, True, True]])
    index, runs = token_index(torch.tensor([4, 7]), 2, 6, seq_idx, mask)
    assert index.tolist() == [[4, 5, 0, 1, 2, -1], [-1, 7, 8, 9, 0, 1]]
    assert runs.tolist() == [[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]]
    index, runs = token_index(torch.tensor([4, 0]), 2, 3, None, None)
    assert index.tolist() == [[4, 5, 6], [0, 1, 2]]
    assert runs.tolist() == [[0] * 3] * 2


def test_wrong_shapes_are_refused() -> None:
    q, k, v = problem(5, 9)
    with pytest.raises(ValueError, match="for k"):
        attention(q, k[:, :, :4], v[:, :, :4])
    with pytest.raises(ValueError, match="for k"):
        attention(q[:, :, :5], k, v)


def test_scale_defaults_to_inverse_root_of_width() -> None:
    q, k, v = problem(3, 3)
    torch.testing.assert_close(attention(q, k, v), attention(q, k, v, scale=1 / math.sqrt(8)))
