"""What one-token decoding keeps of one layer: a growing cache, a ring, a recurrent state, a pair.

Every cache holds rows in slots; a step runs the first B of them. A new kind of layer may bring a
cache of its own: `Cache` says what it must do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from mamtra_cli.layers.state import KVState, LayerState, MambaState, PairState

Window = tuple[int, int]
"""Sinks and window of a sliding-window layer, in tokens."""


class Cache(Protocol):
    """Rows of one layer in slots; buffers are written in place, and every call uses it up."""

    @property
    def device(self) -> torch.device:
        """Where the buffers are."""
        ...

    def emptied(self) -> Self:
        """One of the same kind and types without slots."""
        ...

    def grown(self, capacity: int) -> Self:
        """The same with room for so many tokens a row, where it keeps tokens at all."""
        ...

    def with_slots(self, slots: int) -> Self:
        """The same with room for so many rows."""
        ...

    def joined(self, layer: LayerState, slots: Tensor, lengths: Sequence[int], rows: int) -> Self:
        """The same after rows of `layer`, of these lengths, took slots; `rows` are then in use."""
        ...

    def trimmed(self, rows: int) -> Self:
        """The same where only the first rows are in use."""
        ...

    def by_slot(self) -> list[Tensor]:
        """Views of everything held, whose first axis is that of slots in use."""
        ...

    def closed(self, first: int, stop: int, lengths: Sequence[int]) -> LayerState:
        """Rows first..stop, of these lengths, as a state of the module; shares memory."""
        ...


@dataclass(frozen=True, kw_only=True)
class AttentionCache:
    """Keys and values of one attention layer.

    Attributes:
        kv: (2, slots * G, capacity, P); a row's columns from its length on are unused.
        groups: G.
    """

    kv: Tensor
    groups: int

    @classmethod
    def of(cls, layer: LayerState) -> "AttentionCache":
        """Without slots, in the types of a layer's state."""
        assert isinstance(layer, KVState)
        return cls(kv=layer.k.new_zeros(2, 0, 0, layer.k.shape[3]), groups=layer.k.shape[1])

    @property
    def device(self) -> torch.device:
        """Where the buffers are."""
        return self.kv.device

    def emptied(self) -> "AttentionCache":
        """One without slots."""
        return replace(self, kv=self.kv[:, :0])

    def grown(self, capacity: int) -> "AttentionCache":
        """The same with room for so many tokens a row."""
        extra = max(capacity - self.kv.shape[2], 0)
        return replace(self, kv=F.pad(self.kv, (0, 0, 0, extra)))

    def with_slots(self, slots: int) -> "AttentionCache":
        """The same with room for so many rows."""
        return replace(self, kv=_padded(self.kv, slots * self.groups))

    def joined(
        self, layer: LayerState, slots: Tensor, lengths: Sequence[int], rows: int
    ) -> "AttentionCache":
        """Rows in columns from 0 on."""
        del rows
        assert isinstance(layer, KVState)
        k, v, index = layer.columns()
        both = torch.stack((k, v))  # (2, B, G, L, P)
        by_slot = torch.unflatten(self.kv, 1, (-1, self.groups))
        for place, (slot, length) in enumerate(zip(slots.tolist(), lengths, strict=True)):
            real = both[:, place]
            if index is not None:
                real = real[:, :, index[place] >= 0]
            by_slot[:, slot, :, :length] = real
            # What an earlier row left here may not be finite, and 0 times that is not 0.
            by_slot[:, slot, :, length:] = 0
        return self

    def trimmed(self, rows: int) -> "AttentionCache":
        """The same: slots beyond the last in use are not looked at."""
        del rows
        return self

    def by_slot(self) -> list[Tensor]:
        """Keys and values, each (slots, G, capacity, P)."""
        return list(torch.unflatten(self.kv, 1, (-1, self.groups)).unbind())

    def closed(self, first: int, stop: int, lengths: Sequence[int]) -> KVState:
        """Columns in use; shorter rows say which are theirs."""
        longest = max(lengths)
        k, v = (view[first:stop, :, :longest] for view in self.by_slot())
        index = None
        if min(lengths) < longest:
            at = torch.tensor(lengths, device=self.device)
            columns = torch.arange(longest, device=self.device).expand(len(lengths), -1)
            index = torch.where(columns < at[:, None], columns, -1)
        return KVState(k=k, v=v, length=longest, index=index, seen=longest)


