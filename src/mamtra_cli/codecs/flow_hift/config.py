"""Sizes of the flow+HiFT codec: the mel between its halves, the flow, two vocoders, two encoders.

Frozen dataclasses, no torch. Defaults are those of the published CosyVoice 2 (FunAudioLLM/
CosyVoice, examples/libritts/cosyvoice2/conf/cosyvoice2.yaml).
"""

from dataclasses import dataclass

from mamtra_cli.bounds import (
    Frames,
    Heads,
    Hertz,
    Kernel,
    Kernels,
    Layers,
    Rate,
    Rows,
    Scale,
    Steps,
    Width,
    check_fields,
)
from mamtra_cli.errors import UsageError

NOISE_FRAMES, LATER_FRAMES = 15_000, 1000
"""Mel frames of the first block of the fixed noise, which is published, and of each later one."""
SOURCE_FILTER_PIECE = 64
"""Mel frames that a stream of the source-filter vocoder speaks at once."""
VELOCITIES = ("instant", "mean")
DIGITS = ("fsq", "classes")
CPU_STEPS = 5
"""Most steps that a guided flow takes on a CPU, unless it is asked for more."""


@dataclass(frozen=True, kw_only=True)
class MelConfig:
    """The 80-bin log-mel that the flow writes and the vocoder reads."""

    sample_rate: Rate = 24_000
    n_fft: Kernel = 1920
    hop: Kernel = 480
    n_mels: Heads = 80
    fmin: Hertz = 0.0
    fmax: Hertz = 8000.0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class FlowEncoderConfig:
    """The upsampling conformer that turns speech tokens into mel means (widths in channels)."""

    width: Width = 512
    heads: Heads = 8
    d_ff: Width = 2048
    blocks: Layers = 6
    up_blocks: Layers = 4
    lookahead: Frames = 3
    upsample: Steps = 2
    chunk: Frames = 25

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class FlowEstimatorConfig:
    """The UNet that estimates the velocity of the flow."""

    channels: Width = 256
    heads: Heads = 8
    head_dim: Width = 64
    n_blocks: Layers = 4
    mid_blocks: Layers = 12
    chunk: Frames = 50

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """Speech tokens to mel by conditional flow matching.

    `temperature` is the scale of the noise the solver starts from (Matcha-TTS' name for it).
    `velocity` says what the estimator tells: `instant`, at one time, or `mean`, over the whole step
    that is taken (MeanFlow, arXiv 2505.13447), with the guidance of its teacher in its weights.
    """

    vocab_size: Rows = 6561
    mel_bins: Heads = 80
    speaker_dim: Width = 192
    steps: Steps = 10
    cfg_rate: Scale = 0.7
    temperature: Scale = 1.0
    velocity: str = "instant"
    encoder: FlowEncoderConfig = FlowEncoderConfig()
    estimator: FlowEstimatorConfig = FlowEstimatorConfig()

    def __post_init__(self) -> None:
        check_fields(self)
        if self.velocity not in VELOCITIES:
            raise UsageError(
                f"`velocity` cannot be `{self.velocity}`", f"choose one of {', '.join(VELOCITIES)}"
            )
        if self.has_spans and self.cfg_rate:
            raise UsageError("a flow of mean velocities has no guidance", "set `cfg_rate` to 0")

    @property
    def has_spans(self) -> bool:
        """Whether the estimator is told the end of a step beside its beginning."""
        return self.velocity == "mean"

    def steps_on(self, device: str) -> int:
        """Steps of the solver where nobody asks: half of ten, each two passes, on a CPU."""
        most = CPU_STEPS if device == "cpu" and self.cfg_rate else self.steps
        return min(self.steps, most)


