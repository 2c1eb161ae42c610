"""Sizes of the flow+HiFT codec: the mel between its halves, the flow, the two vocoders.

Frozen dataclasses, no torch. Defaults are those of the published CosyVoice 2 (FunAudioLLM/
CosyVoice, examples/libritts/cosyvoice2/conf/cosyvoice2.yaml).
"""

from dataclasses import dataclass

SOURCE_FILTER_PIECE = 64
"""Mel frames that a stream of the source-filter vocoder speaks at once."""


@dataclass(frozen=True, kw_only=True)
class MelConfig:
    """The 80-bin log-mel that the flow writes and the vocoder reads."""

    sample_rate: int = 24_000
    n_fft: int = 1920
    hop: int = 480
    n_mels: int = 80
    fmin: float = 0.0
    fmax: float = 8000.0


@dataclass(frozen=True, kw_only=True)
class FlowEncoderConfig:
    """The upsampling conformer that turns speech tokens into mel means (widths in channels)."""

    width: int = 512
    heads: int = 8
    d_ff: int = 2048
    blocks: int = 6
    up_blocks: int = 4
    lookahead: int = 3
    upsample: int = 2
    chunk: int = 25


@dataclass(frozen=True, kw_only=True)
class FlowEstimatorConfig:
    """The UNet that estimates the velocity of the flow."""

    channels: int = 256
    heads: int = 8
    head_dim: int = 64
    n_blocks: int = 4
    mid_blocks: int = 12
    chunk: int = 50


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """Speech tokens to mel by conditional flow matching.

    `temperature` is the scale of the noise the solver starts from (Matcha-TTS' name for it).
    """

    vocab_size: int = 6561
    mel_bins: int = 80
    speaker_dim: int = 192
    steps: int = 10
    cfg_rate: float = 0.7
    temperature: float = 1.0
    encoder: FlowEncoderConfig = FlowEncoderConfig()
    estimator: FlowEstimatorConfig = FlowEstimatorConfig()


@dataclass(frozen=True, kw_only=True)
class HiFTConfig:
    """The HiFT vocoder (neural source filter and inverse STFT)."""

    mel_bins: int = 80
    base_channels: int = 512
    f0_channels: int = 512
    harmonics: int = 8
    sample_rate: int = 24_000
    sine_amplitude: float = 0.1
    noise_sigma: float = 0.003
    voiced_threshold: float = 10.0
    upsample_rates: tuple[int, ...] = (8, 5, 3)
    upsample_kernels: tuple[int, ...] = (16, 11, 7)
    n_fft: int = 16
    hop: int = 4
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[int, ...] = (1, 3, 5)
    source_resblock_kernels: tuple[int, ...] = (7, 7, 11)
    leaky_slope: float = 0.1
    audio_limit: float = 0.99

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

    mel_bins: int = 80
    mel_fmax: float = 8000.0
    width: int = 192
    blocks: int = 4
    widening: int = 3
    fine_blocks: int = 4
    fine_widening: int = 2
    kernel: int = 7
    ahead: int = 1
    fine_ahead: int = 2
    pitch_width: int = 160
    pitch_layers: int = 4
    n_fft: int = 480
    hop: int = 120
    rate: int = 4
    sample_rate: int = 24_000
    pulse_fmax: float = 11_800.0
    audio_limit: float = 0.99

    @property
    def samples_per_frame(self) -> int:
        """Samples per mel frame."""
        return self.hop * self.rate

    @property
    def bins(self) -> int:
        """Numbers of one filter."""
        return self.n_fft // 2 + 1
