"""Parameters and memory of the source-filter vocoder by formulas. From configs alone, no torch."""

from mamtra_cli.codecs.flow_hift.config import FlowConfig, SourceFilterConfig

FLOAT = 4
FILTER_TENSORS = 27  # as wide as a filter, a filter


def source_filter_parameters(config: SourceFilterConfig) -> int:
    """Parameters of the source-filter vocoder."""
    width, pitch = config.width, config.pitch_width
    total = 5 * config.mel_bins * pitch + pitch + 2 * pitch + 2
    total += (config.pitch_layers - 1) * (5 * pitch * pitch + pitch)
    total += 5 * config.mel_bins * width + width

    def block(widening: int) -> int:
        return (config.kernel + 1) * width + 2 * width + (2 * width + 1) * widening * width + width

    total += config.blocks * block(config.widening)
    total += config.fine_blocks * block(config.fine_widening)
    total += (width + 3) * config.rate * width
    return total + (width + 1) * 3 * config.bins


def source_filter_scratch(config: SourceFilterConfig, frames: int) -> int:
    """Bytes of the source-filter vocoder over so many mel frames at once."""
    return FILTER_TENSORS * FLOAT * config.bins * config.rate * frames


def heard_token_bytes(
    config: FlowConfig, *, steps: int | None = None, guidance: float | None = None, width: int = 4
) -> int:
    """Bytes that are kept of a token of a prompt, which the flow heard; see heard.py.

    Args:
        config: of the flow.
        steps, guidance: of its solver; `None` for the configured ones.
        width: bytes of a number.
    """
    estimator = config.estimator
    rows = 2 if (config.cfg_rate if guidance is None else guidance) else 1
    layers = (2 + estimator.mid_blocks) * estimator.n_blocks * (steps or config.steps)
    return rows * layers * config.encoder.upsample * estimator.channels * width


def heard_tokens(config: FlowConfig, prompt: int, *, grid: int, limit: int, each: int) -> int:
    """How many tokens of a prompt of `prompt` tokens are kept: whole chunks, up to a bound.

    Args:
        config: of the flow.
        prompt: tokens of it.
        grid: tokens of whole chunks.
        limit: bytes to keep at most.
        each: bytes of a token; see `heard_token_bytes`.
    """
    ready = max(0, prompt - config.encoder.lookahead)
    return min(ready, limit // each) // grid * grid
