"""Which codec a part is: the published one, or one of mels."""

from torch import nn

from mamtra_cli.codecs.dac.codec import DacCodec
from mamtra_cli.codecs.dac.model import Dac
from mamtra_cli.codecs.residual_mel.codec import ResidualMelCodec
from mamtra_cli.codecs.residual_mel.model import ResidualMel

CodecModel = Dac | ResidualMel
FrameCodec = DacCodec | ResidualMelCodec


def codec_model(part: nn.Module) -> CodecModel:
    """The part `codec` of a model."""
    assert isinstance(part, CodecModel)
    return part


def codec_of(part: nn.Module) -> FrameCodec:
    """The same as speaking knows it."""
    model = codec_model(part)
    return DacCodec(model) if isinstance(model, Dac) else ResidualMelCodec(model)
