"""Every size of a CosyVoice-2 model: the published 0.5B checkpoint and `mini` are two values.

Frozen dataclasses, no torch. Defaults are the published ones (FunAudioLLM/CosyVoice,
examples/libritts/cosyvoice2/conf/cosyvoice2.yaml); derived numbers are properties. The layer
plan lives in `LMConfig.kinds`; the mixer of the converted layers in `LMConfig.mixer`.
"""

from dataclasses import dataclass, field
from typing import Any

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.bounds import (
    Durations,
    Frames,
    Heads,
    Kernel,
    Layers,
    Optional,
    Places,
    Positive,
    Rows,
    Scale,
    Share,
    Steps,
    Width,
    check_fields,
)
from mamtra_cli.codecs.flow_hift.config import (
    FlowConfig,
    HiFTConfig,
    MelConfig,
    SourceFilterConfig,
    SpeakerEncoderConfig,
    SpeechTokenizerConfig,
)
from mamtra_cli.errors import UsageError
from mamtra_cli.layers.mixer_config import MixerConfig

TOKENS_PER_SECOND = 25.0


@dataclass(frozen=True, kw_only=True)
class LMConfig:
    """The speech-token language model (Qwen2 body, hybrid where `kinds` says so).

    `positions` is `sequential` (the published model) or `aligned`: text and speech share one
    rotary time axis, each text id advancing it by `durations[id]` speech tokens.
    `alignment` is the layer and the query head that were taught to look at the text id being
    spoken; empty where none was.
    """

    d_model: Width = 896
    n_layers: Layers = 24
    n_heads: Heads = 14
    n_kv_heads: Heads = 2
    head_dim: Width = 64
    d_ff: Width = 4864
    rope_theta: Positive = 1_000_000.0
    norm_eps: Positive = 1e-6
    qkv_bias: bool = True
    vocab_size: Rows = 151_936
    speech_vocab: Rows = 6561
    text_chunk: Steps = 5
    speech_chunk: Steps = 15
    min_ratio: Scale = 2.0
    max_ratio: Scale = 20.0
    positions: str = "sequential"
    durations: Durations = ()
    alignment: Places = ()
    kinds: str = ""
    mixer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        sizes = (self.n_layers, self.n_heads)
        if self.alignment and not (
            len(self.alignment) == 2
            and all(at < size for at, size in zip(self.alignment, sizes, strict=True))
        ):
            raise UsageError(f"`alignment` is a layer and a head, not {list(self.alignment)}")

    @property
    def eos_id(self) -> int:
        """Id that ends the speech (the first after the codes)."""
        return self.speech_vocab

    @property
    def fill_id(self) -> int:
        """Id that asks for more text in text-streaming mode."""
        return self.speech_vocab + 2

    @property
    def head_size(self) -> int:
        """Rows of the speech head: codes, eos, a second stop id, fill."""
        return self.speech_vocab + 3

    @property
    def stop_ids(self) -> tuple[int, int, int]:
        """Ids that end an utterance."""
        return (self.speech_vocab, self.speech_vocab + 1, self.speech_vocab + 2)

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
            rope_theta=self.rope_theta,
            norm_eps=self.norm_eps,
            qkv_bias=self.qkv_bias,
            vocab_size=self.vocab_size,
            kinds=self.kinds,
            mixer=MixerConfig.from_dict(self.mixer),
        )


@dataclass(frozen=True, kw_only=True)
class CosyVoice2Config:
    """One whole model. `text` is `bpe` (upstream) or `phones` (mini's English front end).

    The vocoder is the source-filter one where `source_filter` has its sizes, else HiFT.
    `speech_tokenizer` and `speaker_encoder` are `None` where the model uses ONNX files.
    Windows of token-to-wave are in tokens of 40 ms: `hop_tokens` of the first, growing to
    `max_hop_tokens`, `context_tokens` heard again before each, up to `whole_tokens` at once.
    Speech that another model learns from is drawn at `lesson_temperature`, `None` for the same:
    what is clearest to hear need not be what teaches most. `zero_shot` says whether the language
    model was trained to go on from the transcript and tokens of a clip.
    """

    text: str = "bpe"
    mel: MelConfig = MelConfig()
    lm: LMConfig = LMConfig()
    flow: FlowConfig = FlowConfig()
    hift: HiFTConfig = HiFTConfig()
    source_filter: SourceFilterConfig | None = None
    speech_tokenizer: SpeechTokenizerConfig | None = None
    speaker_encoder: SpeakerEncoderConfig | None = None
    temperature: Scale = 1.0
    lesson_temperature: float | None = None
    top_p: Share = 0.8
    top_k: Optional = 25
    ras_window: Frames = 10
    ras_threshold: Share = 0.1
    zero_shot: bool = True
    hop_tokens: Kernel = 25
    max_hop_tokens: Kernel = 100
    context_tokens: Frames = 100
    whole_tokens: Kernel = 250

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def vocoder_part(self) -> str:
        """Name of the part that makes sound of mel."""
        return "hift" if self.source_filter is None else "source_filter"

    @property
    def speaking_parts(self) -> tuple[str, str, str]:
        """Names of the parts that speaking needs."""
        return ("lm", "flow", self.vocoder_part)
