"""Memory of the whole pipeline by formulas: the official arithmetic, ours, and each saving between.

From configs alone, no torch. Scratch formulas count the tensors alive at the peak; they were
checked against live-bytes measurements of the published classes (65, 237, 901 and 3,512 MiB for
the encoder at 10, 20, 40 and 80 s; 29, 92 and 322 MiB for the estimator at 10, 20 and 40 s) and
against our own with tests. The language model alone is in backbone/costs.py. What the official
program does is stated in FunAudioLLM/CosyVoice (cosyvoice/cli, cosyvoice/llm).
"""

from dataclasses import dataclass
from math import prod

from mamtra_cli.backbone import costs
from mamtra_cli.codecs.flow_hift.config import (
    SOURCE_FILTER_PIECE,
    FlowConfig,
    FlowEncoderConfig,
    FlowEstimatorConfig,
    HiFTConfig,
)
from mamtra_cli.codecs.flow_hift.costs import (
    heard_token_bytes,
    heard_tokens,
    source_filter_parameters,
    source_filter_scratch,
)
from mamtra_cli.codecs.flow_hift.windows import WaveOptions
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config
from mamtra_cli.families.measures import Ladder, Needs, Peaks, Request, Saving

FLOAT = 4
SCORES = 7  # score matrices a head of the published encoder: both terms, padded, sum, softmax
WIDTHS = 12  # vectors of the layer's width a frame that both networks hold beside them
QUERIES = 256  # rows of scores that our attention makes at once
VOCODER_TENSORS = 7  # of the last, widest stage of HiFT
ONNX_BYTES = 496_082_973  # published speech_tokenizer_v2.onnx
# Resident bytes of the official program on a CPU, with random weights of the published sizes.
OBSERVED = {"while it loads": 5_480_000_000, "once loaded": 3_470_000_000}


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Sizes of token-to-wave in windows; see `windows.WaveOptions`."""

    tokens: int
    prompt: int
    vocoder_frames: int

    @classmethod
    def of(cls, config: CosyVoice2Config, prompt: int, vocoder_frames: int = 200) -> "Windows":
        """The widest window of a config after a prompt of so many tokens."""
        grid = config.flow.encoder.chunk
        stream = config.context_tokens + config.max_hop_tokens + 2 * grid
        tokens = max(stream, config.whole_tokens) + config.flow.encoder.lookahead
        heard = vocoder_frames + 16 + 8 + 12
        if config.source_filter is not None:
            heard = SOURCE_FILTER_PIECE + 8
        return cls(tokens=tokens, prompt=prompt, vocoder_frames=heard)


def encoder_parameters(config: FlowEncoderConfig) -> int:
    """Parameters of the flow's encoder."""
    d, hidden, ahead = config.width, config.d_ff, config.lookahead
    attention = 4 * (d * d + d) + d * d + 2 * d
    block = attention + 2 * d * hidden + hidden + d + 4 * d
    inputs = 2 * (d * d + d + 2 * d)
    look = (ahead + 1) * d * d + d + 3 * d * d + d
    up = (2 * config.upsample + 1) * d * d + d
    return (config.blocks + config.up_blocks) * block + inputs + look + up + 2 * d


def estimator_parameters(config: FlowEstimatorConfig, mel: int = 80) -> int:
    """Parameters of the flow's estimator."""
    c, inner, hidden = config.channels, config.heads * config.head_dim, 4 * config.channels
    conv = 3 * c * c + c

    def conv_block(wide: int) -> int:
        return 3 * wide * c + c + 2 * c

    def resnet(wide: int) -> int:
        return hidden * c + c + conv_block(wide) + conv_block(c) + wide * c + c

    block = 4 * c * inner + c + 4 * c + 2 * c * hidden + hidden + c
    levels = resnet(4 * mel) + config.mid_blocks * resnet(c) + resnet(2 * c)
    ends = 2 * conv + conv_block(c) + c * mel + mel
    blocks = (config.mid_blocks + 2) * config.n_blocks * block
    return levels + blocks + time_parameters(config, mel) + ends


def time_parameters(config: FlowEstimatorConfig, mel: int = 80) -> int:
    """Parameters of the network of a time."""
    hidden = 4 * config.channels
    return 4 * mel * hidden + hidden + hidden * hidden + hidden


