"""Attention of the flow as published: every score and mask built whole. For measuring only.

The published encoder materialises two T x T and one T x (2T-1) tensor of scores a head, the
estimator repeats a T x T mask for every head. Numbers agree with flow_encoder.py and
flow_estimator.py; memory grows with the square of the length. Source: the attention of
FunAudioLLM/CosyVoice and shivammehta25/Matcha-TTS, rewritten from their formulas.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.flow_encoder import RelativeAttention
from mamtra_cli.codecs.flow_hift.flow_estimator import Attention
from mamtra_cli.codecs.flow_hift.past import NOTHING, Past

MASKED = -1e10


@contextlib.contextmanager
def published_attention(flow: Flow) -> Iterator[Flow]:
    """Let the attention layers of a flow build what the published ones build, in the block."""
    forwards: dict[type, Callable[..., Tensor]] = {
        RelativeAttention: _relative,
        Attention: _biased,
    }
    changed = []
    try:
        for module in flow.modules():
            forward = forwards.get(type(module))
            if forward is not None:
                module.forward = partial(forward, module)
                changed.append(module)
        yield flow
    finally:
        for module in changed:
            del module.forward


def _seen(length: int, pad_mask: Tensor | None, chunk: int | None, device: torch.device) -> Tensor:
    """(B or 1, T, T) bool, True = seen."""
    mask = torch.ones((1, length, length), dtype=torch.bool, device=device)
    if chunk is not None:
        place = torch.arange(length, device=device) // chunk
        mask = (place[None, :] <= place[:, None])[None]
    return mask if pad_mask is None else mask & pad_mask[:, None, :]


def _relative(
    layer: RelativeAttention,
    x: Tensor,
    positions: Tensor,
    pad_mask: Tensor | None,
    chunk: int | None,
) -> Tensor:
    """As `RelativeAttention.forward`."""
    batch, length = x.shape[:2]
    q, k, v = (
        f(x).view(batch, length, layer.heads, -1).transpose(1, 2)
        for f in (layer.linear_q, layer.linear_k, layer.linear_v)
    )
    p = layer.linear_pos(positions).view(-1, layer.heads, layer.head_dim).transpose(0, 1)
    by_content = (q + layer.pos_bias_u[:, None]) @ k.transpose(-2, -1)
    by_place = (q + layer.pos_bias_v[:, None]) @ p.transpose(-2, -1)
    # One zero column turns the flat matrix into one whose rows are shifted by one each.
    padded = F.pad(by_place, (1, 0))
    by_place = padded.view(batch, layer.heads, -1, length)[:, :, 1:].reshape_as(by_place)
    by_place = by_place[..., :length]
    scores = (by_content + by_place) / math.sqrt(layer.head_dim)
    hidden = ~_seen(length, pad_mask, chunk, x.device)[:, None]
    y = _weigh(scores, hidden, v)
    out: Tensor = layer.linear_out(y.transpose(1, 2).flatten(2))
    return out


def _weigh(scores: Tensor, hidden: Tensor, v: Tensor) -> Tensor:
    """Softmax of scores with the hidden ones at zero, times v."""
    scores = scores.masked_fill(hidden, -torch.inf)
    return torch.softmax(scores, dim=-1).masked_fill(hidden, 0.0) @ v


def _biased(
    layer: Attention,
    x: Tensor,
    pad_mask: Tensor | None,
    chunk: int | None,
    past: Past = NOTHING,
) -> Tensor:
    """As `flow_estimator.Attention.forward`; nothing may stand before the frames."""
    if past.frames:
        raise ValueError("the published attention hears everything again")
    batch, length = x.shape[:2]
    q, k, v = (
        f(x).view(batch, length, layer.heads, -1).transpose(1, 2)
        for f in (layer.to_q, layer.to_k, layer.to_v)
    )
    seen = _seen(length, pad_mask, chunk, x.device).expand(batch, -1, -1)
    bias = (1.0 - seen.to(x.dtype)) * MASKED
    repeated = bias.repeat_interleave(layer.heads, dim=0).view(batch, layer.heads, length, length)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=repeated)
    out: Tensor = layer.to_out[0](y.transpose(1, 2).flatten(2))
    return out
