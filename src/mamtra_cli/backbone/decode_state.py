"""What one-token decoding keeps of each layer, in buffers that steps write into.

Opened from the state that a prefill left, closed into a state that the modules go on from. Each
step uses its `DecodeState` up and hands the next one back over the same memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mamtra_cli.layers.state import HybridState, KVState, LayerState, MambaState


@dataclass(frozen=True, kw_only=True)
class AttentionCache:
    """Keys and values (B, G, capacity, P); `hidden` (B, capacity) marks columns not to be seen."""

    k: Tensor
    v: Tensor
    length: int
    hidden: Tensor | None
    seen: int

    def grown(self, capacity: int) -> "AttentionCache":
        """The same with room for more tokens."""
        extra = capacity - self.k.shape[2]
        hidden = None if self.hidden is None else F.pad(self.hidden, (0, extra))
        k, v = (F.pad(value, (0, 0, 0, extra)) for value in (self.k, self.v))
        return replace(self, k=k, v=v, hidden=hidden)


@dataclass(frozen=True, kw_only=True)
class WindowCache:
    """Keys and values (B, G, sinks + window, P); `index` (B, columns) token ordinals, -1 empty."""

    k: Tensor
    v: Tensor
    index: Tensor
    next: Tensor
    seen: int


Cache = AttentionCache | WindowCache | MambaState


@dataclass(frozen=True, kw_only=True)
class DecodeState:
    """Caches of all layers and the position (B,) of the next token; each step uses it up."""

    caches: tuple[Cache, ...]
    position: Tensor


def finish(state: DecodeState) -> HybridState:
    """Give back a state that `HybridStack` goes on from; shares memory with `state`."""
    layers: list[LayerState] = []
    for cache in state.caches:
        if isinstance(cache, MambaState):
            layers.append(cache)
            continue
        index = _ordinals(cache)
        length = cache.length if isinstance(cache, AttentionCache) else index.shape[1]
        layers.append(
            KVState(
                k=cache.k[:, :, :length],
                v=cache.v[:, :, :length],
                length=length,
                index=index if isinstance(cache, WindowCache) or cache.hidden is not None else None,
                seen=cache.seen,
            )
        )
    return HybridState(layers=tuple(layers), position=state.position)


def select(state: DecodeState, rows: Tensor | Sequence[int]) -> DecodeState:
    """Keep the given rows, in the given order."""
    at = torch.as_tensor(rows, device=state.position.device)
    caches: list[Cache] = []
    for cache in state.caches:
        if isinstance(cache, MambaState):
            caches.append(cache.select(at))
        elif isinstance(cache, WindowCache):
            k, v, index = cache.k[at], cache.v[at], cache.index[at]
            caches.append(replace(cache, k=k, v=v, index=index, next=cache.next[at]))
        else:
            hidden = None if cache.hidden is None else cache.hidden[at]
            caches.append(replace(cache, k=cache.k[at], v=cache.v[at], hidden=hidden))
    return DecodeState(caches=tuple(caches), position=state.position[at])


def ring_slot(index: Tensor, sinks: int, window: int) -> Tensor:
    """Column of a token in a window cache: sinks first, then a ring."""
    return torch.where(index < sinks, index, sinks + (index - sinks) % window)


def open_cache(held: LayerState, capacity: int, window: tuple[int, int] | None) -> Cache:
    """A cache of its own that holds what a prefill left.

    Args:
        held: the layer's state.
        capacity: tokens to make room for.
        window: sinks and window of a sliding-window layer.
    """
    if isinstance(held, MambaState):
        return held.clone()
    k, v, index = held.columns()
    if window is None:
        hidden = None if index is None else index < 0
        cache = AttentionCache(
            k=k.contiguous(), v=v.contiguous(), length=held.length, hidden=hidden, seen=held.seen
        )
        return cache.grown(max(capacity, held.length + 1))
    sinks, near = window
    room = sinks + near
    index = held.full_index()
    newest = held.next_index()
    keep = (index >= 0) & ((index < sinks) | (newest[:, None] - index < near))
    # One spare column takes what is not kept.
    slots = torch.where(keep, ring_slot(index, sinks, near), room)
    at = slots[:, None, :, None].expand(-1, k.shape[1], -1, k.shape[3])
    empty = k.new_zeros(len(k), k.shape[1], room + 1, k.shape[3])
    ordinals = index.new_full((len(k), room + 1), -1).scatter(1, slots, index)
    return WindowCache(
        k=empty.scatter(2, at, k)[:, :, :room].contiguous(),
        v=empty.scatter(2, at, v)[:, :, :room].contiguous(),
        index=ordinals[:, :room].contiguous(),
        next=newest,
        seen=held.seen,
    )


def _ordinals(cache: AttentionCache | WindowCache) -> Tensor:
    """Ordinal of each column's token in its sequence, -1 where hidden: (B, columns)."""
    if isinstance(cache, WindowCache):
        return cache.index
    if cache.hidden is None:
        return torch.arange(cache.length, device=cache.k.device).expand(len(cache.k), -1)
    seen = ~cache.hidden[:, : cache.length]
    return torch.where(seen, seen.long().cumsum(dim=1) - 1, -1)
