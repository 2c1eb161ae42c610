"""Which class mixes tokens for each letter of a layer plan. A new mixer is one `register` call.

Every mixer has the call of `SelfAttention`: `forward`, `step`, `alloc`.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from mamtra_cli.errors import PlanError
from mamtra_cli.layers.attention import SelfAttention
from mamtra_cli.layers.mamba2 import Mamba2Mixer
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.native_mamba2 import NativeMamba2Layer
from mamtra_cli.layers.rotary import RopeTable
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.state import LayerState
from mamtra_cli.layers.swa import SlidingWindowAttention


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


Build = Callable[[MixerShape, MixerConfig], nn.Module]

_BUILDERS: dict[str, Build] = {}


def register(letter: str, build: Build) -> None:
    """Let `letter` stand for the mixers that `build` makes."""
    if len(letter) != 1 or not letter.isupper():
        raise ValueError(f"a mixer's letter is one capital, got {letter!r}")
    if letter in _BUILDERS:
        raise ValueError(f"letter {letter!r} is taken")
    _BUILDERS[letter] = build


def letters() -> str:
    """All registered letters."""
    return "".join(_BUILDERS)


def build_mixer(letter: str, shape: MixerShape, config: MixerConfig) -> nn.Module:
    """Make the mixer that `letter` stands for; it satisfies `Mixer`."""
    if letter not in _BUILDERS:
        raise PlanError(
            f"no mixer is registered for layer kind `{letter}`", f"known kinds: {letters()}"
        )
    return _BUILDERS[letter](shape, config)


def _attention(shape: MixerShape, config: MixerConfig) -> nn.Module:
    del config
    return SelfAttention(shape)


register("T", _attention)
register("M", Mamba2Mixer)
register("S", SlidingWindowAttention)
register("N", NativeMamba2Layer)
