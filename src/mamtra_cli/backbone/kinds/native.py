"""A published model's own Mamba-2 layers (N): kept as they are, made of the model's sizes."""

from torch import nn

from mamtra_cli.backbone.kinds.base import Kind
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.native_mamba2 import NativeMamba2Layer
from mamtra_cli.layers.shape import MixerShape, NativeMamba2


class Native(Kind):
    """Mamba-2 as its library builds it."""

    chosen = False

    def build(self, shape: MixerShape, mixer: MixerConfig) -> nn.Module:
        """Make the module."""
        return NativeMamba2Layer(shape, mixer)

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
