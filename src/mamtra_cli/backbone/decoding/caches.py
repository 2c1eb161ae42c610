"""What one-token decoding keeps of each row, in buffers that steps write into.

Rows live in slots of shared buffers and have a length of their own: each starts at column 0, so a
row joins a batch that runs by being written into a free slot, and leaves it by a zero in the list
of lengths. Nobody else's memory is touched; only `compact` moves rows, into slots that others
left. Every call uses a `DecodeState` up and hands the next one back over the same memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mamtra_cli.layers.state import HybridState, KVState, LayerState, MambaState

Window = tuple[int, int]
"""Sinks and window of a sliding-window layer, in tokens."""


@dataclass(frozen=True, kw_only=True)
class AttentionCache:
    """Keys and values of one attention layer.

    Attributes:
        kv: (2, slots * G, capacity, P); a row's columns from its length on are unused.
    """

    kv: Tensor


@dataclass(frozen=True, kw_only=True)
class WindowCache:
    """Keys and values of one sliding-window layer: its sinks, then a ring of its window.

    Attributes:
        kv: (2, slots * G, sinks + window, P).
        window: sinks and window.
    """

    kv: Tensor
    window: Window


@dataclass(frozen=True, kw_only=True)
class MixerCache:
    """State of one recurrent layer.

    Attributes:
        taps: the last W - 1 inputs of the convolution, oldest first, each (B, C).
        ssm: (slots, H, P, N) float32 or float64, written in place.
    """

    taps: tuple[Tensor, ...]
    ssm: Tensor


Cache = AttentionCache | WindowCache | MixerCache


@dataclass(frozen=True, kw_only=True)
class DecodeState:
    """Caches of all layers; each call uses it up.

    Attributes:
        caches: one a layer.
        position: (B,) of each row's next token unless the caller says otherwise.
        lengths: tokens of each of the B rows; 0 where the slot is free.
        slots: rows that fit without new memory.
        capacity: tokens of a row that fit without new memory.
    """

    caches: tuple[Cache, ...]
    position: Tensor
    lengths: tuple[int, ...]
    slots: int
    capacity: int

    @property
    def batch(self) -> int:
        """Rows that a step runs (B): up to the last slot in use."""
        return len(self.lengths)

    @property
    def live(self) -> int:
        """Rows in use."""
        return sum(length > 0 for length in self.lengths)


def open_state(held: HybridState, windows: Sequence[Window | None], capacity: int) -> DecodeState:
    """A state of its own that holds the rows of what a prefill left.

    Args:
        held: states of all layers, left as they are.
        windows: those of sliding-window layers.
        capacity: tokens of a row to make room for.
    """
    first = held.layers[0]
    device = (first.ssm if isinstance(first, MambaState) else first.k).device
    capacity = max(capacity, *row_lengths(held)) + 1
    pairs = zip(held.layers, windows, strict=True)
    state = DecodeState(
        caches=tuple(_empty(layer, window, capacity) for layer, window in pairs),
        position=torch.as_tensor(held.position, device=device).reshape(-1)[:0].clone(),
        lengths=(),
        slots=0,
        capacity=capacity,
    )
    return join(state, held, range(held.batch))


def join(state: DecodeState, held: HybridState, at: Sequence[int]) -> DecodeState:
    """Write the rows of another state into free slots.

    Args:
        state: the rows that run.
        held: B = len(at) rows, left as they are.
        at: their slots; those beyond the last in use are made.
    """
    lengths = row_lengths(held)
    top = max(state.batch, max(at) + 1)
    after = [*state.lengths, *[0] * (top - state.batch)]
    for slot, length in zip(at, lengths, strict=True):
        if after[slot]:
            raise ValueError(f"slot {slot} is taken")
        after[slot] = length
    if top > state.slots:
        # Doubling copies a row a bounded number of times, however many join after it.
        state = _with_slots(state, held, max(top, 2 * state.slots))
    state = with_room(state, max(lengths) + 1)
    device = state.position.device
    slots = torch.tensor(list(at), device=device)
    caches = tuple(
        _joined(cache, layer, slots, lengths, top)
        for cache, layer in zip(state.caches, held.layers, strict=True)
    )
    new = torch.as_tensor(held.position, device=device).expand(len(lengths))
    kind = torch.promote_types(state.position.dtype, new.dtype)
    position = F.pad(state.position.to(kind), (0, top - state.batch))
    position[slots] = new.to(kind)
    return replace(state, caches=caches, position=position, lengths=tuple(after))


def leave(state: DecodeState, at: Sequence[int]) -> DecodeState:
    """Free slots; no memory moves."""
    gone = set(at)
    lengths = [0 if slot in gone else length for slot, length in enumerate(state.lengths)]
    return _trimmed(state, lengths)


def compact(state: DecodeState) -> tuple[DecodeState, dict[int, int]]:
    """Move the last rows into free slots until none is free; says where each went."""
    lengths = list(state.lengths)
    moves: dict[int, int] = {}
    for hole in [slot for slot, length in enumerate(lengths) if not length]:
        while lengths and not lengths[-1]:
            lengths.pop()
        if hole >= len(lengths):
            break
        moves[len(lengths) - 1] = hole
        lengths[hole] = lengths.pop()
    if moves:
        device = state.position.device
        source = torch.tensor(list(moves), device=device)
        target = torch.tensor(list(moves.values()), device=device)
        for rows in (state.position, *_by_slot(state)):
            rows[target] = rows[source]
    return _trimmed(state, lengths), moves


def row(state: DecodeState, slot: int) -> HybridState:
    """One row as a state that `HybridStack` goes on from; shares memory with `state`."""
    return _closed(state, slot, slot + 1)


def finish(state: DecodeState) -> HybridState:
    """All rows as a state that `HybridStack` goes on from; shares memory with `state`."""
    return _closed(state, 0, state.batch)


def with_room(state: DecodeState, tokens: int) -> DecodeState:
    """The same with room for so many tokens a row; where it must grow, it doubles."""
    if tokens <= state.capacity:
        return state
    capacity = 2 * tokens + 16
    extra = (0, 0, 0, capacity - state.capacity)
    caches = tuple(
        replace(cache, kv=F.pad(cache.kv, extra)) if isinstance(cache, AttentionCache) else cache
        for cache in state.caches
    )
    return replace(state, caches=caches, capacity=capacity)


def row_lengths(held: HybridState) -> list[int]:
    """Tokens of each row, without pads where a layer can tell them."""
    for layer in held.layers:
        if isinstance(layer, KVState):
            return [int(length) for length in layer.next_index().tolist()]
    return [held.layers[0].seen] * held.batch


def ring_slot(index: Tensor, sinks: int, window: int) -> Tensor:
    """Column of a token in a window cache: sinks first, then a ring."""
    return torch.where(index < sinks, index, sinks + (index - sinks) % window)


def _empty(layer: LayerState, window: Window | None, capacity: int) -> Cache:
    """A cache of the layer's kind and types without slots."""
    if isinstance(layer, MambaState):
        taps = tuple(tap[:0] for tap in layer.conv.unbind(dim=2))
        return MixerCache(taps=taps, ssm=layer.ssm[:0].clone())
    room = capacity if window is None else sum(window)
    kv = layer.k.new_zeros(2, 0, room, layer.k.shape[3])
    return AttentionCache(kv=kv) if window is None else WindowCache(kv=kv, window=window)


