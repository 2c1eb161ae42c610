"""Causal self-attention with grouped queries, rotary positions if any, and a cache.

The names of the projections are the published ones. A window makes it sliding-window attention;
the layer that bounds its cache accordingly is in `swa`.
"""

import torch
from torch import Tensor, nn

from mamtra_cli.layers.rotary import RopeTable, apply_rope, shape_table
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.state import KVState, cache_dtype
from mamtra_cli.ops.attention import attention, token_index, visible


class SelfAttention(nn.Module):
    """Self-attention of one layer.

    Args:
        shape: sizes.
        window: tokens a query sees, itself included; all if absent.
        sinks: first tokens of the sequence that stay visible beside the window.
    """

    def __init__(self, shape: MixerShape, window: int | None = None, sinks: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.window = window
        self.sinks = sinks
        self.q_proj = nn.Linear(shape.d_model, shape.q_width, bias=shape.qkv_bias)
        self.k_proj = nn.Linear(shape.d_model, shape.kv_width, bias=shape.qkv_bias)
        self.v_proj = nn.Linear(shape.d_model, shape.kv_width, bias=shape.qkv_bias)
        self.o_proj = nn.Linear(shape.q_width, shape.d_model, bias=shape.out_bias)

    def alloc(
        self,
        batch: int,
        *,
        capacity: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> KVState:
        """An empty cache for `batch` rows, in this layer's dtype and place unless given."""
        weight = self.k_proj.weight
        place = weight.device if device is None else torch.device(device)
        return KVState.alloc(
            batch,
            self.shape.n_kv_heads,
            self.shape.head_dim,
            capacity=capacity,
            dtype=cache_dtype(place, weight.dtype if dtype is None else dtype),
            device=place,
        )

    def forward(
        self,
        u: Tensor,
        state: KVState | None = None,
        *,
        positions: Tensor | None = None,
        seq_idx: Tensor | None = None,
        pad_mask: Tensor | None = None,
        rope: RopeTable | None = None,
    ) -> tuple[Tensor, KVState]:
        """Attend over the cache and the new tokens.

        Args:
            u: (B, T, D).
            state: cache before `u`, left as it is; empty if absent.
            positions: (T,) or (B, T) for the rotation; they go on from `state` if absent.
            seq_idx: (B, T) packed sequences; the first of a row continues the cache.
            pad_mask: (B, T) bool, True where real. Results at pads mean nothing.
            rope: table of these positions, if the caller has it already.

        Returns:
            (B, T, D) and the cache after `u`.
        """
        return self._run(u, state, positions, seq_idx, pad_mask, rope, in_place=False)

    def step(
        self,
        u: Tensor,
        state: KVState,
        *,
        positions: Tensor | None = None,
        rope: RopeTable | None = None,
    ) -> tuple[Tensor, KVState]:
        """Like `forward` for new tokens without gradients; writes into `state` where it has room.

        Args:
            u: (B, T, D).
            state: cache, used up by this call.
            positions: as in `forward`.
            rope: as in `forward`.
        """
        return self._run(u, state, positions, None, None, rope, in_place=True)

    def _run(
        self,
        u: Tensor,
        state: KVState | None,
        positions: Tensor | None,
        seq_idx: Tensor | None,
        pad_mask: Tensor | None,
        rope: RopeTable | None,
        in_place: bool,
    ) -> tuple[Tensor, KVState]:
        batch, length, _ = u.shape
        if state is None:
            state = self.alloc(batch, dtype=u.dtype, device=u.device)
        heads = (-1, self.shape.head_dim)
        q = self.q_proj(u).unflatten(-1, heads)  # (B, T, H, P)
        k = self.k_proj(u).unflatten(-1, heads)  # (B, T, G, P)
        v = self.v_proj(u).unflatten(-1, heads)
        if self.shape.rope != "none":
            if rope is None:
                if positions is None:
                    positions = state.seen + torch.arange(length, device=u.device)
                rope = shape_table(positions, self.shape, u.dtype)
            q, k = apply_rope(q, rope, self.shape.rope), apply_rope(k, rope, self.shape.rope)
        out, after = attend(
            q,
            k,
            v,
            state,
            window=self.window,
            sinks=self.sinks,
            seq_idx=seq_idx,
            pad_mask=pad_mask,
            in_place=in_place,
        )
        return self.o_proj(out.flatten(2)), self._bounded(after)

    def _bounded(self, state: KVState) -> KVState:
        """The state with what no later token can see let go; everything is kept here."""
        return state


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: KVState,
    *,
    window: int | None = None,
    sinks: int = 0,
    seq_idx: Tensor | None = None,
    pad_mask: Tensor | None = None,
    in_place: bool = False,
) -> tuple[Tensor, KVState]:
    """Attend from new tokens to the cache and to each other.

    Args:
        q: (B, T, H, P), turned.
        k, v: (B, T, G, P), keys turned.
        state: cache before them.
        window, sinks: as in `SelfAttention`.
        seq_idx, pad_mask: as in `SelfAttention.forward`.
        in_place: write into `state` where it has room.

    Returns:
        (B, T, H, P) and the cache after them.
    """
    batch, length = q.shape[:2]
    k = k.transpose(1, 2).to(state.k.dtype)  # (B, G, T, P)
    v = v.transpose(1, 2).to(state.v.dtype)
    mask = index = kept = None
    if pad_mask is not None or seq_idx is not None or state.index is not None or window is not None:
        index, runs = token_index(state.next_index(), batch, length, seq_idx, pad_mask)
        past = state.full_index()
        mask = visible(index, runs, past, window=window, sinks=sinks)
        if seq_idx is not None:
            # Later tokens continue the last packed sequence and see none of the others.
            past = torch.where(runs[:, -1:] == 0, past, -1)
            index = torch.where(runs == runs[:, -1:], index, -1)
        kept = torch.cat((past, index), dim=1)  # (B, L)

    fits = state.length + length <= state.capacity
    if in_place and fits and (state.index is None) == (index is None):
        after = state.write(k, v, index)
        keys, values, _ = after.columns()
    else:
        old_keys, old_values, _ = state.columns()
        keys = torch.cat((old_keys, k), dim=2) if state.length else k
        values = torch.cat((old_values, v), dim=2) if state.length else v
        after = KVState(
            k=keys, v=values, length=state.length + length, index=kept, seen=state.seen + length
        )
    return attention(q, keys, values, mask=mask), after
