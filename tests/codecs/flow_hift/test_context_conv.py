"""Layers over time in pieces against the same layers over the whole."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mamtra_cli.codecs.flow_hift.context_conv import (
    Block,
    ContextConv,
    first_contexts,
    with_neighbours,
)

CUTS = ([11], [1] * 11, [4, 0, 7], [10, 1])


def pieces(x: Tensor, sizes: list[int]) -> list[tuple[Tensor, bool]]:
    """Cut (B, C, T), and say of each piece whether it is the last."""
    return [(part, i == len(sizes) - 1) for i, part in enumerate(x.split(sizes, dim=2))]


@pytest.mark.parametrize("sizes", CUTS, ids=str)
def test_convolution_in_pieces_is_the_padded_convolution(sizes: list[int]) -> None:
    layer, x = ContextConv(3, 5, kernel=7, ahead=2), torch.randn(2, 3, 11)
    (context,), heard, out = first_contexts(layer, 2), [], []
    for part, final in pieces(x, sizes):
        context, inputs, answers = layer(context, part, final=final)
        heard.append(inputs)
        out.append(answers)
    assert torch.equal(torch.cat(heard, 2), x)
    want = layer.conv(F.pad(x, (4, 2)))
    torch.testing.assert_close(torch.cat(out, 2), want, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("sizes", CUTS, ids=str)
def test_block_in_pieces_is_the_block_of_the_whole(sizes: list[int]) -> None:
    block, x = Block(4, kernel=5, ahead=1, widening=2), torch.randn(1, 4, 11)
    (context,) = first_contexts(block, 1)
    want = block(context, x, final=True)[1]
    out = []
    for part, final in pieces(x, sizes):
        context, answers = block(context, part, final=final)
        out.append(answers)
    torch.testing.assert_close(torch.cat(out, 2), want, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("sizes", [*CUTS, [0, 11]], ids=str)
def test_each_frame_comes_once_with_both_neighbours(sizes: list[int]) -> None:
    x = torch.arange(11.0).reshape(1, 1, 11)
    waiting, got = None, []
    for part, final in pieces(x, sizes):
        waiting, around = with_neighbours(waiting, part, final=final)
        row = around[0, 0].tolist()
        got += [row[i : i + 3] for i in range(len(row) - 2)]
    assert got == [[max(0.0, i - 1), float(i), min(10.0, i + 1)] for i in range(11)]
