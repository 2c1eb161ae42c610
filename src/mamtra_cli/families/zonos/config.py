"""Every size of a Zonos-v0.1 model: both published checkpoints are values of one config.

Frozen dataclasses, no torch. Defaults are those of the published transformer (config.json of
Zyphra/Zonos-v0.1-transformer); `HYBRID` is the other checkpoint. The layer plan lives in
`LMConfig.kinds`, the mixer of converted layers in `LMConfig.mixer`.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.bounds import (
    Bounds,
    Durations,
    Frames,
    Heads,
    Kernels,
    Layers,
    Positive,
    Rows,
    Scale,
    Share,
    Width,
    check_fields,
)
from mamtra_cli.codecs.dac.config import DacConfig
from mamtra_cli.codecs.residual_mel.config import ResidualMelConfig
from mamtra_cli.errors import UsageError
from mamtra_cli.families.zonos.symbols import TABLE_ROWS
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import NativeMamba2

KINDS = ("phones", "vector", "fourier", "integer")
LARGEST_TABLE = 1 << 20
STAGES = 4  # of the speaker encoder
Guidance = Annotated[float, Bounds(1, 20)]
Seconds = Annotated[float, Bounds(0.1, 3600)]


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
    width: Width = 1
    low: float = 0.0
    high: float = 1.0
    learned: bool = True

    def __post_init__(self) -> None:
        check_fields(self)
        if self.kind not in KINDS:
            raise UsageError(f"condition `{self.name}` is of no kind `{self.kind}`")
        if not self.high > self.low:
            raise UsageError(f"condition `{self.name}` has the range {self.low} to {self.high}")
        if self.kind == "integer" and not self.high - self.low <= LARGEST_TABLE:
            raise UsageError(f"condition `{self.name}` has more than {LARGEST_TABLE} values")


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

    width: Width = 64
    blocks: Kernels = (10, 20, 64, 3)
    n_mels: Heads = 80
    bottleneck: Width = 128
    dim: Width = 256
    lda: Width = 128

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.blocks) != STAGES:
            raise UsageError(f"the speaker encoder has {STAGES} stages, not {len(self.blocks)}")


@dataclass(frozen=True, kw_only=True)
class LMConfig:
    """The language model: a prefix of conditions, then columns of `codebooks` ids.

    Attributes:
        d_model, n_layers, n_heads, n_kv_heads, head_dim, d_ff: of the stack.
        rope: `interleaved` in the transformer, `half` in the hybrid.
        rope_theta, norm_eps: of the stack.
        native: sizes of the hybrid's own Mamba-2 layers.
        codebooks, codes: ids of one frame, and how many each may be.
        conditions: of the prefix, in order.
        durations: frames that each phone takes at the usual rate, one a row of their table, where
            positions follow the time of the speech (`positions.py`); published models count.
        kinds, mixer: the layer plan, and what converted layers are.
    """

    d_model: Width = 2048
    n_layers: Layers = 26
    n_heads: Heads = 16
    n_kv_heads: Heads = 4
    head_dim: Width = 128
    d_ff: Width = 8192
    rope: str = "interleaved"
    rope_theta: Positive = 10_000.0
    norm_eps: Positive = 1e-5
    native: NativeMamba2 | None = None
    codebooks: Heads = 9
    codes: Rows = 1024
    conditions: tuple[Condition, ...] = TRANSFORMER_CONDITIONS
    durations: Durations = ()
    kinds: str = ""
    mixer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        if [each.kind for each in self.conditions].count("phones") != 1:
            raise UsageError("the conditions must name phones, once")
        if len(self.durations) not in (0, TABLE_ROWS):
            raise UsageError(f"{len(self.durations)} durations, not one for {TABLE_ROWS} phones")

    @property
    def eos_id(self) -> int:
        """Id that ends the speech: the first after the codes."""
        return self.codes

    @property
    def mask_id(self) -> int:
        """Id of what the delay pattern leaves open."""
        return self.codes + 1

    @property
    def width(self) -> int:
        """Ids that scores are given for, the mask among them."""
        return self.codes + 2

    @property
    def hybrid(self) -> HybridConfig:
        """Sizes and layer kinds of the stack inside the model."""
        return HybridConfig(
            d_model=self.d_model,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads,
            head_dim=self.head_dim,
            d_ff=self.d_ff,
            rope=self.rope,
            rope_theta=self.rope_theta,
            norm="layer",
            norm_eps=self.norm_eps,
            qkv_bias=False,
            native=self.native,
            kinds=self.kinds,
            mixer=MixerConfig.from_dict(self.mixer),
        )


@dataclass(frozen=True, kw_only=True)
class ZonosConfig:
    """One whole model.

    Attributes:
        lm, codec, speaker: sizes of the parts.
        mel_codec: sizes of a codec of mels in place of `codec`, which published models have.
        guidance: how far scores are led away from those without conditions; 1 is not at all.
        temperature, min_p, repetition_penalty, penalty_window: how frames are drawn.
        max_seconds: longest speech of one piece of text.
    """

    lm: LMConfig = LMConfig()
    codec: DacConfig = DacConfig()
    mel_codec: ResidualMelConfig | None = None
    speaker: SpeakerConfig = SpeakerConfig()
    guidance: Guidance = 2.0
    temperature: Scale = 1.0
    min_p: Share = 0.1
    repetition_penalty: Positive = 3.0
    penalty_window: Frames = 2
    max_seconds: Seconds = 30.0

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.sound.codebooks, self.sound.codes) != (self.lm.codebooks, self.lm.codes):
            raise UsageError(
                f"the codec has {self.sound.codebooks} codebooks of {self.sound.codes}, the "
                f"language model {self.lm.codebooks} of {self.lm.codes}"
            )

    @property
    def sound(self) -> DacConfig | ResidualMelConfig:
        """Sizes of the codec in use."""
        return self.mel_codec or self.codec


HYBRID = ZonosConfig(
    lm=LMConfig(
        n_layers=46,
        rope="half",
        native=NativeMamba2(),
        conditions=HYBRID_CONDITIONS,
        kinds="".join("T" if layer % 4 == 0 else "N" for layer in range(46)),
    )
)
