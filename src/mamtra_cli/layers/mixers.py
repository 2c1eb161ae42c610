"""What a stack needs from whatever mixes tokens in a layer: the call of `SelfAttention`."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mamtra_cli.layers.rotary import RopeTable
from mamtra_cli.layers.state import LayerState


class Mixer(Protocol):
    """What a layer of a stack needs from its mixer."""

    def __call__(
        self,
        u: Tensor,
        state: LayerState | None = None,
        *,
        positions: Tensor | None = None,
        seq_idx: Tensor | None = None,
        pad_mask: Tensor | None = None,
        rope: RopeTable | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Mix a sequence; see `SelfAttention.forward`."""
        ...

    def step(
        self,
        u: Tensor,
        state: LayerState,
        *,
        positions: Tensor | None = None,
        rope: RopeTable | None = None,
    ) -> tuple[Tensor, LayerState]:
        """Mix new tokens without gradients, using up `state`; see `SelfAttention.step`."""
        ...

    def alloc(
        self,
        batch: int,
        *,
        capacity: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> LayerState:
        """A state that has seen nothing."""
        ...


class Fitted(Protocol):
    """A mixer whose output projection calibration can set."""

    o_proj: nn.Linear

    def features(
        self,
        u: Tensor,
        state: Any = None,
        *,
        positions: Tensor | None = None,
        seq_idx: Tensor | None = None,
        pad_mask: Tensor | None = None,
        rope: RopeTable | None = None,
    ) -> tuple[Tensor, Any]:
        """What `o_proj` reads: (B, T, H * P), and the state."""
        ...
