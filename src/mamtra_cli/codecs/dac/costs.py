"""Parameters and memory of the codec by formulas. From configs alone, no torch."""

from mamtra_cli.codecs.dac.config import DILATIONS, KERNEL, WINDOW, DacConfig

FLOAT = 4
DECODER_TENSORS = 5  # of the decoder's last, widest stage, alive together


def parameters(config: DacConfig) -> int:
    """Parameters of encoder, quantiser and decoder."""

    def units(channels: int) -> int:
        each = KERNEL * channels * channels + channels * channels + 2 * channels + 2 * channels
        return len(DILATIONS) * each

    total, wide = KERNEL * config.encoder_width + config.encoder_width, config.encoder_width
    for stride in config.strides:
        total += units(wide) + wide + 2 * stride * wide * 2 * wide + 2 * wide
        wide *= 2
    total += wide + 3 * wide * config.latent + config.latent
    stage = (
        config.code_dim * (2 * config.latent + 1) + config.latent + config.codes * config.code_dim
    )
    total += config.codebooks * stage
    wide = config.decoder_width
    total += KERNEL * config.latent * wide + wide
    for stride in reversed(config.strides):
        total += wide + 2 * stride * wide * (wide // 2) + wide // 2 + units(wide // 2)
        wide //= 2
    return total + wide + KERNEL * wide + 1


def one_pass(config: DacConfig, frames: int) -> int:
    """Bytes of the decoder over so many frames at once: its last stage."""
    narrowest = config.decoder_width >> len(config.strides)
    return DECODER_TENSORS * FLOAT * narrowest * config.hop * frames


def windowed(config: DacConfig, frames: int) -> int:
    """The same in windows, which hear the frames around them again."""
    return one_pass(config, min(frames, WINDOW) + 2 * config.reach)
