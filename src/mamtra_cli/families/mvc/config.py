"""Every size of an MVC model: the conditioning stack, and the flow and vocoder it shares.

Frozen dataclasses, no torch. Sizes after MambaVoiceCloning (arXiv 2604.00292), table 7: six layers
each, state 96 there, 64 here (a quarter less to keep, same order of errors); convolutions of five
taps; the width is not stated in the paper, 256 agrees with its aligner and its 21 M parameters.
"""

from dataclasses import dataclass, replace

from mamtra_cli.bounds import Frames, Kernel, Layers, Positive, Rows, Width, check_fields
from mamtra_cli.codecs.flow_hift.config import (
    FlowConfig,
    HiFTConfig,
    MelConfig,
    SourceFilterConfig,
    SpeakerEncoderConfig,
)
from mamtra_cli.errors import UsageError
from mamtra_cli.layers.shape import MixerShape, NativeMamba2

FUSIONS = ("gated+adaln", "gated", "adaln", "concat")
HEAD_WIDTH = 64
REFERENCE_FRAMES = 150
"""Mel frames of a reference that are heard at once, in training and of a clip."""


@dataclass(frozen=True, kw_only=True)
class ConditionerConfig:
    """The conditioning stack: phones and a style to what the flow is given.

    Attributes:
        symbols: rows of the phone table.
        width: of every layer (D).
        state: of the recurrences (N).
        taps: of their convolutions (W).
        text_layers, rhythm_layers, prosody_layers: depth of the three encoders.
        local_taps: of the rhythm encoder's centred convolution, odd.
        style_width: of the style vector (E).
        style_channels: of the net that hears the reference.
        fusion: how the two directions of the text encoder meet, one of `FUSIONS`.
        backward: False leaves out the branch that runs from the end (the paper's causal form).
        mel_bins: of the reference and of what the flow is given.
        frame_rate: mel frames a second.
        symbol_rate: phones a second in the training set; turns a look-ahead into phones.
        pitch_mean, pitch_deviation: of log2 F0 over voiced frames of the training set.
        energy_mean, energy_deviation: of the frames' mean log-mel.
    """

    symbols: Rows = 64
    width: Width = 256
    state: Width = 64
    taps: Kernel = 5
    text_layers: Layers = 6
    rhythm_layers: Layers = 6
    prosody_layers: Layers = 6
    local_taps: Kernel = 5
    style_width: Width = 128
    style_channels: Width = 128
    fusion: str = "gated+adaln"
    backward: bool = True
    mel_bins: Width = 80
    frame_rate: Positive = 50.0
    symbol_rate: Positive = 12.0
    pitch_mean: float = 7.0
    pitch_deviation: Positive = 0.35
    energy_mean: float = -5.0
    energy_deviation: Positive = 2.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.fusion not in FUSIONS:
            raise UsageError(
                f"`fusion` cannot be `{self.fusion}`", f"choose one of {', '.join(FUSIONS)}"
            )
        if self.local_taps % 2 == 0:
            raise UsageError(f"`local_taps` is {self.local_taps}", "use an odd number")

    @property
    def gated(self) -> bool:
        """Whether a gate weighs the two directions."""
        return self.fusion in ("gated+adaln", "gated")

    @property
    def adaptive(self) -> bool:
        """Whether the style modulates the norms."""
        return self.fusion in ("gated+adaln", "adaln")

    @property
    def mixer(self) -> MixerShape:
        """Sizes of one recurrence."""
        head = min(HEAD_WIDTH, self.width)
        native = NativeMamba2(d_state=self.state, head_dim=head, conv_kernel=self.taps)
        return MixerShape(
            d_model=self.width, n_heads=1, n_kv_heads=1, head_dim=self.width, native=native
        )


PRESETS = {
    "default": ConditionerConfig(),
    "small": ConditionerConfig(rhythm_layers=3, prosody_layers=3),
    "mini": ConditionerConfig(
        width=128, text_layers=4, rhythm_layers=2, prosody_layers=3, style_channels=96
    ),
}


def preset(name: str, **changes: object) -> ConditionerConfig:
    """The sizes of that name, with changes.

    Raises:
        UsageError: there is no such preset.
    """
    if name not in PRESETS:
        raise UsageError(f"no MVC preset `{name}`", f"presets: {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class MVCConfig:
    """One whole model: a conditioner on the flow, vocoder and speaker encoder of another family.

    The vocoder is the source-filter one where `source_filter` has its sizes, else HiFT. Frames are
    of mel: `hop_frames` of the first window that becomes sound, growing to `max_hop_frames`,
    `context_frames` heard again before each, up to `whole_frames` at once. Streaming commits
    `commit` phones at a time.
    """

    conditioner: ConditionerConfig = ConditionerConfig()
    mel: MelConfig = MelConfig()
    flow: FlowConfig = FlowConfig()
    hift: HiFTConfig = HiFTConfig()
    source_filter: SourceFilterConfig | None = None
    speaker_encoder: SpeakerEncoderConfig = SpeakerEncoderConfig()
    hop_frames: Kernel = 50
    max_hop_frames: Kernel = 200
    context_frames: Frames = 100
    whole_frames: Kernel = 300
    commit: Kernel = 16

    def __post_init__(self) -> None:
        check_fields(self)
        bins = {self.conditioner.mel_bins, self.mel.n_mels, self.flow.mel_bins}
        if len(bins) > 1:
            raise UsageError(f"mel bins differ between the parts: {sorted(bins)}")

    @property
    def vocoder_part(self) -> str:
        """Name of the part that makes sound of mel."""
        return "hift" if self.source_filter is None else "source_filter"

    @property
    def voice_dim(self) -> int:
        """Numbers of a voice: the flow's speaker vector, then the conditioner's style."""
        return self.flow.speaker_dim + self.conditioner.style_width
