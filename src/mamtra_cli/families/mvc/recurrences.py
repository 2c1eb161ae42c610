"""The stack's recurrences: Mamba-2 layers that run side by side, one call for both directions.

Each has weights of its own and reads its own order of tokens. A short window is one scan for all
of them, whose heads read as many groups of maps; a long text is read by one after the other, in
pieces. Knows no norms, no fusion, and no windows but that a state may be wanted before the end.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from mamtra_cli.families.mvc.config import ConditionerConfig
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.native_mamba2 import NativeMamba2Layer
from mamtra_cli.layers.state import MambaState
from mamtra_cli.ops.causal_conv import causal_conv
from mamtra_cli.ops.ssd import ssd_scan

CHUNK = 64  # tokens of the scan's chunks at most
SEGMENT = 256  # tokens of a pass at most
TOGETHER = 64  # tokens up to which a call costs more than what it computes


def recurrence(config: ConditionerConfig) -> NativeMamba2Layer:
    """One Mamba-2 layer of the stack's sizes."""
    return NativeMamba2Layer(config.mixer, MixerConfig())


def side_by_side(
    layers: Sequence[NativeMamba2Layer],
    inputs: Sequence[Tensor],
    state: MambaState | None = None,
    *,
    commit: int | None = None,
    mask: Tensor | None = None,
) -> tuple[list[Tensor], MambaState]:
    """Run layers of like sizes, each as it would run alone.

    Args:
        layers: R of them, with one group of maps each.
        inputs: (B, T, D) of each.
        state: that the first starts from; the others, and it where there is none, start anew.
        commit: tokens after which the state of the first is handed on; all of them if absent.
        mask: (B, T) bool, True where real, pads on the right; of whole inputs, without a state.

    Returns:
        (B, T, D) of each, and the state of the first.
    """
    length, first = inputs[0].shape[1], layers[0]
    commit = length if commit is None else commit
    if mask is not None and (commit < length or state is not None):
        raise ValueError("what is read in windows has no pads")
    if len(layers) > 1 and length > TOGETHER:
        (said,), after = side_by_side(layers[:1], inputs[:1], state, commit=commit, mask=mask)
        rest, _ = side_by_side(layers[1:], inputs[1:], mask=mask)
        return [said, *rest], after
    if state is None:
        state = first.alloc(len(inputs[0]), dtype=inputs[0].dtype, device=inputs[0].device)
    kept, seen = None, state.seen
    state = _joined(state, len(layers))
    # What a pass holds beside its inputs stays small: a long text is read in pieces.
    size = length if torch.is_grad_enabled() or mask is not None else SEGMENT
    spoken: list[list[Tensor]] = []
    for start in range(0, length, size):
        parts = [u[:, start : start + size] for u in inputs]
        local = commit - start if start < commit < min(start + size, length) else None
        made, state, at_commit = _piece(layers, parts, state, local, mask)
        spoken.append(made)
        if at_commit is not None:
            kept = at_commit
        elif start + parts[0].shape[1] == commit:
            kept = _first(state, first)
    assert kept is not None
    after = replace(kept, seen=seen + commit)
    if len(spoken) == 1:
        return spoken[0], after
    return [torch.cat(rows, dim=1) for rows in zip(*spoken, strict=True)], after


def _first(state: MambaState, layer: NativeMamba2Layer) -> MambaState:
    """The state of the first of some layers, which holds nothing of the others."""
    if state.ssm.shape[1] == layer.heads:
        return state
    conv, ssm = state.conv[:, : layer.channels], state.ssm[:, : layer.heads]
    return MambaState(conv=conv.clone(), ssm=ssm.clone())


def _joined(state: MambaState, count: int) -> MambaState:
    """The state of the first of some layers, with those of the others, which are new."""
    conv = state.conv.new_zeros(len(state.conv), count * state.conv.shape[1], state.conv.shape[2])
    ssm = state.ssm.new_zeros(len(state.ssm), count * state.ssm.shape[1], *state.ssm.shape[2:])
    conv[:, : state.conv.shape[1]], ssm[:, : state.ssm.shape[1]] = state.conv, state.ssm
    return MambaState(conv=conv, ssm=ssm)


def _piece(
    layers: Sequence[NativeMamba2Layer],
    inputs: Sequence[Tensor],
    state: MambaState,
    commit: int | None,
    mask: Tensor | None,
) -> tuple[list[Tensor], MambaState, MambaState | None]:
    """One pass: what each says, the state of all, and that of the first after `commit` tokens."""
    first = layers[0]
    heads, length = first.heads, inputs[0].shape[1]
    # 1. Projections, one convolution.
    split = [layer.split(layer.in_proj(u)) for layer, u in zip(layers, inputs, strict=True)]
    gates, channels, steps = zip(*split, strict=True)
    mixed, conv = causal_conv(
        torch.cat(channels, dim=-1),  # (B, T, R C)
        torch.cat([layer.conv.weight for layer in layers]),
        torch.cat([layer.conv.bias for layer in layers]),
        state=None if mask is not None else state.conv,
        pad_mask=mask,
        activation="silu",
    )
    x, keys, queries = (
        part.flatten(2, 3) for part in first.maps(torch.unflatten(mixed, -1, (len(layers), -1)))
    )
    # 2. One scan.
    wide = state.ssm.dtype
    bias = torch.cat([layer.dt_bias for layer in layers])
    size = F.softplus(torch.cat(steps, dim=-1).to(wide) + bias.to(wide))  # (B, T, R H)
    if mask is not None:
        size = size * mask[..., None].to(wide)  # a pad takes nothing in
    rates = -torch.exp(torch.cat([layer.A_log for layer in layers]).to(wide))
    y, ssm = ssd_scan(
        x,
        size,
        rates,
        keys,
        queries,
        D=torch.cat([layer.D for layer in layers]),
        dt_softplus=False,
        initial_state=state.ssm,
        chunk=-(-length // -(-length // CHUNK)),  # of like lengths, so that few are filled up
    )
    said = [
        layer.o_proj(layer.tail(y[:, :, n * heads : (n + 1) * heads].flatten(2), gates[n]))
        for n, layer in enumerate(layers)
    ]
    after = MambaState(conv=conv, ssm=ssm)
    if commit is None:
        return said, after, None
    # 3. The state of the first in between.
    early = slice(None), slice(commit), slice(heads)
    past = torch.cat((state.conv[:, : first.channels], channels[0][:, :commit].mT), dim=2)
    at_commit = MambaState(
        conv=past[:, :, commit:].clone(),
        ssm=_after(state.ssm[:, :heads], x[early], size[early], rates[:heads], keys[:, :commit, 0]),
    )
    return said, after, at_commit


def _after(state: Tensor, x: Tensor, size: Tensor, rates: Tensor, keys: Tensor) -> Tensor:
    """The state (B, H, P, N) after tokens, without what they read of it; see `ops.ssd`.

    x: (B, T, H, P); size: (B, T, H) step sizes; rates: (H,); keys: (B, T, N).
    """
    logs = size * rates
    later = torch.cat((logs[:, 1:], torch.zeros_like(logs[:, :1])), dim=1)
    to_end = later.flip(1).cumsum(1).flip(1)  # (B, T, H), of the tokens after each
    fed = x.to(size.dtype) * (to_end.exp() * size)[..., None]
    added = fed.flatten(2).transpose(1, 2) @ keys.to(size.dtype)  # (B, H P, N)
    decay = logs.sum(1).exp()[..., None, None]
    return torch.addcmul(added.view(state.shape), state, decay)
