"""The hybrid network on one page: blocks of a mixer and a feed-forward, and the stack of them.

    x <- x + mixer(norm_in(x));  x <- x + mlp(norm_post(x))

Norms, positions and feed-forward are what the config says, and a layer may have no feed-forward.
Names are those of a published Qwen2 decoder whatever the model, so `layers.{i}.self_attn` becomes
`layers.{i}.mixer` in a converted layer and nothing else moves; other published names, and fused
projections, are mapped by a family when it reads its file. Knows nothing of text or speech.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.kinds import ATTENTION, kind_of
from mamtra_cli.layers.mixers import Mixer
from mamtra_cli.layers.mlp import GeluMLP, SwiGLU, build_mlp
from mamtra_cli.layers.norm import build_norm
from mamtra_cli.layers.rotary import RopeTable, shape_table
from mamtra_cli.layers.state import HybridState, LayerState
from mamtra_cli.ops.attention import token_index


@dataclass(frozen=True)
class StackOutput:
    """What a pass gives.

    Attributes:
        hidden: (B, T, D) after the final norm.
        state: what the next pass goes on from; without layers where it was not kept.
        captured: layer index to the input of that layer, (B, T, D).
    """

    hidden: Tensor
    state: HybridState
    captured: dict[int, Tensor]


class Block(nn.Module):
    """One layer: a mixer of the given kind and a feed-forward, each behind its norm."""

    def __init__(self, config: HybridConfig, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.input_layernorm = build_norm(config.norm, config.d_model, config.norm_eps)
        # Attention keeps its published name, anything that replaced it is a `mixer`.
        self.core_name = "self_attn" if kind == ATTENTION else "mixer"
        self.add_module(self.core_name, kind_of(kind).build(config.shape, config.mixer))
        width = config.feed_width(kind)
        self.mlp: SwiGLU | GeluMLP | None = None
        if width:
            self.post_attention_layernorm = build_norm(config.norm, config.d_model, config.norm_eps)
            self.mlp = build_mlp(config.ffn, config.d_model, width, config.ffn_bias)

    @property
    def core(self) -> Mixer:
        """The mixer, whatever its name."""
        return cast(Mixer, getattr(self, self.core_name))

    def forward(
        self,
        x: Tensor,
        state: LayerState | None,
        positions: Tensor,
        seq_idx: Tensor | None,
        pad_mask: Tensor | None,
        rope: RopeTable | None,
    ) -> tuple[Tensor, LayerState]:
        """Map x: (B, T, D) to (B, T, D) and the state after it."""
        mixed, after = self.core(
            self.input_layernorm(x),
            state,
            positions=positions,
            seq_idx=seq_idx,
            pad_mask=pad_mask,
            rope=rope,
        )
        return self.fed(x + mixed), after

    def step(
        self, x: Tensor, state: LayerState, positions: Tensor, rope: RopeTable | None
    ) -> tuple[Tensor, LayerState]:
        """Like `forward` without gradients; uses up `state`."""
        u = self.input_layernorm(x)
        mixed, after = self.core.step(u, state, positions=positions, rope=rope)
        return self.fed(x + mixed), after

    def fed(self, x: Tensor) -> Tensor:
        """The block without its mixer: x (B, T, D) and what the feed-forward adds."""
        return x if self.mlp is None else x + self.mlp(self.post_attention_layernorm(x))


class HybridStack(nn.Module):
    """A decoder body whose layers are what `config.kinds` says.

    `recompute` trades time for memory in training: `none`, `scan` (recurrences
    are run again in the backward pass) or `block` (every block is).
    """

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        if config.vocab_size:
            self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        if config.learned_positions:
            self.embed_positions = nn.Embedding(config.learned_positions, config.d_model)
        self.layers = nn.ModuleList(Block(config, kind) for kind in config.layer_kinds)
        self.norm = build_norm(config.norm, config.d_model, config.norm_eps)
        self._recompute = "none"
        self.recompute = "scan"

    @property
    def recompute(self) -> str:
        """What the backward pass runs again."""
        return self._recompute

    @recompute.setter
    def recompute(self, what: str) -> None:
        if what not in ("none", "scan", "block"):
            raise ValueError(f"recompute must be none, scan or block, got {what!r}")
        self._recompute = what
        for block in self.blocks():
            if hasattr(block.core, "checkpoint"):
                block.core.checkpoint = what == "scan"

    def blocks(self) -> Iterator[Block]:
        """The layers, typed."""
        for block in self.layers:
            yield cast(Block, block)

    def alloc(self, batch: int, *, capacity: int = 0) -> HybridState:
        """A state that has seen nothing, with room for `capacity` tokens."""
        return HybridState(
            layers=tuple(block.core.alloc(batch, capacity=capacity) for block in self.blocks())
        )

    def forward(
        self,
        x: Tensor,
        state: HybridState | None = None,
        *,
        positions: Tensor | None = None,
        seq_idx: Tensor | None = None,
        pad_mask: Tensor | None = None,
        capture: Collection[int] = (),
        keep_state: bool = True,
        start: int = 0,
    ) -> StackOutput:
        """Run a sequence, or the next part of one.

        Args:
            x: (B, T, D) embedded inputs.
            state: what earlier parts left, unchanged by this call; None at the start.
            positions: (T,) or (B, T), integers or fractions (learned positions take integers).
                By default real tokens are counted on from the state, anew in each packed sequence.
            seq_idx: (B, T) ids of packed sequences; the first of a row continues `state`.
            pad_mask: (B, T) bool, True where real; pads stand at the ends of a row.
            capture: layers whose inputs are wanted.
            keep_state: hand the state back; training has no use for it and saves its memory.
            start: first layer to run; `x` is what it is given. For use without states.
        """
        self._check(x, state)
        if positions is None:
            positions = self._count(x, state, seq_idx, pad_mask)
        rope = self.rope(positions, x.dtype)
        if start == 0:
            x = self.placed(x, positions)
        captured: dict[int, Tensor] = {}
        after: list[LayerState] = []
        again = self._recompute == "block" and torch.is_grad_enabled()
        for i, block in enumerate(self.blocks()):
            if i < start:
                continue
            if i in capture:
                captured[i] = x
            before = None if state is None else state.layers[i]
            arguments = (x, before, positions, seq_idx, pad_mask, rope)
            if again:
                x, layer = recompute(block, *arguments, use_reentrant=False)
            else:
                x, layer = block(*arguments)
            if keep_state:
                after.append(layer)
        end = next_position(positions, len(x), pad_mask)
        return StackOutput(self.norm(x), HybridState(layers=tuple(after), position=end), captured)

    @torch.no_grad()
    def step(
        self, x: Tensor, state: HybridState, *, positions: Tensor | None = None
    ) -> StackOutput:
        """Run new tokens x: (B, T, D) without gradients, writing into `state` where it can."""
        self._check(x, state)
        if positions is None:
            positions = self._count(x, state, None, None)
        rope = self.rope(positions, x.dtype)
        x = self.placed(x, positions)
        after: list[LayerState] = []
        for block, before in zip(self.blocks(), state.layers, strict=True):
            x, layer = block.step(x, before, positions, rope)
            after.append(layer)
        end = next_position(positions, len(x), None)
        return StackOutput(self.norm(x), HybridState(layers=tuple(after), position=end), {})

    def _check(self, x: Tensor, state: HybridState | None) -> None:
        if x.dim() != 3 or x.shape[2] != self.config.d_model or x.shape[1] < 1:
            raise ValueError(f"expected (B, T, {self.config.d_model}), got {tuple(x.shape)}")
        if state is not None and len(state.layers) != len(self.layers):
            raise ValueError(f"state of {len(state.layers)} layers for {len(self.layers)}")

    def rope(self, positions: Tensor, dtype: torch.dtype) -> RopeTable | None:
        """The rotary table that blocks are given; None where no layer turns anything.

        Args:
            positions: (T,) or (B, T).
            dtype: of the activations.
        """
        shape, mixer = self.config.shape, self.config.mixer
        if any(kind_of(kind).turns(shape, mixer) for kind in set(self.config.layer_kinds)):
            return shape_table(positions, shape, dtype)
        return None

    def placed(self, x: Tensor, positions: Tensor) -> Tensor:
        """Inputs (..., D) with learned positions added, where the model has them."""
        if not self.config.learned_positions:
            return x
        added: Tensor = self.embed_positions(positions.long())
        return x + added

    @staticmethod
    def _count(
        x: Tensor, state: HybridState | None, seq_idx: Tensor | None, pad_mask: Tensor | None
    ) -> Tensor:
        """Default positions, (T,) or (B, T)."""
        batch, length, _ = x.shape
        start = 0 if state is None else state.position
        if seq_idx is None and pad_mask is None:
            order = torch.arange(length, device=x.device)
            return start[:, None] + order if isinstance(start, Tensor) else start + order
        first = torch.as_tensor(start, device=x.device).expand(batch)
        return token_index(first, batch, length, seq_idx, pad_mask)[0]


def next_position(positions: Tensor, batch: int, pad_mask: Tensor | None) -> Tensor:
    """The position after the last real one, (B,).

    Args:
        positions: (T,) or (B, T).
        batch: B.
        pad_mask: (B, T) bool, True where real.
    """
    rows = positions.expand(batch, -1)
    if pad_mask is None:
        return rows[:, -1] + 1
    places = torch.arange(rows.shape[1], device=rows.device)
    last = torch.where(pad_mask, places, 0).amax(dim=1, keepdim=True)
    return rows.gather(1, last)[:, 0] + 1