def _with_slots(state: DecodeState, held: HybridState, slots: int) -> DecodeState:
    """The same with room for so many rows."""
    extra = slots - state.slots
    caches: list[Cache] = []
    for cache, layer in zip(state.caches, held.layers, strict=True):
        if isinstance(cache, MixerCache):
            caches.append(replace(cache, ssm=F.pad(cache.ssm, (0, 0) * 3 + (0, extra))))
        else:
            assert isinstance(layer, KVState)
            kv = F.pad(cache.kv, (0, 0, 0, 0, 0, extra * layer.k.shape[1]))
            caches.append(replace(cache, kv=kv))
    return replace(state, caches=tuple(caches), slots=slots)


def _joined(
    cache: Cache, layer: LayerState, slots: Tensor, lengths: Sequence[int], top: int
) -> Cache:
    """A cache after rows of `layer` took slots; `top` rows are in use then."""
    if isinstance(cache, MixerCache):
        assert isinstance(layer, MambaState)
        cache.ssm[slots] = layer.ssm
        taps = []
        for tap, new in zip(cache.taps, layer.conv.unbind(dim=2), strict=True):
            tap = F.pad(tap, (0, 0, 0, top - len(tap)))
            tap[slots] = new
            taps.append(tap)
        return replace(cache, taps=tuple(taps))
    assert isinstance(layer, KVState)
    k, v, index = layer.columns()
    groups = k.shape[1]
    both = torch.stack((k, v))  # (2, B, G, L, P)
    by_slot = torch.unflatten(cache.kv, 1, (-1, groups))
    if isinstance(cache, WindowCache):
        by_slot[:, slots] = _ring(both, layer, cache.window)
        return cache
    for place, (slot, length) in enumerate(zip(slots.tolist(), lengths, strict=True)):
        real = both[:, place]
        if index is not None:
            real = real[:, :, index[place] >= 0]
        by_slot[:, slot, :, :length] = real
        # An earlier row may have left values here that are not finite, and 0 times those is not 0.
        by_slot[:, slot, :, length:] = 0
    return cache


