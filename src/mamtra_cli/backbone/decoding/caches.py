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
    """Keys and values of one attention layer.

    Attributes:
        kv: (2, B * G, capacity, P).
        hidden: (B, capacity) columns never to be seen (pads), or None.
        length: columns in use before the first step.
        seen: tokens given before the first step.
    """

    kv: Tensor
    hidden: Tensor | None
    length: int
    seen: int

    def grown(self, capacity: int) -> "AttentionCache":
        """The same with room for more tokens."""
        extra = capacity - self.kv.shape[2]
        hidden = None if self.hidden is None else F.pad(self.hidden, (0, extra))
        return replace(self, kv=F.pad(self.kv, (0, 0, 0, extra)), hidden=hidden)


@dataclass(frozen=True, kw_only=True)
class WindowCache:
    """Keys and values of one sliding-window layer: its sinks, then a ring of its window.

    Attributes:
        kv: (2, B * G, sinks + window, P).
        index: (B, sinks + window) ordinal of each column's token, -1 while empty.
        next: (B,) ordinal of the first step's token.
        seen: tokens given before the first step.
    """

    kv: Tensor
    index: Tensor
    next: Tensor
    seen: int


@dataclass(frozen=True, kw_only=True)
class MixerCache:
    """State of one recurrent layer.

    Attributes:
        taps: the last W - 1 inputs of the convolution, oldest first, each (B, C).
        ssm: (B, H, P, N) float32 or float64, written in place.
        seen: tokens given before the first step.
    """

    taps: tuple[Tensor, ...]
    ssm: Tensor
    seen: int


Cache = AttentionCache | WindowCache | MixerCache


@dataclass(frozen=True, kw_only=True)
class DecodeState:
    """Caches of all layers; each step uses it up.

    Attributes:
        caches: one a layer.
        position: (B,) of the next token unless the caller says otherwise.
        steps: taken since the caches were opened.
    """

    caches: tuple[Cache, ...]
    position: Tensor
    steps: int = 0

    @property
    def batch(self) -> int:
        """Rows (B)."""
        return self.position.shape[0]


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
        taps = tuple(tap.clone() for tap in held.conv.unbind(dim=2))
        return MixerCache(taps=taps, ssm=held.ssm.clone(), seen=held.seen)
    k, v, index = held.columns()
    both = torch.stack((k, v)).flatten(1, 2)  # (2, B * G, L, P)
    if window is None:
        hidden = None if index is None else index < 0
        cache = AttentionCache(kv=both, hidden=hidden, length=held.length, seen=held.seen)
        return cache.grown(max(capacity, held.length + 1))
    sinks, near = window
    room = sinks + near
    index = held.full_index()
    following = held.next_index()
    keep = (index >= 0) & ((index < sinks) | (following[:, None] - index < near))
    # One spare column takes what is not kept.
    slots = torch.where(keep, ring_slot(index, sinks, near), room)
    at = slots.repeat_interleave(k.shape[1], 0)[None, :, :, None].expand_as(both)
    empty = both.new_zeros(2, both.shape[1], room + 1, both.shape[3])
    ordinals = index.new_full((len(k), room + 1), -1).scatter(1, slots, index)
    return WindowCache(
        kv=empty.scatter(2, at, both)[:, :, :room].contiguous(),
        index=ordinals[:, :room].contiguous(),
        next=following,
        seen=held.seen,
    )


def finish(state: DecodeState) -> HybridState:
    """Give back a state that `HybridStack` goes on from; shares memory with `state`."""
    layers: list[LayerState] = []
    for cache in state.caches:
        seen = cache.seen + state.steps
        if isinstance(cache, MixerCache):
            none = cache.ssm.new_zeros(state.batch, 0, 0)
            conv = torch.stack(cache.taps, dim=2) if cache.taps else none
            layers.append(MambaState(conv=conv, ssm=cache.ssm, seen=seen))
            continue
        index, length = None, cache.kv.shape[2]
        if isinstance(cache, WindowCache):
            index = cache.index
        else:
            length = cache.length + state.steps
            if cache.hidden is not None:
                real = ~cache.hidden[:, :length]
                index = torch.where(real, real.long().cumsum(dim=1) - 1, -1)
        k, v = torch.unflatten(cache.kv[:, :, :length], 1, (state.batch, -1)).unbind()
        layers.append(KVState(k=k, v=v, length=length, index=index, seen=seen))
    return HybridState(layers=tuple(layers), position=state.position)


def select(state: DecodeState, rows: Tensor | Sequence[int]) -> DecodeState:
    """Keep the given rows, in the given order."""
    at = torch.as_tensor(rows, device=state.position.device)
    caches: list[Cache] = []
    for cache in state.caches:
        if isinstance(cache, MixerCache):
            taps = tuple(tap[at] for tap in cache.taps)
            caches.append(replace(cache, taps=taps, ssm=cache.ssm[at]))
            continue
        kv = torch.unflatten(cache.kv, 1, (state.batch, -1))[:, at].flatten(1, 2)
        if isinstance(cache, WindowCache):
            index, following = cache.index[at], cache.next[at]
            caches.append(replace(cache, kv=kv, index=index, next=following))
        else:
            hidden = None if cache.hidden is None else cache.hidden[at]
            caches.append(replace(cache, kv=kv, hidden=hidden))
    return replace(state, caches=tuple(caches), position=state.position[at])
