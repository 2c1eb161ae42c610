"""What a kind of layer states: how it is made, what it costs, how attention becomes one.

Sizes come as a `MixerShape`, choices as a `MixerConfig`; what a kind does not override is that of
a layer without a growing cache that keeps no state and takes nothing over from attention. Counts
are those of one layer without norms and feed-forward; a multiply-add is two FLOPs.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from mamtra_cli.backbone.attention_weights import AttentionWeights
from mamtra_cli.backbone.decoding.layer import FusedLayer, Pack, SteppedLayer
from mamtra_cli.backbone.hybrid import Block
from mamtra_cli.errors import PlanError
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import MixerShape


class Kind:
    """One kind of layer; subclasses state it.

    Attributes:
        chosen: whether it is made by the choices of a `MixerConfig`.
        grows: whether its cache grows with every token.
        fitted: whether calibration sets its output projection; its module has `features` then.
    """

    chosen = True
    grows = False
    fitted = False

    def build(self, shape: MixerShape, mixer: MixerConfig) -> nn.Module:
        """Make the module; it satisfies `layers.mixers.Mixer`."""
        raise NotImplementedError

    def fused(self, block: Block, pack: Pack, share: bool) -> FusedLayer:
        """Its step in decoding, see `FusedLayer`; a recurrent layer may leave it to its module."""
        return SteppedLayer(block, pack, share)

    def feed_width(self, shape: MixerShape, d_ff: int) -> int:
        """Width of the feed-forward beside it, in a model whose own is `d_ff`."""
        del shape
        return d_ff

    def turns(self, shape: MixerShape, mixer: MixerConfig) -> bool:
        """Whether it reads the rotary table."""
        del mixer
        return shape.rope != "none"

    def matrices(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """Elements of the matrices that a token is multiplied with."""
        raise NotImplementedError

    def parameters(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """All parameters."""
        raise NotImplementedError

    def state_elements(self, shape: MixerShape, mixer: MixerConfig) -> tuple[int, int]:
        """Elements of a sequence's recurrent state and of its convolution's."""
        del shape, mixer
        return 0, 0

    def visible(self, mixer: MixerConfig, length: int) -> int:
        """Tokens whose keys and values a query at a context of `length` reads."""
        del mixer, length
        return 0

    def scan_flops(self, shape: MixerShape, mixer: MixerConfig, chunk: int | None = None) -> int:
        """FLOPs a token of convolution and recurrence; `chunk` of the form in matrix products."""
        del shape, mixer, chunk
        return 0

    def transferred(
        self,
        weights: AttentionWeights,
        shape: MixerShape,
        mixer: MixerConfig,
        scale_keys: bool = False,
    ) -> dict[str, Tensor]:
        """The tensors that attention decides, by name.

        Args:
            weights: of the attention.
            shape: its sizes.
            mixer: choices of the layer.
            scale_keys: fold attention's 1 / sqrt(P) into the queries, where the kind has no scale.
        """
        del weights, shape, mixer, scale_keys
        raise PlanError(
            f"a {type(self).__name__} does not stand in for attention", "name another kind"
        )

    def neutral(self, shape: MixerShape, mixer: MixerConfig) -> Mapping[str, Tensor]:
        """Other tensors that a transfer promises to leave at their neutral value."""
        del shape, mixer
        return {}


def attention_matrices(shape: MixerShape) -> int:
    """Elements of q, k, v and o."""
    return 2 * shape.d_model * (shape.q_width + shape.kv_width)


def attention_parameters(shape: MixerShape) -> int:
    """The same with their biases."""
    bias = shape.conv_channels if shape.qkv_bias else 0
    return attention_matrices(shape) + bias + (shape.d_model if shape.out_bias else 0)
