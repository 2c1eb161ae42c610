"""Parameters and memory of the codec by formulas. From configs alone, no torch."""

from mamtra_cli.codecs.flow_hift.config import SOURCE_FILTER_PIECE
from mamtra_cli.codecs.flow_hift.costs import source_filter_parameters, source_filter_scratch
from mamtra_cli.codecs.residual_mel.config import WINDOW, ResidualMelConfig

FLOAT = 4
WIDE, NARROW = 2, 4  # tensors of a block alive together, widened and not
WAITING = 24  # mel frames that waited for those of the last piece of the vocoder


def parameters(config: ResidualMelConfig) -> int:
    """Parameters of both networks on either side of the codes, the codes, and the vocoder."""
    bins, folded = config.mel.n_mels, config.stride * config.width
    ends = ((bins, config.width), (folded, config.latent))
    networks = sum(_network(config, a, b) + _network(config, b, a) for a, b in ends)
    codes = config.codebooks * config.codes * config.latent
    return networks + codes + source_filter_parameters(config.vocoder)


def _network(config: ResidualMelConfig, inputs: int, outputs: int) -> int:
    width, inner = config.width, config.widening * config.width
    block = (config.kernel + 1) * width + 2 * width + 2 * inner * width + inner + width
    ends = (config.kernel * inputs + 1) * width + (width + 1) * outputs
    return ends + config.blocks * block


def one_pass(config: ResidualMelConfig, frames: int) -> int:
    """Bytes of ids to sound, so many frames at once; the vocoder follows the mels."""
    mels = config.stride * frames
    return max(_mel_scratch(config, mels), source_filter_scratch(config.vocoder, mels))


def windowed(config: ResidualMelConfig, frames: int) -> int:
    """The same in windows of frames, and the vocoder in pieces of those."""
    mels = config.stride * min(frames, WINDOW)
    heard = min(mels, SOURCE_FILTER_PIECE) + WAITING
    return max(_mel_scratch(config, mels), source_filter_scratch(config.vocoder, heard))


def _mel_scratch(config: ResidualMelConfig, mels: int) -> int:
    """Bytes of the last network, at the rate of the mel."""
    return FLOAT * (WIDE * config.widening + NARROW) * config.width * mels
