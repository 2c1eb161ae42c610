"""The recurrent mixer in attention's shape (M): queries play C, keys B, values x.

Source of the transfer: Wang et al., arXiv 2408.15237 (MambaInLlama); here biases and rotations are
kept as well.
"""

import math

import torch
from torch import Tensor, nn

from mamtra_cli.backbone.attention_weights import AttentionWeights
from mamtra_cli.backbone.kinds.base import Kind
from mamtra_cli.layers.mamba2 import Mamba2Mixer
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import MixerShape


class Mamba2(Kind):
    """A state a head, decays a head, keys and values shared as attention shares them."""

    fitted = True

    def build(self, shape: MixerShape, mixer: MixerConfig) -> nn.Module:
        """Make the module."""
        return Mamba2Mixer(shape, mixer)

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