def flow_parameters(config: FlowConfig) -> int:
    """Parameters of the flow."""
    width = config.encoder.width
    tables = config.vocab_size * width + config.speaker_dim * config.mel_bins + config.mel_bins
    project = width * config.mel_bins + config.mel_bins
    estimator = estimator_parameters(config.estimator, config.mel_bins)
    if config.has_spans:
        estimator += time_parameters(config.estimator, config.mel_bins)
    return tables + project + encoder_parameters(config.encoder) + estimator


def vocoder_parameters(config: CosyVoice2Config) -> int:
    """Parameters of the vocoder that a model has."""
    if config.source_filter is not None:
        return source_filter_parameters(config.source_filter)
    return hift_parameters(config.hift)


def hift_parameters(config: HiFTConfig) -> int:
    """Parameters of HiFT, weight norm folded."""
    base, bins = config.base_channels, config.n_fft + 2
    f0 = config.f0_channels
    total = 3 * config.mel_bins * f0 + f0 + 4 * (3 * f0 * f0 + f0) + f0 + 1
    total += config.harmonics + 2 + 7 * config.mel_bins * base + base

    def resblock(channels: int, kernel: int) -> int:
        each = 2 * (kernel * channels * channels + channels) + 2 * channels
        return len(config.resblock_dilations) * each

    for i, kernel in enumerate(config.upsample_kernels):
        wide, narrow = base >> i, base >> (i + 1)
        stride = prod(config.upsample_rates[i + 1 :])
        total += wide * narrow * kernel + narrow
        total += bins * narrow * (2 * stride if stride > 1 else 1) + narrow
        total += resblock(narrow, config.source_resblock_kernels[i])
        total += sum(resblock(narrow, size) for size in config.resblock_kernels)
    last = base >> len(config.upsample_rates)
    return total + 7 * last * bins + bins


def official_encoder_scratch(config: FlowEncoderConfig, tokens: int) -> int:
    """Bytes of the published encoder over `tokens`, prompt included, in one pass."""
    frames = config.upsample * tokens
    return FLOAT * (SCORES * config.heads * frames**2 + WIDTHS * config.width * frames)


def official_estimator_scratch(config: FlowEstimatorConfig, frames: int, rows: int = 2) -> int:
    """Bytes of the published estimator: a mask, its copy for every head, and activations."""
    masks = (1 + config.heads) * frames**2
    return rows * FLOAT * (masks + WIDTHS * config.channels * frames)


def encoder_scratch(config: FlowEncoderConfig, tokens: int) -> int:
    """Bytes of our encoder over `tokens`: scores of one block of queries at a time."""
    frames = config.upsample * tokens
    rows = min(QUERIES, frames)
    scores = config.heads * rows * (rows + 2 * frames)
    return FLOAT * (scores + WIDTHS * config.width * frames)


def estimator_scratch(config: FlowEstimatorConfig, frames: int, rows: int = 2) -> int:
    """Bytes of our estimator: no mask of the whole."""
    return rows * FLOAT * WIDTHS * config.channels * frames


def vocoder_scratch(config: CosyVoice2Config, frames: int) -> int:
    """Bytes of a model's vocoder over so many mel frames at once."""
    if config.source_filter is not None:
        return source_filter_scratch(config.source_filter, frames)
    return hift_scratch(config.hift, frames)


def hift_scratch(config: HiFTConfig, frames: int) -> int:
    """Bytes of HiFT over so many mel frames at once: its last stage."""
    last = config.base_channels >> len(config.upsample_rates)
    return VOCODER_TENSORS * FLOAT * last * prod(config.upsample_rates) * frames


