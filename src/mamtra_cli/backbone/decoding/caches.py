"""What one-token decoding keeps of its rows, in buffers that steps write into.

Rows live in slots of shared buffers and have a length of their own: each starts at column 0, so a
row joins a batch that runs by being written into a free slot, and leaves it by a zero in the list
of lengths. Nobody else's memory is touched; only `compact` moves rows, into slots that others
left. Every call uses a `DecodeState` up and hands the next one back over the same memory. What one
layer keeps is in layer_caches.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mamtra_cli.backbone.decoding.layer_caches import Cache
from mamtra_cli.layers.state import HybridState


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


def open_state(held: HybridState, caches: Sequence[Cache], room: int) -> DecodeState:
    """A state without rows, for rows like those of `held`.

    Args:
        held: what a prefill left.
        caches: one a layer, without slots.
        room: tokens to make room for after the longest of these rows.
    """
    capacity = max(row_lengths(held)) + max(room, 1)
    position = torch.as_tensor(held.position, device=caches[0].device)
    return DecodeState(
        caches=tuple(cache.grown(capacity) for cache in caches),
        position=position.reshape(-1)[:0].clone(),
        lengths=(),
        slots=0,
        capacity=capacity,
    )


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
        count = max(top, 2 * state.slots)
        caches = tuple(cache.with_slots(count) for cache in state.caches)
        state = replace(state, caches=caches, slots=count)
    state = with_room(state, max(lengths) + 1)
    device = state.position.device
    slots = torch.tensor(list(at), device=device)
    caches = tuple(
        cache.joined(layer, slots, lengths, top)
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
        views = [view for cache in state.caches for view in cache.by_slot()]
        for rows in (state.position, *views):
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
    caches = tuple(cache.grown(capacity) for cache in state.caches)
    return replace(state, caches=caches, capacity=capacity)


def row_lengths(held: HybridState) -> list[int]:
    """Tokens of each row, without pads where a layer can tell them."""
    for layer in held.layers:
        lengths = layer.row_lengths()
        if lengths is not None:
            return lengths
    return [held.layers[0].seen] * held.batch


def _trimmed(state: DecodeState, lengths: list[int]) -> DecodeState:
    """The state with these lengths and no free slots after the last in use."""
    while lengths and not lengths[-1]:
        lengths.pop()
    batch = len(lengths)
    caches = tuple(cache.trimmed(batch) for cache in state.caches)
    position = state.position[:batch]
    return replace(state, caches=caches, position=position, lengths=tuple(lengths))


def _closed(state: DecodeState, first: int, stop: int) -> HybridState:
    """Rows first..stop as a state of the modules."""
    lengths = state.lengths[first:stop]
    layers = tuple(cache.closed(first, stop, lengths) for cache in state.caches)
    return HybridState(layers=layers, position=state.position[first:stop])
