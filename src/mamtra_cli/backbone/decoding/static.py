"""The fused step over buffers whose size and address stay, so that a CUDA graph may hold it.

Lengths and positions lie on the device and are counted there; attention looks at a fixed number of
columns and hides those that are not filled; the taps of all convolutions are moved on in one call.
No number is read back, so a step can be recorded and replayed (`graph.py`). Run as it is, on any
device, it gives what `FusedStack.step` gives, up to the order of sums over hidden columns.
"""

from dataclasses import replace

import torch
from torch import Tensor

from mamtra_cli.backbone.decoding.caches import DecodeState, with_room
from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.backbone.decoding.layer import Turns, normed
from mamtra_cli.backbone.decoding.layer_caches import (
    Cache,
    MixerCache,
    PairCache,
    Window,
    ring_slot,
)
from mamtra_cli.backbone.decoding.places import Columns, Places


class DevicePlaces(Places):
    """Columns of a step whose lengths nobody on the host knows.

    Args:
        lengths: (B,) tokens that each row has before the step; 0 for a free row.
        end: columns of a full cache to look at, above the longest.
    """

    def __init__(self, lengths: Tensor, end: int) -> None:
        self.at = lengths
        self.longest = end
        self._made: dict[tuple[int, Window | None], Columns] = {}

    def _make(self, groups: int, window: Window | None) -> Columns:
        end = self.longest if window is None else sum(window)
        at = self.at.repeat_interleave(groups)
        hidden = torch.arange(end, device=at.device) > at[:, None, None]
        new = at if window is None else ring_slot(at, *window)
        return Columns(
            end=end, new=new, rows=torch.arange(len(at), device=at.device), hidden=hidden
        )


class StaticRows:
    """Rows of a decode state in buffers that stay where they are.

    Args:
        stack: whose rows they are.
        state: used up; its free slots stay free, and no row joins.
        capacity: tokens a row that there will be room for.
    """

    @torch.no_grad()
    def __init__(self, stack: FusedStack, state: DecodeState, capacity: int) -> None:
        state = with_room(state, capacity)
        device = state.position.device
        self.stack = stack
        self.capacity = state.capacity
        self.longest = max(state.lengths)
        self.position = state.position.clone()
        self.lengths = torch.tensor(state.lengths, device=device)
        self.live = (self.lengths > 0).to(self.lengths.dtype)
        self.caches, self.taps = _joined(state.caches)

    @property
    def moving(self) -> list[Tensor]:
        """Everything that a step changes, keys and values left out: they are written once."""
        states = [mixer.ssm for cache in self.caches for mixer in _mixers(cache)]
        taps = [taps for taps, _ in self.taps]
        return [self.position, self.lengths, *taps, *states]

    @torch.no_grad()
    def step(self, x: Tensor, end: int) -> Tensor:
        """Run one token of each row.

        Args:
            x: (B, D) embedded inputs; those of free rows may be anything finite.
            end: columns that attention looks at, more than the tokens of the longest row; at most
                `capacity`.

        Returns:
            (B, D) after the final norm.
        """
        turns = Turns(self.position, self.stack.rotation)
        x = self.stack.placed(x, self.position)
        places = DevicePlaces(self.lengths, end)
        after = []
        for layer, cache in zip(self.stack.layers, self.caches, strict=True):
            x, cache = layer(x, cache, places, turns)
            after.append(cache)
        for taps, layers in self.taps:
            new = torch.stack([_mixers(after[layer])[0].taps[-1] for layer in layers])
            taps[:, :-1] = taps[:, 1:].clone()
            taps[:, -1] = new
        self.lengths.add_(self.live)
        self.position.add_(1)
        return normed(x, self.stack.norm)

    def counted(self) -> None:
        """Note on the host that a step was run."""
        self.longest += 1
        if self.longest > self.capacity:
            raise ValueError(f"no room after {self.capacity} tokens")


def _mixers(cache: Cache) -> list[MixerCache]:
    """Taps and states in a layer's cache."""
    if isinstance(cache, PairCache):
        return [cache.far]
    return [cache] if isinstance(cache, MixerCache) else []


def _joined(caches: tuple[Cache, ...]) -> tuple[list[Cache], list[tuple[Tensor, list[int]]]]:
    """Caches whose taps are views of one buffer (layers, W - 1, B, C) for those of one shape."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for layer, cache in enumerate(caches):
        for mixer in _mixers(cache):
            if mixer.taps:
                key = (len(mixer.taps), mixer.taps[0].shape, mixer.taps[0].dtype)
                alike.setdefault(key, []).append(layer)
    found, buffers = list(caches), []
    for layers in alike.values():
        taps = torch.stack([torch.stack(_mixers(caches[layer])[0].taps) for layer in layers])
        for place, layer in enumerate(layers):
            cache = found[layer]
            views = taps[place].unbind()
            if isinstance(cache, PairCache):
                found[layer] = replace(cache, far=replace(cache.far, taps=views))
            elif isinstance(cache, MixerCache):
                found[layer] = replace(cache, taps=views)
        buffers.append((taps, layers))
    return found, buffers