@dataclass(frozen=True, kw_only=True)
class HiFTConfig:
    """The HiFT vocoder (neural source filter and inverse STFT)."""

    mel_bins: Heads = 80
    base_channels: Width = 512
    f0_channels: Width = 512
    harmonics: Frames = 8
    sample_rate: Rate = 24_000
    sine_amplitude: float = 0.1
    noise_sigma: float = 0.003
    voiced_threshold: float = 10.0
    upsample_rates: Kernels = (8, 5, 3)
    upsample_kernels: Kernels = (16, 11, 7)
    n_fft: Kernel = 16
    hop: Kernel = 4
    resblock_kernels: Kernels = (3, 7, 11)
    resblock_dilations: Kernels = (1, 3, 5)
    source_resblock_kernels: Kernels = (7, 7, 11)
    leaky_slope: float = 0.1
    audio_limit: float = 0.99

    def __post_init__(self) -> None:
        check_fields(self)
        if not len(self.upsample_rates) == len(self.upsample_kernels) > 0:
            raise UsageError("`upsample_rates` and `upsample_kernels` are not of one length")
        if len(self.source_resblock_kernels) != len(self.upsample_rates):
            raise UsageError("`source_resblock_kernels` and `upsample_rates` are not of one length")

    @property
    def samples_per_frame(self) -> int:
        """Samples per mel frame."""
        samples = self.hop
        for rate in self.upsample_rates:
            samples *= rate
        return samples


@dataclass(frozen=True, kw_only=True)
class SourceFilterConfig:
    """The source-filter vocoder (ours, no published sizes; the defaults are mini's).

    Attributes:
        mel_bins, mel_fmax: of the mel that it reads.
        width: channels of both filter networks.
        blocks, widening: of the network at the rate of the mel, and how much wider its hidden
            layers are than `width`.
        fine_blocks, fine_widening: of the network at the rate of the filters.
        kernel: frames that a block sees, `ahead` (or `fine_ahead`) of them still to come.
        pitch_width, pitch_layers: of the network that finds the pitch.
        n_fft, hop: samples of an analysis window, and between two filters.
        rate: filters a mel frame.
        pulse_fmax: highest harmonic of the pulses, in Hz.
        audio_limit: of the samples.
    """

    mel_bins: Heads = 80
    mel_fmax: Hertz = 8000.0
    width: Width = 192
    blocks: Layers = 4
    widening: Heads = 3
    fine_blocks: Layers = 4
    fine_widening: Heads = 2
    kernel: Kernel = 7
    ahead: Frames = 1
    fine_ahead: Frames = 2
    pitch_width: Width = 160
    pitch_layers: Layers = 4
    n_fft: Kernel = 480
    hop: Kernel = 120
    rate: Steps = 4
    sample_rate: Rate = 24_000
    pulse_fmax: Hertz = 11_800.0
    audio_limit: float = 0.99

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def samples_per_frame(self) -> int:
        """Samples per mel frame."""
        return self.hop * self.rate

    @property
    def bins(self) -> int:
        """Numbers of one filter."""
        return self.n_fft // 2 + 1


@dataclass(frozen=True, kw_only=True)
class SpeechTokenizerConfig:
    """The supervised speech tokenizer: log-mel at 100 Hz to codes at 25 Hz.

    `levels` are the odd level counts of the digits of a code; the published codebook is 3^8.
    `digits` says how they are found: `fsq`, one rounded number each, or `classes`, the likeliest.
    """

    n_mels: Heads = 128
    width: Width = 1280
    heads: Heads = 20
    layers: Layers = 6
    fsmn_kernel: Kernel = 31
    levels: Kernels = (3,) * 8
    digits: str = "fsq"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.digits not in DIGITS:
            raise UsageError(
                f"`digits` cannot be `{self.digits}`", f"choose one of {', '.join(DIGITS)}"
            )

    @property
    def codebook_size(self) -> int:
        """Number of codes."""
        size = 1
        for level in self.levels:
            size *= level
        return size


@dataclass(frozen=True, kw_only=True)
class SpeakerEncoderConfig:
    """mini's own speaker encoder: 80-bin fbank to one vector. Upstream uses CAM++ (ONNX)."""

    n_mels: Heads = 80
    width: Width = 128
    layers: Layers = 4
    dim: Width = 192

    def __post_init__(self) -> None:
        check_fields(self)
