"""The recurrent mixer in attention's shape (M): queries play C, keys B, values x.

Source of the transfer: Wang et al., arXiv 2408.15237 (MambaInLlama); here biases and rotations are
kept as well.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamtra_cli.backbone.attention_weights import AttentionWeights
from mamtra_cli.backbone.decoding.layer import FusedLayer, Pack, Turns, normed
from mamtra_cli.backbone.decoding.layer_caches import Cache, MixerCache, in_use
from mamtra_cli.backbone.decoding.places import Places
from mamtra_cli.backbone.hybrid import Block
from mamtra_cli.backbone.kinds.base import Kind
from mamtra_cli.layers.mamba2 import Mamba2Mixer, feature_map, normalised
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.state import LayerState
from mamtra_cli.ops.casts import cast
from mamtra_cli.ops.causal_conv import causal_conv_taps
from mamtra_cli.ops.ssd import ssd_step


class FusedMixer(FusedLayer):
    """The recurrent mixer, one token at a time."""

    def __init__(self, block: Block, pack: Pack, share: bool) -> None:
        core: Any = block.core
        config: MixerConfig = core.config
        parts, rates = [core.v_proj, core.k_proj, core.q_proj], self.rates_of(core)
        gate = []
        if config.gate != "none":
            gate = [core.gate_proj if config.gate == "full" else core.gate_down]
        super().__init__(block, [*parts, *rates, *gate], pack, share)
        self.config, self.core = config, core
        shape = self.shape
        self.sizes = [shape.conv_channels, sum(part.out_features for part in rates)]
        self.sizes += [part.out_features for part in gate]
        self.heads = ((shape.n_kv_heads, 0.0), (shape.n_kv_heads, 1.0), (shape.n_heads, 1.0))
        self.turned = config.rope == "keep" and shape.rope != "none"
        self.taps = [tap.detach().to(self.wide) for tap in core.conv.weight.unbind(dim=1)]
        self.bias = core.conv.bias.detach().to(self.wide)
        self.rates = -torch.exp(core.A_log.detach().to(self.wide))
        self.dt_bias = core.dt_bias.detach().to(self.wide)
        self.skip = None if core.D is None else core.D.detach().to(self.wide)
        self.gain = 1.0 if config.gain == "one" else None

    def cache(self, held: LayerState) -> Cache:
        """Taps and state."""
        return MixerCache.of(held)

    @staticmethod
    def rates_of(core: Any) -> list[nn.Linear]:
        """Projections of what the recurrence needs beside keys, values and queries."""
        return [core.dt_proj]

    def recur(self, ssm: Tensor, x: Tensor, dt: Tensor, k: Tensor, q: Tensor) -> Tensor:
        """Update a state (B, R, P, N) in place and read it: (B, H, P), skip included if it can."""
        y, _ = ssd_step(
            ssm,
            x,
            dt,
            self.rates,
            k,
            q,
            D=None if self.config.normalise else self.skip,
            dt_bias=self.dt_bias,
            gain=self.gain,
            in_place=True,
        )
        return y

    def mix(self, joined: Tensor, cache: Any, places: Places, turns: Turns) -> tuple[Tensor, Cache]:
        """One step of convolution, recurrence, norm and gate."""
        del places
        batch, heads, groups = len(joined), self.shape.n_heads, self.shape.n_kv_heads
        channels, dt, *gate = torch.split(joined, self.sizes, dim=-1)
        mixed = causal_conv_taps(channels, self.taps, self.bias, cache.taps, self.config.act)
        both = mixed.view(batch, 2 * groups + heads, -1)
        if self.turned:
            both = turns(both, self.heads)
        v = cast(both[:, :groups], self.wide)  # (B, G, P)
        mapped = cast(feature_map(both[:, groups:], self.config.feature_map), self.wide)
        x = F.pad(v, (0, 1), value=1.0) if self.config.normalise else v
        ssm = in_use(cache.ssm, batch)
        y = self.recur(ssm, x, dt, mapped[:, :groups], mapped[:, groups:])
        if self.config.normalise:
            y = normalised(y)
            if self.skip is not None:
                y = y + self.skip[:, None] * v.repeat_interleave(heads // groups, dim=1)
        after = MixerCache(taps=(*cache.taps, channels)[1:], ssm=cache.ssm)
        return self.core.tail(cast(y.reshape(batch, -1), self.dtype), gate, normed), after


class Mamba2(Kind):
    """Keys and values shared as attention shares them; a state for a head, or a key head."""

    fitted = True

    def build(self, shape: MixerShape, mixer: MixerConfig) -> nn.Module:
        """Make the module."""
        return Mamba2Mixer(shape, mixer)

    def fused(self, block: Block, pack: Pack, share: bool) -> FusedLayer:
        """Its step."""
        return FusedMixer(block, pack, share)

    def turns(self, shape: MixerShape, mixer: MixerConfig) -> bool:
        """Where attention does and the choices keep it."""
        return shape.rope != "none" and mixer.rope == "keep"

    def matrices(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """Values, keys, queries, step sizes, gate, output."""
        d = shape.d_model
        inner = shape.conv_channels + states(shape, mixer) + shape.q_width
        return d * inner + gate_matrices(shape, mixer)

    def parameters(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """The same with biases, convolution, norm and what each head has."""
        bias = shape.conv_channels if shape.qkv_bias and mixer.qkv_bias == "keep" else 0
        gate_bias = shape.q_width if mixer.gate_bias and mixer.gate != "none" else 0
        conv = shape.conv_channels * (mixer.conv_kernel + 1)
        per_head = 2 * states(shape, mixer) + (shape.n_heads if mixer.d_skip else 0)
        norm = 0 if mixer.norm == "none" else shape.q_width
        out = shape.d_model if shape.out_bias else 0
        return self.matrices(shape, mixer) + bias + gate_bias + conv + per_head + norm + out

    def state_elements(self, shape: MixerShape, mixer: MixerConfig) -> tuple[int, int]:
        """Its states, and the last inputs of the convolution."""
        one = mixer.value_width(shape.head_dim) * mixer.state_width(shape.head_dim)
        return states(shape, mixer) * one, shape.conv_channels * (mixer.conv_kernel - 1)

    def scan_flops(self, shape: MixerShape, mixer: MixerConfig, chunk: int | None = None) -> int:
        """Convolution, decay, input and read-out."""
        rows, width = mixer.value_width(shape.head_dim), mixer.state_width(shape.head_dim)
        values = shape.n_heads * rows
        conv = 2 * mixer.conv_kernel * shape.conv_channels
        if chunk is None:
            return conv + (3 * states(shape, mixer) + 2 * shape.n_heads) * rows * width
        return conv + 2 * chunk * (values + shape.n_heads * width) + 4 * values * width

    def transferred(
        self,
        weights: AttentionWeights,
        shape: MixerShape,
        mixer: MixerConfig,
        scale_keys: bool = False,
    ) -> dict[str, Tensor]:
        """Projections as they are; biases kept, folded into the convolution, or dropped."""
        out = weights.named()
        if scale_keys:
            factor = 1.0 / math.sqrt(shape.head_dim)
            for name in {"q_proj.weight", "q_proj.bias"} & out.keys():
                out[name] = out[name] * factor
        biases = {name: out.pop(f"{name}_proj.bias", None) for name in "vkq"}
        kept = {name: value for name, value in biases.items() if value is not None}
        if not shape.qkv_bias or not kept:
            return out
        if mixer.qkv_bias == "keep":
            out |= {f"{name}_proj.bias": value for name, value in kept.items()}
        elif mixer.qkv_bias == "fold":
            # Exact while the convolution is the identity: its taps sum to one.
            out["conv.bias"] = torch.cat([kept[name] for name in "vkq"])
        return out

    def neutral(self, shape: MixerShape, mixer: MixerConfig) -> dict[str, Tensor]:
        """A convolution that changes nothing."""
        taps = torch.zeros(shape.conv_channels, mixer.conv_kernel)
        taps[:, -1] = 1.0
        return {"conv.weight": taps, "conv.bias": torch.zeros(shape.conv_channels)}


def states(shape: MixerShape, mixer: MixerConfig) -> int:
    """Recurrent states of a layer (R)."""
    return mixer.states(shape.n_heads, shape.n_kv_heads)


def gate_matrices(shape: MixerShape, mixer: MixerConfig) -> int:
    """Elements of a gate's matrices."""
    if mixer.gate == "full":
        return shape.d_model * shape.q_width
    return 0 if isinstance(mixer.gate, str) else mixer.gate * (shape.d_model + shape.q_width)


KIND = Mamba2()
