"""Every size of the small Zonos: the one configuration that training and packing share."""

from dataclasses import replace

from mamtra_cli.codecs.residual_mel.config import ResidualMelConfig
from mamtra_cli.families.zonos.config import Condition, LMConfig, SpeakerConfig, ZonosConfig

CODEC = ResidualMelConfig()
SPEAKER = SpeakerConfig(width=8, blocks=(1, 1, 1, 1), bottleneck=32, dim=64, lda=32)
CONDITIONS = (
    Condition(name="espeak", kind="phones", learned=False),
    Condition(name="speaker", kind="vector", width=SPEAKER.lda),
    Condition(name="pitch_std", kind="fourier", high=400.0),
    Condition(name="speaking_rate", kind="fourier", high=40.0),
)
LM = LMConfig(
    d_model=256,
    n_layers=6,
    n_heads=4,
    n_kv_heads=2,
    head_dim=64,
    d_ff=640,
    codebooks=CODEC.codebooks,
    codes=CODEC.codes,
    conditions=CONDITIONS,
)


def small(durations: tuple[float, ...]) -> ZonosConfig:
    """The whole configuration, given the measured durations of the phones."""
    return ZonosConfig(
        lm=replace(LM, durations=durations),
        mel_codec=CODEC,
        speaker=SPEAKER,
        temperature=0.3,
        min_p=0.2,
        repetition_penalty=1.0,
        max_seconds=20.0,
    )
