"""The conformer: parity, chunk masks, blocks of queries, padding."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mamtra_cli.codecs.flow_hift import chunk_mask
from mamtra_cli.codecs.flow_hift.config import FlowConfig, FlowEncoderConfig
from mamtra_cli.codecs.flow_hift.flow_encoder import (
    FlowEncoder,
    RelativeAttention,
    relative_positions,
)

Reader = Callable[[str], Any]
Translator = Callable[[dict[str, Any]], FlowConfig]
SMALL = FlowEncoderConfig(
    width=16, heads=2, d_ff=32, blocks=2, up_blocks=1, lookahead=3, upsample=2, chunk=4
)


def build(golden: Reader, flow_config: Translator) -> tuple[Any, FlowEncoder]:
    data = golden("flow_encoder")
    encoder = FlowEncoder(flow_config(data.meta).encoder)
    encoder.load_state_dict(data.weights)
    return data, encoder.eval().requires_grad_(False)


@pytest.mark.parametrize("streaming", [False, True], ids=["full", "stream"])
def test_encoder_padded_batch_equals_golden(
    golden: Reader, flow_config: Translator, streaming: bool
) -> None:
    data, encoder = build(golden, flow_config)
    name = "batch_stream" if streaming else "batch_full"
    got, mask = encoder(data.given["xs"], data.given["lens"], streaming=streaming)
    assert mask is not None
    assert torch.equal(mask, data.want[f"{name}_mask"][:, 0])
    error = ((got - data.want[name]) * mask[:, :, None]).abs().max()
    assert error <= data.meta["tolerance"]["atol"]


@pytest.mark.parametrize("streaming", [False, True], ids=["full", "stream"])
def test_encoder_with_context_equals_golden(
    golden: Reader, flow_config: Translator, streaming: bool
) -> None:
    data, encoder = build(golden, flow_config)
    want = data.want["context_stream" if streaming else "context_full"]
    size = want.shape[1] // encoder.config.upsample
    xs = data.given["xs"][:1]
    context = xs[:, size : size + encoder.config.lookahead]
    got, mask = encoder(xs[:, :size], streaming=streaming, context=context)
    assert mask is None
    assert (got - want).abs().max() <= data.meta["tolerance"]["atol"]


def test_encoder_inner_stages_equal_golden(golden: Reader, flow_config: Translator) -> None:
    data, encoder = build(golden, flow_config)
    atol = data.meta["tolerance"]["atol"]
    xs = data.given["xs"][:1]
    embedded = encoder.embed(xs)
    size = data.want["pre_lookahead_context"].shape[1]
    ahead = encoder.pre_lookahead_layer(embedded[:, :size], embedded[:, size:])
    positions = relative_positions(xs.shape[1], xs.shape[2], xs.device)
    for name, got in {
        "embed": embedded,
        "pos_emb": positions[None],
        "pre_lookahead": encoder.pre_lookahead_layer(embedded),
        "pre_lookahead_context": ahead,
    }.items():
        assert (got - data.want[name]).abs().max() <= atol, name


def naive_attention(layer: RelativeAttention, x: Tensor, seen: Tensor) -> Tensor:
    """The formula, score by score: x (1, T, D), seen (T, T) bool."""
    length, width = x.shape[1:]
    rates = torch.tensor([10000 ** (-2 * k / width) for k in range(width // 2)], dtype=x.dtype)
    heads, size = layer.pos_bias_u.shape
    q, k, v = (
        f(x)[0].view(length, heads, size) for f in (layer.linear_q, layer.linear_k, layer.linear_v)
    )
    scores = x.new_full((heads, length, length), -math.inf)
    for i in range(length):
        for j in range(length):
            if seen[i, j]:
                place = torch.stack(((rates * (i - j)).sin(), (rates * (i - j)).cos()), 1).flatten()
                p = layer.linear_pos(place).view(heads, size)
                both = (q[i] + layer.pos_bias_u) * k[j] + (q[i] + layer.pos_bias_v) * p
                scores[:, i, j] = both.sum(1) / math.sqrt(size)
    mixed = torch.einsum("hij,jhd->ihd", scores.softmax(-1), v).flatten(1)
    return layer.linear_out(mixed)[None]


@pytest.mark.parametrize("chunk", [None, 4], ids=["full", "chunks"])
@pytest.mark.parametrize("block", [1, 5, 64], ids=["rows", "blocks", "one-block"])
def test_attention_and_gradients_equal_the_formula(
    monkeypatch: pytest.MonkeyPatch, chunk: int | None, block: int
) -> None:
    monkeypatch.setattr(chunk_mask, "BLOCK", block)
    torch.manual_seed(0)
    layer = RelativeAttention(16, 2).double()
    length = 11
    x = torch.randn(1, length, 16, dtype=torch.double, requires_grad=True)
    index = torch.arange(length)
    seen = torch.ones(length, length, dtype=torch.bool)
    if chunk is not None:
        seen = index[None, :] < (index[:, None] // chunk + 1) * chunk
    positions = relative_positions(length, 16, x.device).double()
    got = layer(x, positions, None, chunk)
    want = naive_attention(layer, x, seen)
    # The table of positions is float32.
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
    weights = torch.randn_like(got)
    parameters = [x, *layer.parameters()]
    for a, b in zip(
        torch.autograd.grad((got * weights).sum(), parameters),
        torch.autograd.grad((want * weights).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("streaming", [False, True], ids=["full", "stream"])
def test_encoder_in_blocks_of_queries_equals_one_block(
    monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    torch.manual_seed(0)
    encoder = FlowEncoder(SMALL).eval().requires_grad_(False)
    xs, lens = torch.randn(2, 21, 16), torch.tensor([21, 14])
    want, mask = encoder(xs, lens, streaming=streaming)
    monkeypatch.setattr(chunk_mask, "BLOCK", 5)
    got, _ = encoder(xs, lens, streaming=streaming)
    assert mask is not None
    torch.testing.assert_close(got[mask], want[mask], atol=1e-5, rtol=1e-5)


def test_streaming_encoder_chunk_ignores_what_follows_the_look_ahead() -> None:
    torch.manual_seed(0)
    encoder = FlowEncoder(SMALL).eval().requires_grad_(False)
    xs = torch.randn(1, 20, 16)
    whole, _ = encoder(xs, streaming=True)
    for end in (4, 8, 12):
        part, _ = encoder(xs[:, :end], streaming=True, context=xs[:, end : end + 3])
        torch.testing.assert_close(part, whole[:, : 2 * end], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("streaming", [False, True], ids=["full", "stream"])
def test_encoder_with_blank_padding_equals_each_sample_alone(streaming: bool) -> None:
    torch.manual_seed(0)
    encoder = FlowEncoder(SMALL).eval().requires_grad_(False)
    xs, lens = torch.randn(3, 13, 16), torch.tensor([13, 6, 9])
    batch, _ = encoder(xs, lens, streaming=streaming, blank_padding=True)
    for row, size in enumerate(lens.tolist()):
        alone, _ = encoder(xs[row : row + 1, :size], streaming=streaming)
        torch.testing.assert_close(batch[row, : 2 * size], alone[0], atol=2e-5, rtol=1e-5)


def test_encoder_takes_a_single_token() -> None:
    encoder = FlowEncoder(SMALL).eval().requires_grad_(False)
    got, _ = encoder(torch.randn(1, 1, 16), streaming=False)
    assert got.shape == (1, 2, 16)
    assert got.isfinite().all()


def test_encoder_attention_never_makes_a_square_of_the_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every block of scores has at most BLOCK rows and ends with its last visible key."""
    monkeypatch.setattr(chunk_mask, "BLOCK", 8)
    blocks = list(chunk_mask.query_blocks(30, 4))
    assert blocks == [(0, 8, 8), (8, 16, 16), (16, 24, 24), (24, 30, 30)]
    assert [keys for _, _, keys in chunk_mask.query_blocks(30, None)] == [30] * 4
