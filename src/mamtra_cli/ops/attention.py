"""Grouped-query attention over cached and new tokens, with a slow twin.

What a query may see is decided here once: causal order, padding, packed sequences, sliding windows
and sinks all become one boolean mask over key columns. Knows no modules and no positions beyond
the ordinal of each token in its sequence.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mamtra_cli.ops import dispatch
from mamtra_cli.ops.causal_conv import segment_runs


def token_index(
    start: Tensor, batch: int, length: int, seq_idx: Tensor | None, pad_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Ordinal of each new token in its sequence, and the packed sequence it belongs to.

    Args:
        start: (B,) ordinal of the first real token of each row.
        batch: B.
        length: T.
        seq_idx: (B, T) packed sequences; the first of each row continues the cache.
        pad_mask: (B, T) bool, True where real.

    Returns:
        index: (B, T) int64, -1 at pads.
        runs: (B, T) int64, 0 for the first sequence of a row.
    """
    device = start.device
    real = (
        torch.ones(batch, length, dtype=torch.bool, device=device) if pad_mask is None else pad_mask
    )
    count = real.cumsum(dim=1)  # real tokens up to and including this one
    if seq_idx is None:
        runs = torch.zeros_like(count)
        ordinal = count - 1 + start[:, None]
    else:
        runs = segment_runs(seq_idx, pad_mask)
        begins = torch.zeros_like(real)
        begins[:, 1:] = runs[:, 1:] != runs[:, :-1]
        before = torch.where(begins, count - real.long(), 0).cummax(dim=1).values
        ordinal = count - 1 - before + torch.where(runs == 0, start[:, None], 0)
    return torch.where(real, ordinal, -1), runs


def visible(
    index: Tensor,
    runs: Tensor,
    past_index: Tensor | None = None,
    *,
    window: int | None = None,
    sinks: int = 0,
) -> Tensor:
    """Which key columns each new token may see.

    Args:
        index: (B, T) ordinals of the new tokens, -1 at pads.
        runs: (B, T) their packed sequences; run 0 continues the cache.
        past_index: (B, L - T) ordinals of the cached tokens, -1 where not to be seen.
        window: tokens a query sees, itself included; all if absent.
        sinks: first tokens of the sequence that are seen in any case.

    Returns:
        (B, T, L) bool. A pad sees itself alone, so that no row is empty.
    """
    length = index.shape[1]
    order = torch.arange(length, device=index.device)
    itself = order[:, None] == order
    allowed = (
        (order[:, None] >= order) & (runs[:, :, None] == runs[:, None]) & (index >= 0)[:, None]
    )
    keys = index
    if past_index is not None:
        past = (runs[:, :, None] == 0) & (past_index >= 0)[:, None]
        allowed = torch.cat((past, allowed), dim=2)  # (B, T, L)
        keys = torch.cat((past_index, index), dim=1)
        itself = F.pad(itself, (past_index.shape[1], 0))
    if window is not None:
        near = index[:, :, None] - keys[:, None] < window
        allowed = allowed & (near | (keys < sinks)[:, None])
    pad = (index < 0)[:, :, None]
    return torch.where(pad, itself, allowed)


def attention_naive(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Query-by-query twin of `attention`, same arguments and result."""
    batch, length, heads, width = q.shape
    total = k.shape[2]
    scale = 1.0 / math.sqrt(width) if scale is None else scale
    out = torch.empty_like(q)
    for b in range(batch):
        for h in range(heads):
            group = h // (heads // k.shape[1])
            for t in range(length):
                seen = [
                    j
                    for j in range(total)
                    if (j <= total - length + t if mask is None else bool(mask[b, t, j]))
                ]
                keys, values = k[b, group, seen], v[b, group, seen]
                weights = torch.softmax((keys @ q[b, t, h].to(keys.dtype)) * scale, dim=0)
                out[b, t, h] = (weights @ values).to(out.dtype)
    return out


def attention(
    q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """Attend from new tokens to cached and new ones.

    Args:
        q: (B, T, H, P).
        k, v: (B, G, L, P), L >= T; the last T columns are the new tokens. May be wider than `q`
            in dtype.
        mask: (B, T, L) bool from `visible`; plain causal order if absent.
        scale: factor on the scores, 1 / sqrt(P) if absent.

    Returns:
        (B, T, H, P), dtype of q.
    """
    length, heads = q.shape[1:3]
    total = k.shape[2]
    if heads % k.shape[1] or total < length or k.shape != v.shape:
        raise ValueError(f"q {tuple(q.shape)} for k {tuple(k.shape)} and v {tuple(v.shape)}")
    if dispatch.choose("attention", q.device, q.dtype).implementation == "naive":
        return attention_naive(q, k, v, mask=mask, scale=scale)
    if length == 1 and q.device.type == "cpu":
        return _one_query(q, k, v, mask, scale)
    queries = q.transpose(1, 2)  # (B, H, T, P)
    k, v = k.to(q.dtype), v.to(q.dtype)
    repeats = heads // k.shape[1]
    if repeats > 1:
        k = k.repeat_interleave(repeats, dim=1)  # (B, H, L, P)
        v = v.repeat_interleave(repeats, dim=1)
    if mask is not None:
        out = F.scaled_dot_product_attention(queries, k, v, attn_mask=mask[:, None], scale=scale)
    elif total == length:
        out = F.scaled_dot_product_attention(queries, k, v, is_causal=True, scale=scale)
    elif length == 1:
        out = F.scaled_dot_product_attention(queries, k, v, scale=scale)
    else:
        order = torch.arange(total, device=q.device)
        causal = order <= order[total - length :, None]  # (T, L)
        out = F.scaled_dot_product_attention(queries, k, v, attn_mask=causal, scale=scale)
    return out.transpose(1, 2)


def _one_query(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """Attention of a single query by two grouped matrix products, in float32 at least.

    On CPUs the fused kernel needs many times longer for one bfloat16 query.
    """
    batch, _, heads, width = q.shape
    groups = k.shape[1]
    wide = torch.promote_types(k.dtype, torch.float32)
    scale = 1.0 / math.sqrt(width) if scale is None else scale
    queries = q.to(wide).view(batch * groups, heads // groups, width) * scale
    hidden = None if mask is None else ~mask.repeat_interleave(groups, 0)  # (B * G, 1, L)
    out = attention_step(queries, k.to(wide).flatten(0, 1), v.to(wide).flatten(0, 1), hidden)
    return out.view(batch, 1, heads, width).to(q.dtype)


def attention_step(q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Attention of one query a row, as two matrix products.

    Batch and groups are one axis here: a three-way product has the least overhead.

    Args:
        q: (B * G, H / G, P), the scale folded in.
        k, v: (B * G, L, P), of one dtype with `q`.
        hidden: (B * G, 1, L) bool, columns not to be seen.

    Returns:
        (B * G, H / G, P).
    """
    scores = torch.bmm(q, k.transpose(1, 2))  # (B * G, H/G, L)
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    return torch.bmm(torch.softmax(scores, dim=-1), v)
