"""Sliding-window attention (S): exact inside its window and on the first tokens."""

from torch import Tensor, nn

from mamtra_cli.backbone.attention_weights import AttentionWeights
from mamtra_cli.backbone.decoding.layer import FusedLayer, Pack
from mamtra_cli.backbone.hybrid import Block
from mamtra_cli.backbone.kinds.attention import FusedAttention
from mamtra_cli.backbone.kinds.base import Kind, attention_matrices, attention_parameters
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.swa import SlidingWindowAttention


class Window(Kind):
    """Attention that lets old tokens go."""

    def build(self, shape: MixerShape, mixer: MixerConfig) -> nn.Module:
        """Make the module."""
        return SlidingWindowAttention(shape, mixer)

    def fused(self, block: Block, pack: Pack, share: bool) -> FusedLayer:
        """Its step."""
        return FusedAttention(block, pack, share)

    def matrices(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """q, k, v, o."""
        del mixer
        return attention_matrices(shape)

    def parameters(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """The same with their biases."""
        del mixer
        return attention_parameters(shape)

    def visible(self, mixer: MixerConfig, length: int) -> int:
        """The window and the sinks."""
        return min(length, mixer.window + mixer.sinks)

    def transferred(
        self,
        weights: AttentionWeights,
        shape: MixerShape,
        mixer: MixerConfig,
        scale_keys: bool = False,
    ) -> dict[str, Tensor]:
        """Everything as it is: window attention scales its scores itself."""
        del shape, mixer, scale_keys
        return weights.named()


KIND = Window()
