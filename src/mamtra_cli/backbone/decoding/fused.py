"""One decoded token through a hybrid stack, over fused weights and preallocated caches.

The same numbers as `HybridStack` by far fewer calls, which is what a token costs on a CPU. What
layers share is in layer.py, what each kind does in its own file (`backbone/kinds`), and the
arithmetic in `ops`. Knows nothing of sampling.
"""

from dataclasses import replace

import torch
from torch import Tensor

from mamtra_cli.backbone.decoding.caches import DecodeState, join, open_state, with_room
from mamtra_cli.backbone.decoding.layer import Pack, Rotation, Turns, normed, plain
from mamtra_cli.backbone.decoding.places import Places
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.backbone.kinds import kind_of
from mamtra_cli.layers.state import HybridState


class FusedStack:
    """A stack arranged for decoding. Its weights are those of the moment it is made.

    Args:
        stack: the network.
        pack: how each matrix is held and applied.
        share: make the stack's own projections views of the fused matrices, so that the
            arrangement costs no memory. Use with the default `pack`.
    """

    def __init__(self, stack: HybridStack, *, pack: Pack = plain, share: bool = False) -> None:
        with torch.no_grad():
            self.layers = [kind_of(b.kind).fused(b, pack, share) for b in stack.blocks()]
        self.config = stack.config
        self.norm = stack.norm
        self.placed = stack.placed
        self.rotation = Rotation(stack.config.shape, stack.norm.weight)

    @torch.no_grad()
    def open(self, state: HybridState, room: int) -> DecodeState:
        """Caches without rows, with room for `room` tokens after the rows of `state`."""
        if len(state.layers) != len(self.layers):
            raise ValueError(f"state of {len(state.layers)} layers for {len(self.layers)}")
        pairs = zip(self.layers, state.layers, strict=True)
        return open_state(state, [layer.cache(held) for layer, held in pairs], room)

    @torch.no_grad()
    def start(self, state: HybridState, room: int) -> DecodeState:
        """Copy the rows that a prefill left into caches with room for `room` more tokens."""
        return join(self.open(state, room), state, range(state.batch))

    @torch.no_grad()
    def step(
        self, x: Tensor, state: DecodeState, positions: Tensor | None = None
    ) -> tuple[Tensor, DecodeState]:
        """Run one token of each row.

        Args:
            x: (B, D) embedded inputs; those of free slots may be anything.
            state: used up by this call.
            positions: (B,), integers or fractions; counted on if absent.

        Returns:
            (B, D) after the final norm, and the state after it.
        """
        if x.shape != (state.batch, self.config.d_model):
            want = (state.batch, self.config.d_model)
            raise ValueError(f"expected {want}, got {tuple(x.shape)}")
        at = state.position if positions is None else positions
        turns = Turns(at, self.rotation)
        x = self.placed(x, at)
        state = with_room(state, max(state.lengths) + 1)
        places = Places(state.lengths, x.device)
        after = []
        for layer, cache in zip(self.layers, state.caches, strict=True):
            x, cache = layer(x, cache, places, turns)
            after.append(cache)
        lengths = tuple(length + 1 if length else 0 for length in state.lengths)
        done = replace(state, caches=tuple(after), position=at + 1, lengths=lengths)
        return normed(x, self.norm), done
