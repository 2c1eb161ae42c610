"""Every size of `mini`: the one configuration that training, packing and the package share."""

from dataclasses import replace

from mamtra_cli.codecs.flow_hift.config import (
    FlowConfig,
    FlowEncoderConfig,
    FlowEstimatorConfig,
    SourceFilterConfig,
    SpeakerEncoderConfig,
    SpeechTokenizerConfig,
)
from mamtra_cli.families.cosyvoice2.config import (
    CosyVoice2Config,
    LMConfig,
)

TOKENIZER = SpeechTokenizerConfig(width=192, heads=3, layers=4, levels=(7, 7, 5, 5))
# Codes that are told (`supervised_codes.py`): phone, pitch, and how long the phone goes on.
TOLD_TOKENIZER = replace(TOKENIZER, levels=(49, 5, 5), digits="classes")
SPEAKER = SpeakerEncoderConfig(width=96, layers=3)
FLOW = FlowConfig(
    vocab_size=TOKENIZER.codebook_size,
    steps=3,
    cfg_rate=0.0,
    temperature=0.05,
    encoder=FlowEncoderConfig(width=160, heads=4, d_ff=480, blocks=3, up_blocks=1),
    estimator=FlowEstimatorConfig(channels=112, heads=2, head_dim=56, n_blocks=1, mid_blocks=4),
)
SOURCE_FILTER = SourceFilterConfig()
LM = LMConfig(
    d_model=256,
    n_layers=8,
    n_heads=4,
    n_kv_heads=2,
    head_dim=64,
    d_ff=512,
    rope_theta=10_000.0,
    qkv_bias=True,
    vocab_size=64,
    speech_vocab=TOKENIZER.codebook_size,
    text_chunk=5,
    speech_chunk=8,
    min_ratio=1.0,
    max_ratio=6.0,
    positions="aligned",
    alignment=(2, 0),
)


def mini(durations: tuple[float, ...], *, natural: bool = True) -> CosyVoice2Config:
    """Return the whole configuration.

    durations: of the text symbols, as measured. natural: codes are told, and prompts learned.
    """
    return CosyVoice2Config(
        text="phones",
        lm=replace(LM, durations=durations),
        flow=FLOW,
        source_filter=SOURCE_FILTER,
        speech_tokenizer=TOLD_TOKENIZER if natural else TOKENIZER,
        speaker_encoder=SPEAKER,
        temperature=0.2,  # clearest on sentences kept for choosing it (docs/mini.md)
        lesson_temperature=0.7,
        zero_shot=natural,
        top_k=0,
        # Told tokens repeat while a long phone lasts; half a second of one is a phone without end.
        ras_window=12 if natural else 0,
        ras_threshold=1.0 if natural else 0.1,
        context_tokens=100 if natural else 50,
        whole_tokens=150,
    )
