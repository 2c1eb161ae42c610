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
from mamtra_cli.backbone.decoding.layer_caches import Cache, MixerCache
from mamtra_cli.backbone.decoding.places import Places
from mamtra_cli.backbone.hybrid import Block
from mamtra_cli.backbone.kinds.base import Kind
from mamtra_cli.layers.mamba2 import Mamba2Mixer, feature_map
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.state import LayerState
from mamtra_cli.ops.causal_conv import causal_conv_taps
from mamtra_cli.ops.ssd import ssd_step


class FusedMixer(FusedLayer):
    """The recurrent mixer, one token at a time."""

    def __init__(self, block: Block, pack: Pack, share: bool) -> None:
        core: Any = block.core
        config: MixerConfig = core.config
        parts = [core.v_proj, core.k_proj, core.q_proj, core.dt_proj]
        if config.gate != "none":
            parts.append(core.gate_proj if config.gate == "full" else core.gate_down)
        super().__init__(block, parts, pack, share)
        self.config, self.core = config, core
        shape = self.shape
        self.sizes = [shape.conv_channels, *(part.out_features for part in parts[3:])]
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

    def mix(self, joined: Tensor, cache: Any, places: Places, turns: Turns) -> tuple[Tensor, Cache]:
        """One step of convolution, recurrence, norm and gate."""
        del places
        batch, heads, groups = len(joined), self.shape.n_heads, self.shape.n_kv_heads
        channels, dt, *gate = torch.split(joined, self.sizes, dim=-1)
        mixed = causal_conv_taps(channels, self.taps, self.bias, cache.taps, self.config.act)
        both = mixed.view(batch, 2 * groups + heads, -1)
        if self.turned:
            both = turns(both, self.heads)
        v = both[:, :groups].to(self.wide)  # (B, G, P)
        mapped = feature_map(both[:, groups:], self.config.feature_map).to(self.wide)
        x = F.pad(v, (0, 1), value=1.0) if self.config.normalise else v
        y, _ = ssd_step(
            cache.ssm[:batch],
            x,
            dt,
            self.rates,
            mapped[:, :groups],
            mapped[:, groups:],
            D=None if self.config.normalise else self.skip,
            dt_bias=self.dt_bias,
            gain=self.gain,
            in_place=True,
        )  # (B, H, P)
        if self.config.normalise:
            y, total = y[..., :-1], y[..., -1:]
            y = y / torch.where(total == 0, torch.ones_like(total), total)
            if self.skip is not None:
                y = y + self.skip[:, None] * v.repeat_interleave(heads // groups, dim=1)
        after = MixerCache(taps=(*cache.taps, channels)[1:], ssm=cache.ssm)
        return self.core.tail(y.reshape(batch, -1).to(self.dtype), gate, normed), after


class Mamba2(Kind):
    """A state a head, decays a head, keys and values shared as attention shares them."""

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
        inner = d * shape.conv_channels + d * shape.n_heads + gate_matrices(shape, mixer)
        return inner + d * shape.q_width

    def parameters(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """The same with biases, convolution, norm and what each head has."""
        bias = shape.conv_channels if shape.qkv_bias and mixer.qkv_bias == "keep" else 0
        gate_bias = shape.q_width if mixer.gate_bias and mixer.gate != "none" else 0
        conv = shape.conv_channels * (mixer.conv_kernel + 1)
        per_head = shape.n_heads * (3 if mixer.d_skip else 2)
        norm = 0 if mixer.norm == "none" else shape.q_width
        out = shape.d_model if shape.out_bias else 0
        return self.matrices(shape, mixer) + bias + gate_bias + conv + per_head + norm + out

    def state_elements(self, shape: MixerShape, mixer: MixerConfig) -> tuple[int, int]:
        """A state a head, and the last inputs of the convolution."""
        one = mixer.value_width(shape.head_dim) * mixer.state_width(shape.head_dim)
        return shape.n_heads * one, shape.conv_channels * (mixer.conv_kernel - 1)

    def scan_flops(self, shape: MixerShape, mixer: MixerConfig, chunk: int | None = None) -> int:
        """Convolution, decay, input and read-out."""
        values = shape.n_heads * mixer.value_width(shape.head_dim)
        width = mixer.state_width(shape.head_dim)
        conv = 2 * mixer.conv_kernel * shape.conv_channels
        if chunk is None:
            return conv + 5 * values * width
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


def gate_matrices(shape: MixerShape, mixer: MixerConfig) -> int:
    """Elements of a gate's matrices."""
    if mixer.gate == "full":
        return shape.d_model * shape.q_width
    return 0 if isinstance(mixer.gate, str) else mixer.gate * (shape.d_model + shape.q_width)


KIND = Mamba2()
