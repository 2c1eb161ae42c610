"""A published model's own Mamba-2 layers (N): kept as they are, made of the model's sizes."""

from typing import Any

import torch
from torch import Tensor, nn

from mamtra_cli.backbone.decoding.layer import FusedLayer, Pack, Turns, normed
from mamtra_cli.backbone.decoding.layer_caches import Cache, MixerCache, in_use
from mamtra_cli.backbone.decoding.places import Places
from mamtra_cli.backbone.hybrid import Block
from mamtra_cli.backbone.kinds.base import Kind
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.native_mamba2 import NativeMamba2Layer
from mamtra_cli.layers.shape import MixerShape, NativeMamba2
from mamtra_cli.layers.state import LayerState
from mamtra_cli.ops.causal_conv import causal_conv_taps
from mamtra_cli.ops.ssd import ssd_step


class FusedNative(FusedLayer):
    """A native layer, one token at a time."""

    def __init__(self, block: Block, pack: Pack, share: bool) -> None:
        core: Any = block.core
        super().__init__(block, [core.in_proj], pack, share)
        self.core = core
        self.taps = [tap.detach().to(self.wide) for tap in core.conv.weight.unbind(dim=1)]
        self.bias = core.conv.bias.detach().to(self.wide)
        self.rates = -torch.exp(core.A_log.detach().to(self.wide))
        self.skip, self.dt_bias = core.D.detach(), core.dt_bias.detach()

    def cache(self, held: LayerState) -> Cache:
        """Taps and state."""
        return MixerCache.of(held)

    def mix(self, joined: Tensor, cache: Any, places: Places, turns: Turns) -> tuple[Tensor, Cache]:
        """One step of convolution, recurrence, gate and norm."""
        del places, turns
        gate, channels, dt = self.core.split(joined)
        mixed = causal_conv_taps(channels, self.taps, self.bias, cache.taps, "silu")
        x, keys, queries = self.core.maps(mixed)
        y, _ = ssd_step(
            in_use(cache.ssm, len(joined)),
            x,
            dt,
            self.rates,
            keys,
            queries,
            D=self.skip,
            dt_bias=self.dt_bias,
            in_place=True,
        )
        after = MixerCache(taps=(*cache.taps, channels)[1:], ssm=cache.ssm)
        return self.core.tail(y.flatten(1), gate, normed), after


class Native(Kind):
    """Mamba-2 as its library builds it."""

    chosen = False

    def build(self, shape: MixerShape, mixer: MixerConfig) -> nn.Module:
        """Make the module."""
        return NativeMamba2Layer(shape, mixer)

    def fused(self, block: Block, pack: Pack, share: bool) -> FusedLayer:
        """Its step."""
        return FusedNative(block, pack, share)

    def feed_width(self, shape: MixerShape, d_ff: int) -> int:
        """What the model states for these layers, mostly nothing."""
        del d_ff
        return _native(shape).d_ff

    def turns(self, shape: MixerShape, mixer: MixerConfig) -> bool:
        """Never."""
        del shape, mixer
        return False

    def matrices(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """Input and output projection."""
        del mixer
        d, native = shape.d_model, _native(shape)
        return d * (native.projected(d) + native.inner(d))

    def parameters(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """The same with convolution, norm and what each head has."""
        d, native = shape.d_model, _native(shape)
        conv = native.conv_channels(d) * (native.conv_kernel + 1)
        return self.matrices(shape, mixer) + conv + 3 * native.heads(d) + native.inner(d)

    def state_elements(self, shape: MixerShape, mixer: MixerConfig) -> tuple[int, int]:
        """A state a head, and the last inputs of the convolution."""
        del mixer
        d, native = shape.d_model, _native(shape)
        return native.inner(d) * native.d_state, native.conv_channels(d) * (native.conv_kernel - 1)

    def scan_flops(self, shape: MixerShape, mixer: MixerConfig, chunk: int | None = None) -> int:
        """Convolution, decay, input and read-out."""
        del mixer
        d, native = shape.d_model, _native(shape)
        values, width = native.inner(d), native.d_state
        conv = 2 * native.conv_kernel * native.conv_channels(d)
        if chunk is None:
            return conv + 5 * values * width
        return conv + 2 * chunk * (values + native.groups * width) + 4 * values * width


def _native(shape: MixerShape) -> NativeMamba2:
    if shape.native is None:
        raise ValueError("the model states no sizes of native Mamba-2 layers")
    return shape.native


KIND = Native()