@dataclass(frozen=True, kw_only=True)
class WindowCache:
    """Keys and values of one sliding-window layer: its sinks, then a ring of its window.

    Attributes:
        kv: (2, slots * G, sinks + window, P).
        window: sinks and window.
        groups: G.
    """

    kv: Tensor
    window: Window
    groups: int

    @classmethod
    def of(cls, layer: LayerState, window: Window) -> "WindowCache":
        """Without slots, in the types of a layer's state."""
        assert isinstance(layer, KVState)
        kv = layer.k.new_zeros(2, 0, sum(window), layer.k.shape[3])
        return cls(kv=kv, window=window, groups=layer.k.shape[1])

    @property
    def device(self) -> torch.device:
        """Where the buffers are."""
        return self.kv.device

    def emptied(self) -> "WindowCache":
        """One without slots."""
        return replace(self, kv=self.kv[:, :0])

    def grown(self, capacity: int) -> "WindowCache":
        """The same: a ring does not grow."""
        del capacity
        return self

    def with_slots(self, slots: int) -> "WindowCache":
        """The same with room for so many rows."""
        return replace(self, kv=_padded(self.kv, slots * self.groups))

    def joined(
        self, layer: LayerState, slots: Tensor, lengths: Sequence[int], rows: int
    ) -> "WindowCache":
        """Rows in their rings."""
        del lengths, rows
        assert isinstance(layer, KVState)
        k, v, _ = layer.columns()
        by_slot = torch.unflatten(self.kv, 1, (-1, self.groups))
        by_slot[:, slots] = _ring(torch.stack((k, v)), layer, self.window)
        return self

    def trimmed(self, rows: int) -> "WindowCache":
        """The same: slots beyond the last in use are not looked at."""
        del rows
        return self

    def by_slot(self) -> list[Tensor]:
        """Keys and values, each (slots, G, sinks + window, P)."""
        return list(torch.unflatten(self.kv, 1, (-1, self.groups)).unbind())

    def closed(self, first: int, stop: int, lengths: Sequence[int]) -> KVState:
        """All columns; which token each holds follows from the lengths."""
        k, v = (view[first:stop] for view in self.by_slot())
        index = _ordinals(torch.tensor(lengths, device=self.device), self.window)
        return KVState(k=k, v=v, length=k.shape[2], index=index, seen=max(lengths))