def _ring(both: Tensor, layer: KVState, window: Window) -> Tensor:
    """Keys and values (2, B, G, L, P) of a layer as (2, B, G, sinks + window, P) of a ring."""
    (sinks, near), room = window, sum(window)
    index, following = layer.full_index(), layer.next_index()
    keep = (index >= 0) & ((index < sinks) | (following[:, None] - index < near))
    # One spare column takes what is not kept.
    columns = torch.where(keep, ring_slot(index, sinks, near), room)
    at = columns[None, :, None, :, None].expand_as(both)
    empty = both.new_zeros(*both.shape[:3], room + 1, both.shape[4])
    return empty.scatter(3, at, both)[:, :, :, :room]


def _ordinals(lengths: Tensor, window: Window) -> Tensor:
    """Which token each column of a ring holds, -1 for none: (B, sinks + window)."""
    sinks, near = window
    columns = torch.arange(sinks + near, device=lengths.device)
    last = lengths[:, None] - 1
    newest = torch.where(columns < sinks, columns, last - (last - columns) % near)
    return torch.where(columns <= last, newest, -1)


def _trimmed(state: DecodeState, lengths: list[int]) -> DecodeState:
    """The state with these lengths and no free slots after the last in use."""
    while lengths and not lengths[-1]:
        lengths.pop()
    batch = len(lengths)
    caches = tuple(
        replace(cache, taps=tuple(tap[:batch] for tap in cache.taps))
        if isinstance(cache, MixerCache)
        else cache
        for cache in state.caches
    )
    position = state.position[:batch]
    return replace(state, caches=caches, position=position, lengths=tuple(lengths))


def _by_slot(state: DecodeState) -> list[Tensor]:
    """Views of everything that caches hold whose first axis is that of slots."""
    views: list[Tensor] = []
    for cache in state.caches:
        if isinstance(cache, MixerCache):
            views += [cache.ssm, *cache.taps]
        else:
            views += torch.unflatten(cache.kv, 1, (state.slots, -1)).unbind()
    return views


def _closed(state: DecodeState, first: int, stop: int) -> HybridState:
    """Rows first..stop as a state of the modules."""
    lengths = state.lengths[first:stop]
    longest = max(lengths)
    at = torch.tensor(lengths, device=state.position.device)
    layers: list[LayerState] = []
    for cache in state.caches:
        if isinstance(cache, MixerCache):
            ssm = cache.ssm[first:stop]
            none = ssm.new_zeros(len(lengths), 0, 0)
            taps = [tap[first:stop] for tap in cache.taps]
            conv = torch.stack(taps, dim=2) if taps else none
            layers.append(MambaState(conv=conv, ssm=ssm, seen=longest))
            continue
        k, v = torch.unflatten(cache.kv, 1, (state.slots, -1))[:, first:stop].unbind()
        length, index = longest, None
        if isinstance(cache, WindowCache):
            length, index = k.shape[2], _ordinals(at, cache.window)
        elif min(lengths) < longest:
            columns = torch.arange(longest, device=at.device).expand(len(lengths), -1)
            index = torch.where(columns < at[:, None], columns, -1)
        k, v = k[:, :, :length], v[:, :, :length]
        layers.append(KVState(k=k, v=v, length=length, index=index, seen=longest))
    return HybridState(layers=tuple(layers), position=state.position[first:stop])


def select(state: DecodeState, rows: Sequence[int]) -> DecodeState:
    """A state of its own with the given rows, in the given order."""
    windows = [c.window if isinstance(c, WindowCache) else None for c in state.caches]
    return open_state(finish(state).select(rows), windows, state.capacity - 1)