def official(config: CosyVoice2Config, request: Request) -> Peaks:
    """The official pipeline: float32, the text model's full head, one pass from tokens to sound.

    The prompt is read by a causal LM with its text head over every position and all hidden
    states kept; text head and embedding share their storage. The speech tokenizer (ONNX) runs on
    the GPU where there is one; its scratch and that of the runtime are not counted.
    """
    lm = config.lm
    counted = costs.parameters(
        lm.hybrid, costs.Head(text_vocab=lm.vocab_size, speech_vocab=lm.head_size)
    )
    parts = counted.total + flow_parameters(config.flow) + vocoder_parameters(config)
    logits = FLOAT * request.prefill * lm.vocab_size
    hidden = FLOAT * request.prefill * (lm.n_layers + 1) * lm.d_model
    exact = costs.Precision(weights=4, cache=4, conv=4)
    cache = costs.cache_bytes(lm.hybrid, request.positions, exact)
    heard = request.prompt + request.tokens
    frames = config.flow.encoder.upsample * heard
    return Peaks(
        weights=FLOAT * parts + (ONNX_BYTES if config.speech_tokenizer is None else 0),
        language_model=logits + hidden + cache,
        sound=max(
            official_encoder_scratch(config.flow.encoder, heard),
            official_estimator_scratch(config.flow.estimator, frames),
            vocoder_scratch(config, config.flow.encoder.upsample * request.tokens),
        ),
    )


def needs(config: CosyVoice2Config, request: Request) -> Needs:
    """Our pipeline: flow and vocoder in float32, in windows."""
    windows = Windows.of(config, request.prompt)
    heard = windows.tokens + windows.prompt
    frames = config.flow.encoder.upsample * heard
    rows = 2 if config.flow.cfg_rate else 1
    flow = max(
        encoder_scratch(config.flow.encoder, heard),
        estimator_scratch(config.flow.estimator, frames, rows),
    )
    return Needs(
        rows=1,
        positions=request.positions,
        weights={
            "flow": FLOAT * flow_parameters(config.flow),
            "vocoder": FLOAT * vocoder_parameters(config),
        },
        scratch={"flow": flow, "vocoder": vocoder_scratch(config, windows.vocoder_frames)},
        prompt=prompt_bytes(config.flow, request.prompt),
    )


def prompt_bytes(config: FlowConfig, prompt: int) -> int:
    """Bytes kept of a voice's prompt of so many tokens: whole chunks of it, up to a bound."""
    each, grid = heard_token_bytes(config), config.encoder.chunk
    limit = WaveOptions().prompt_bytes
    return each * heard_tokens(config, prompt, grid=grid, limit=limit, each=each)


def savings(
    config: CosyVoice2Config, request: Request, hybrid: CosyVoice2Config | None = None
) -> tuple[Saving, ...]:
    """From the official pipeline to ours, one step after the other, the exchange of layers last.

    Args:
        config: the teacher.
        request: what is spoken.
        hybrid: the same model with other layers; `None` where there is none.
    """
    lm, ladder = config.lm, Ladder(official(config, request))
    exact, half = costs.Precision(weights=4, cache=4, conv=4), costs.Precision()
    cache = costs.cache_bytes(lm.hybrid, request.positions, exact)
    ladder.step("no text head, no kept hidden states", language_model=cache)
    scratch = needs(config, request).scratch
    ladder.step("tokens to sound in windows", sound=max(scratch.values()))
    if config.speech_tokenizer is None:
        ladder.step("ONNX parts on the CPU", weights=ladder.now.weights - ONNX_BYTES)

    head = costs.Head(text_vocab=lm.vocab_size, speech_vocab=lm.head_size)
    counted = costs.parameters(lm.hybrid, head)
    ladder.step(
        "language model and its cache in bfloat16",
        weights=ladder.now.weights - (FLOAT - half.weights) * counted.total,
        language_model=costs.cache_bytes(lm.hybrid, request.positions, half),
    )
    table = half.weights * counted.text_embedding
    ladder.step("text embedding on the host", weights=ladder.now.weights - table)
    if hybrid is not None:
        other = hybrid.lm.hybrid
        ladder.exchange(
            other.layer_kinds,
            weights=half.weights * (costs.parameters(other, head).total - counted.total),
            language_model=costs.cache_bytes(other, request.positions, half),
        )
    return ladder.steps


class Formulas:
    """The part of `families.measures.Measures` that measures nothing."""

    reference = "CosyVoice2-0.5B"
    config = CosyVoice2Config()
    observed = OBSERVED
    needs = staticmethod(needs)
    savings = staticmethod(savings)