@dataclass(frozen=True, kw_only=True)
class MixerCache:
    """State of one recurrent layer.

    Attributes:
        taps: the last W - 1 inputs of the convolution, oldest first, each (B, C).
        ssm: (slots, H, P, N) float32 or float64, written in place.
    """

    taps: tuple[Tensor, ...]
    ssm: Tensor

    @classmethod
    def of(cls, layer: LayerState) -> "MixerCache":
        """Without slots, in the types of a layer's state."""
        assert isinstance(layer, MambaState)
        taps = tuple(tap[:0] for tap in layer.conv.unbind(dim=2))
        return cls(taps=taps, ssm=layer.ssm[:0].clone())

    @property
    def device(self) -> torch.device:
        """Where the buffers are."""
        return self.ssm.device

    def emptied(self) -> "MixerCache":
        """One without slots."""
        return MixerCache(taps=tuple(tap[:0] for tap in self.taps), ssm=self.ssm[:0])

    def grown(self, capacity: int) -> "MixerCache":
        """The same: a recurrent state does not grow."""
        del capacity
        return self

    def with_slots(self, slots: int) -> "MixerCache":
        """The same with room for so many rows; taps are as many as there are rows in use."""
        extra = slots - len(self.ssm)
        return replace(self, ssm=F.pad(self.ssm, (0, 0) * 3 + (0, extra)))

    def joined(
        self, layer: LayerState, slots: Tensor, lengths: Sequence[int], rows: int
    ) -> "MixerCache":
        """Rows in their slots."""
        del lengths
        assert isinstance(layer, MambaState)
        self.ssm[slots] = layer.ssm
        taps = []
        for tap, new in zip(self.taps, layer.conv.unbind(dim=2), strict=True):
            tap = F.pad(tap, (0, 0, 0, rows - len(tap)))
            tap[slots] = new
            taps.append(tap)
        return replace(self, taps=tuple(taps))

    def trimmed(self, rows: int) -> "MixerCache":
        """The same without the taps of other rows."""
        return replace(self, taps=tuple(tap[:rows] for tap in self.taps))

    def by_slot(self) -> list[Tensor]:
        """State and taps."""
        return [self.ssm, *self.taps]

    def closed(self, first: int, stop: int, lengths: Sequence[int]) -> MambaState:
        """State and taps of these rows."""
        ssm = self.ssm[first:stop]
        taps = [tap[first:stop] for tap in self.taps]
        conv = torch.stack(taps, dim=2) if taps else ssm.new_zeros(stop - first, 0, 0)
        return MambaState(conv=conv, ssm=ssm, seen=max(lengths))


@dataclass(frozen=True, kw_only=True)
class PairCache:
    """A ring and a recurrent state of one layer."""

    near: WindowCache
    far: MixerCache

    @classmethod
    def of(cls, layer: LayerState, window: Window) -> "PairCache":
        """Without slots, in the types of a layer's state."""
        assert isinstance(layer, PairState)
        return cls(near=WindowCache.of(layer.near, window), far=MixerCache.of(layer.far))

    @property
    def device(self) -> torch.device:
        """Where the buffers are."""
        return self.near.device

    def emptied(self) -> "PairCache":
        """One without slots."""
        return PairCache(near=self.near.emptied(), far=self.far.emptied())

    def grown(self, capacity: int) -> "PairCache":
        """The same: neither part grows."""
        del capacity
        return self

    def with_slots(self, slots: int) -> "PairCache":
        """The same with room for so many rows."""
        return PairCache(near=self.near.with_slots(slots), far=self.far.with_slots(slots))

    def joined(
        self, layer: LayerState, slots: Tensor, lengths: Sequence[int], rows: int
    ) -> "PairCache":
        """Rows in both."""
        assert isinstance(layer, PairState)
        return PairCache(
            near=self.near.joined(layer.near, slots, lengths, rows),
            far=self.far.joined(layer.far, slots, lengths, rows),
        )

    def trimmed(self, rows: int) -> "PairCache":
        """The same where only the first rows are in use."""
        return PairCache(near=self.near, far=self.far.trimmed(rows))

    def by_slot(self) -> list[Tensor]:
        """Views of both."""
        return [*self.near.by_slot(), *self.far.by_slot()]

    def closed(self, first: int, stop: int, lengths: Sequence[int]) -> PairState:
        """Both as one state."""
        near = self.near.closed(first, stop, lengths)
        return PairState(near=near, far=self.far.closed(first, stop, lengths))


def in_use(buffer: Tensor, rows: int, axis: int = 0) -> Tensor:
    """The first rows of a buffer; the buffer itself, at no cost, where all are in use."""
    return buffer if buffer.shape[axis] == rows else buffer.narrow(axis, 0, rows)


def ring_slot(index: Tensor, sinks: int, window: int) -> Tensor:
    """Column of a token in a window cache: sinks first, then a ring."""
    return torch.where(index < sinks, index, sinks + (index - sinks) % window)


def _padded(kv: Tensor, rows: int) -> Tensor:
    """Keys and values (2, R, L, P) with room for so many rows."""
    return F.pad(kv, (0, 0, 0, 0, 0, rows - kv.shape[1]))


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
