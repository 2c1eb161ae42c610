"""Live bytes: what is alive at once, whatever came and went before."""

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from mamtra_cli.live_bytes import live_peak

MB = 1_000_000


def test_peak_counts_what_is_alive_at_once_not_what_was_allocated() -> None:
    def work() -> torch.Tensor:
        for _ in range(5):
            kept = torch.ones(MB // 4)
        return kept * 2

    peak, result = live_peak(work)
    assert peak == pytest.approx(2 * MB, rel=0.01)
    assert float(result[0]) == 2.0


def test_peak_sees_the_scratch_inside_an_operation() -> None:
    """Scores of an attention that builds them: no tensor of Python's ever holds them."""
    q = torch.randn(1, 1, 1000, 8)
    with sdpa_kernel(SDPBackend.MATH):
        peak, _ = live_peak(lambda: F.scaled_dot_product_attention(q, q, q))
    assert peak >= 4 * MB


def test_same_work_has_the_same_peak_after_other_work() -> None:
    def work() -> torch.Tensor:
        return torch.randn(300, 300) @ torch.randn(300, 300)

    first, _ = live_peak(work)
    kept = torch.ones(10 * MB // 4)
    assert live_peak(work)[0] == first
    assert live_peak(work, carried=kept.nbytes)[0] == first + 10 * MB
