"""Edges of a piece."""

import pytest
import torch

from mamtra_cli.engine.speaking.hearing import Edges


@pytest.mark.parametrize("sizes", [[500], [3, 500, 2], [100] * 5, [50]], ids=str)
def test_soft_edges_fade_both_ends_and_nothing_else(sizes: list[int]) -> None:
    edges = Edges(100)
    out = torch.cat([*(edges.push(torch.ones(size)) for size in sizes), edges.finish()])
    assert len(out) == sum(sizes)
    if sum(sizes) > 200:
        assert out[0] < 0.01
        assert out[-1] < 0.01
        assert torch.equal(out[100:-100], torch.ones(sum(sizes) - 200))
        torch.testing.assert_close(out, out.flip(0))
