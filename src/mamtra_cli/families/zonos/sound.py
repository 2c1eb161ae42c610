"""Which codec a part is: the published one, or one of mels."""

from torch import nn

from mamtra_cli.codecs.dac.codec import DacCodec
from mamtra_cli.codecs.dac.model import Dac
from mamtra_cli.codecs.residual_mel.codec import ResidualMelCodec
from mamtra_cli.codecs.residual_mel.model import ResidualMel

FrameCodec = DacCodec | ResidualMelCodec


def codec_of(part: nn.Module) -> FrameCodec:
    """The part `codec` of a model as speaking knows it."""
    if isinstance(part, ResidualMel):
        return ResidualMelCodec(part)
    assert isinstance(part, Dac)
    return DacCodec(part)
