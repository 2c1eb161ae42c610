"""Full attention (T): what models have of their own and converted layers replace."""

from torch import nn

from mamtra_cli.backbone.kinds.base import Kind, attention_matrices, attention_parameters
from mamtra_cli.layers.attention import SelfAttention
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import MixerShape


class Attention(Kind):
    """Self-attention over all tokens so far."""

    chosen = False

    def build(self, shape: MixerShape, mixer: MixerConfig) -> nn.Module:
        """Make the module."""
        del mixer
        return SelfAttention(shape)

    def matrices(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """q, k, v, o."""
        del mixer
        return attention_matrices(shape)

    def parameters(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """The same with their biases."""
        del mixer
        return attention_parameters(shape)

    def visible(self, mixer: MixerConfig, length: int) -> int:
        """All of them."""
        del mixer
        return length


KIND = Attention()
