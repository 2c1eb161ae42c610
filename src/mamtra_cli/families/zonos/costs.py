"""Memory of the whole pipeline by formulas: the official arithmetic, ours, and each saving between.

From configs alone, no torch. The language model alone is in backbone/costs.py, codecs are in
codecs/*/costs.py. What the official program does is stated in Zyphra/Zonos: bfloat16 weights, a
bfloat16 cache that is allocated for 30 seconds whatever is spoken, two rows for guidance, the
speaker encoder and the codec in float32 on the device, and one pass of the decoder over the whole
speech.
"""

from math import ceil

from mamtra_cli.backbone import costs
from mamtra_cli.codecs.dac import costs as dac
from mamtra_cli.codecs.residual_mel import costs as residual_mel
from mamtra_cli.families.measures import Ladder, Needs, Peaks, Request, Saving
from mamtra_cli.families.zonos.config import LMConfig, SpeakerConfig, ZonosConfig
from mamtra_cli.families.zonos.symbols import TABLE_ROWS

FLOAT, HALF = 4, 2
ROWS = 2  # with conditions and without
LONGEST = 30  # seconds that the official cache is allocated for
ROUND = 8


def prefix_parameters(lm: LMConfig) -> int:
    """Parameters and buffers of the conditions but the table of phones."""
    width, total = lm.d_model, 0
    for each in lm.conditions:
        if each.kind == "vector":
            total += each.width * width + width
        elif each.kind == "fourier":
            total += width // 2 * each.width
        elif each.kind == "integer":
            total += (int(each.high - each.low) + 1) * width
        total += width if each.learned else 0
    return total + width * width + 3 * width


def head_of(lm: LMConfig) -> costs.Head:
    """What the model has beside its stack; the tables have a row for the mask, the heads none."""
    return costs.Head(
        text_vocab=TABLE_ROWS,
        speech_vocab=lm.codes + 1,
        codebooks=lm.codebooks,
        speech_bias=False,
        special=lm.codebooks,
        other=prefix_parameters(lm),
    )


def lm_parameters(lm: LMConfig) -> int:
    """Parameters and buffers of the language model."""
    return costs.parameters(lm.hybrid, head_of(lm)).total


def speaker_parameters(config: SpeakerConfig) -> int:
    """Numbers of the speaker encoder, running statistics included, the affine map too."""
    narrow, total = config.width, 9 * config.width + 4 * config.width
    for stage, count in enumerate(config.blocks):
        wide = config.width << stage
        for block in range(count):
            before = narrow if block == 0 else wide
            total += 9 * before * wide + 9 * wide * wide + 8 * wide
            if block == 0 and (stage or before != wide):
                total += before * wide + 4 * wide
        narrow = wide
    channels = narrow * ceil(config.n_mels / 8)
    inner = config.bottleneck
    total += channels * inner + inner + 4 * inner + inner * channels + channels
    total += 2 * channels * config.dim + config.dim
    return total + config.dim * config.lda + config.lda


def codec_parameters(config: ZonosConfig) -> int:
    """Parameters of the codec in use."""
    if config.mel_codec is None:
        return dac.parameters(config.codec)
    return residual_mel.parameters(config.mel_codec)


def one_pass(config: ZonosConfig, frames: int) -> int:
    """Bytes of the codec in use over so many frames at once."""
    if config.mel_codec is None:
        return dac.one_pass(config.codec, frames)
    return residual_mel.one_pass(config.mel_codec, frames)


def windowed(config: ZonosConfig, frames: int) -> int:
    """The same in windows."""
    if config.mel_codec is None:
        return dac.windowed(config.codec, frames)
    return residual_mel.windowed(config.mel_codec, frames)


def cache_bytes(lm: LMConfig, positions: int, *, state: int = FLOAT) -> int:
    """Bytes of the cache of one utterance, guided."""
    precision = costs.Precision(weights=HALF, cache=HALF, state=state, conv=HALF)
    return ROWS * costs.cache_bytes(lm.hybrid, positions, precision)


def official(config: ZonosConfig, request: Request) -> Peaks:
    """The official pipeline. A published hybrid keeps its states in bfloat16."""
    lm = config.lm
    prefix = request.text + len(lm.conditions) - 1
    longest = LONGEST * round(config.sound.frame_rate)
    positions = ceil((prefix + request.prompt + longest + lm.codebooks) / ROUND) * ROUND
    beside = codec_parameters(config) + speaker_parameters(config.speaker)
    return Peaks(
        weights=HALF * lm_parameters(lm) + FLOAT * beside,
        language_model=cache_bytes(lm, positions, state=HALF),
        sound=one_pass(config, request.prompt + request.tokens),
    )


def needs(config: ZonosConfig, request: Request) -> Needs:
    """Our pipeline: guided rows, the codec in float32 and in windows."""
    lm = config.lm
    prefix = request.text + len(lm.conditions) - 1
    return Needs(
        rows=ROWS,
        positions=prefix + request.prompt + request.tokens + lm.codebooks,
        weights={"codec": FLOAT * codec_parameters(config)},
        scratch={"codec": windowed(config, request.tokens)},
    )


def savings(
    config: ZonosConfig, request: Request, hybrid: ZonosConfig | None = None
) -> tuple[Saving, ...]:
    """From the official pipeline to ours, one step after the other, the exchange of layers last.

    Args:
        config: the teacher.
        request: what is spoken.
        hybrid: the same model with other layers; `None` where there is none.
    """
    ladder, lean = Ladder(official(config, request)), needs(config, request)
    ladder.step("frames to sound in windows", sound=lean.scratch["codec"])
    speaker = FLOAT * speaker_parameters(config.speaker)
    ladder.step("no speaker encoder once the voice is made", weights=ladder.now.weights - speaker)
    ladder.step(
        "a cache of what is spoken, not of 30 seconds",
        language_model=cache_bytes(config.lm, lean.positions),
    )
    if hybrid is not None:
        ladder.exchange(
            hybrid.lm.hybrid.layer_kinds,
            weights=HALF * (lm_parameters(hybrid.lm) - lm_parameters(config.lm)),
            language_model=cache_bytes(hybrid.lm, lean.positions),
        )
    return ladder.steps
