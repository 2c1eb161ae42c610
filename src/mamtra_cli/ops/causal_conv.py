"""Causal depthwise convolution with carried state, for sequences and single steps.

The state is the last W-1 inputs (before the activation), oldest first. Also here: `segment_runs`,
the one reading of `seq_idx` that convolution, scan and attention share. Knows no modules.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mamtra_cli.ops.casts import cast


def segment_runs(seq_idx: Tensor, pad_mask: Tensor | None = None) -> Tensor:
    """Number the packed sequences of each row 0, 1, 2, ... by the changes of their ids.

    The first run continues whatever state is carried in, whatever its id. Pads belong to the run
    of the real token before them (leading pads: to the first run), so padding starts no sequence.

    Args:
        seq_idx: (B, T), any integers.
        pad_mask: (B, T) bool, True where the token is real.

    Returns:
        (B, T) int64.
    """
    if pad_mask is not None:
        places = torch.arange(seq_idx.shape[1], device=seq_idx.device).expand_as(seq_idx)
        last_real = torch.where(pad_mask, places, -1).cummax(dim=1).values
        first_real = pad_mask.int().argmax(dim=1, keepdim=True)
        seq_idx = seq_idx.gather(1, torch.where(last_real < 0, first_real, last_real))
    change = torch.zeros_like(seq_idx, dtype=torch.int64)
    change[:, 1:] = seq_idx[:, 1:] != seq_idx[:, :-1]
    return change.cumsum(dim=1)


def _activate(y: Tensor, activation: str) -> Tensor:
    if activation == "silu":
        return F.silu(y)
    if activation == "identity":
        return y
    raise ValueError(f"activation must be identity or silu, got {activation!r}")


def causal_conv_naive(
    u: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    state: Tensor | None = None,
    seq_idx: Tensor | None = None,
    activation: str = "identity",
) -> tuple[Tensor, Tensor]:
    """Token-by-token twin of `causal_conv`, same arguments and results."""
    batch, length, channels = u.shape
    taps = weight.shape[1]
    if state is None:
        state = u.new_zeros(batch, channels, taps - 1)
    columns = [*state.unbind(dim=2)]
    outputs = []
    for t in range(length):
        if seq_idx is not None and t > 0:
            same = (seq_idx[:, t] == seq_idx[:, t - 1])[:, None]
            columns = [column * same for column in columns]
        window = torch.stack([*columns, u[:, t]], dim=2)  # (B, C, W)
        y = (window * weight).sum(dim=2)
        outputs.append(_activate(y if bias is None else y + bias, activation))
        columns = [*window.unbind(dim=2)][1:]
    after = torch.stack(columns, dim=2) if columns else state
    return torch.stack(outputs, dim=1), after


def causal_conv(
    u: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    state: Tensor | None = None,
    seq_idx: Tensor | None = None,
    pad_mask: Tensor | None = None,
    activation: str = "identity",
) -> tuple[Tensor, Tensor]:
    """Convolve each channel with its own W taps over the present and past tokens.

    Half-precision inputs accumulate in float32.

    Args:
        u: (B, T, C).
        weight: (C, W); the last tap multiplies the present token.
        bias: (C,).
        state: (B, C, W - 1), the inputs before `u`; zeros if absent.
        seq_idx: (B, T); taps never reach across a change. The first run continues `state`.
        pad_mask: (B, T) bool, True where real; pads stand at the left or right end of a row, are
            skipped, and never enter the state. What is returned at pads means nothing.
        activation: `identity` or `silu`.

    Returns:
        y: (B, T, C), dtype of `u`.
        state: (B, C, W - 1), dtype of `u`.
    """
    batch, length, channels = u.shape
    taps = weight.shape[1]
    if weight.shape[0] != channels:
        raise ValueError(f"weight is {tuple(weight.shape)} for {channels} channels")
    if state is not None and state.shape != (batch, channels, taps - 1):
        raise ValueError(
            f"conv state is {tuple(state.shape)}, expected {(batch, channels, taps - 1)}"
        )
    runs = None if seq_idx is None else segment_runs(seq_idx, pad_mask)
    order = None
    if pad_mask is not None:
        if state is None:
            u = u * pad_mask[..., None].to(u.dtype)
        else:
            # Left pads would stand between the carried inputs and the first real token.
            order = torch.argsort(~pad_mask, dim=1, stable=True)  # (B, T), real tokens first
            u = u.gather(1, order[..., None].expand_as(u))
            runs = None if runs is None else runs.gather(1, order)
    before = (
        u.new_zeros(batch, taps - 1, channels)
        if state is None
        else state.transpose(1, 2).to(u.dtype)
    )
    joined = torch.cat((before, u), dim=1)  # (B, W - 1 + T, C)
    half = u.dtype in (torch.bfloat16, torch.float16)
    wide = joined.float() if half else joined
    kernel = weight.to(wide.dtype).t()  # (W, C)
    if runs is not None:
        runs = torch.cat((runs.new_zeros(batch, taps - 1), runs), dim=1)
    y = wide[:, taps - 1 :] * kernel[-1]
    if bias is not None:
        y = y + bias.to(wide.dtype)
    for tap in range(taps - 1):
        past = wide[:, tap : tap + length]
        if runs is not None:
            same = runs[:, tap : tap + length] == runs[:, taps - 1 :]
            past = past * same[..., None].to(wide.dtype)
        y = torch.addcmul(y, past, kernel[tap])
    y = _activate(y, activation).to(u.dtype)

    if pad_mask is None:
        ends = None
        after = joined[:, length:].clone()  # a view would hold all inputs for as long as it lives
    else:
        places = torch.arange(length, device=u.device)
        if order is None:
            ends = torch.where(pad_mask, places + 1, 0).amax(dim=1)  # one past the last real token
        else:
            ends = pad_mask.sum(dim=1)
            y = y.gather(1, torch.argsort(order, dim=1)[..., None].expand_as(y))
        columns = ends[:, None] + torch.arange(taps - 1, device=u.device)  # (B, W - 1)
        after = joined.gather(1, columns[..., None].expand(-1, -1, channels))
    if runs is not None:
        last = (
            runs[:, -1:]
            if ends is None
            else runs.gather(1, (ends + taps - 2).clamp_min(0)[:, None])
        )
        kept = runs[:, length:] if ends is None else runs.gather(1, columns)
        after = after * (kept == last)[..., None].to(after.dtype)
    return y, after.transpose(1, 2)


def causal_conv_step(
    u: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    state: Tensor,
    activation: str = "identity",
) -> tuple[Tensor, Tensor]:
    """One token of `causal_conv`.

    Args:
        u: (B, C).
        weight: (C, W).
        bias: (C,) or None.
        state: (B, C, W - 1), left as it is.
        activation: `identity` or `silu`.

    Returns:
        y: (B, C); the state after the token: (B, C, W - 1).
    """
    past = state.to(u.dtype)
    wide = torch.float32 if u.dtype in (torch.bfloat16, torch.float16) else u.dtype
    if bias is None:
        bias = weight.new_zeros(len(weight))
    taps = weight.to(wide).unbind(dim=1)
    y = causal_conv_taps(u, taps, bias.to(wide), past.unbind(dim=2), activation)
    return y, torch.cat((past, u[:, :, None]), dim=2)[:, :, 1:]


def causal_conv_taps(
    u: Tensor,
    taps: Sequence[Tensor],
    bias: Tensor,
    past: Sequence[Tensor],
    activation: str = "identity",
) -> Tensor:
    """One token of `causal_conv` over inputs that are kept apart, so that nothing is moved.

    Args:
        u: (B, C).
        taps: W weights, each (C,), float32 (float64 for a float64 model); the last is for `u`.
        bias: (C,), of the same dtype.
        past: the W - 1 inputs before `u`, oldest first, each (B, C).
        activation: `identity` or `silu`.

    Returns:
        (B, C), dtype of `u`.
    """
    wide = bias.dtype
    y = torch.addcmul(bias, cast(u, wide), taps[-1])
    for tap, before in zip(taps[:-1], past, strict=True):
        y = y.addcmul_(cast(before, wide), tap)
    return cast(_activate(y, activation), u.dtype)
