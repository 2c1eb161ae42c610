"""Every size of a Zonos-v0.1 model: both published checkpoints are values of one config.

Frozen dataclasses, no torch. Defaults are those of the published transformer (config.json of
Zyphra/Zonos-v0.1-transformer); `HYBRID` holds what the hybrid differs in. The layer plan lives in
`LMConfig.kinds`, the mixer of converted layers in `LMConfig.mixer`.
"""

from dataclasses import dataclass

KINDS = ("phones", "vector", "fourier", "integer")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One thing that the model hears before the speech, in the order of the prefix.

    Attributes:
        name: what the published config calls it.
        kind: `phones` (one vector a phone), `vector` (a linear map), `fourier` (random
            frequencies of scaled numbers) or `integer` (a table).
        width: numbers of the value.
        low, high: its range.
        learned: there is a vector for "not said".
    """

    name: str
    kind: str
    width: int = 1
    low: float = 0.0
    high: float = 1.0
    learned: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"condition `{self.name}` is of no kind `{self.kind}`")
        if not self.high > self.low:
            raise ValueError(f"condition `{self.name}` has the range {self.low} to {self.high}")


TRANSFORMER_CONDITIONS = (
    Condition(name="espeak", kind="phones", learned=False),
    Condition(name="speaker", kind="vector", width=128),
    Condition(name="emotion", kind="fourier", width=8),
    Condition(name="fmax", kind="fourier", high=24_000.0),
    Condition(name="pitch_std", kind="fourier", high=400.0),
    Condition(name="speaking_rate", kind="fourier", high=40.0),
    Condition(name="language_id", kind="integer", low=-1.0, high=126.0),
)
HYBRID_CONDITIONS = (
    *TRANSFORMER_CONDITIONS,
    Condition(name="vqscore_8", kind="fourier", width=8, low=0.5, high=0.8),
    Condition(name="ctc_loss", kind="fourier", low=-1.0, high=1000.0),
    Condition(name="dnsmos_ovrl", kind="fourier", low=1.0, high=5.0),
    Condition(name="speaker_noised", kind="integer"),
)


@dataclass(frozen=True, kw_only=True)
class SpeakerConfig:
    """The speaker encoder: a residual network over mels, pooled, and an affine map (LDA)."""

    width: int = 64
    blocks: tuple[int, ...] = (10, 20, 64, 3)
    n_mels: int = 80
    bottleneck: int = 128
    dim: int = 256
    lda: int = 128
