"""Sizes that the layers of one stack share, as data: `MixerShape`, `RopeScaling`, `NativeMamba2`.

No torch here. What a converted layer is made of is a `MixerConfig`; which layer is what is a plan.
"""

from dataclasses import dataclass

from mamtra_cli.bounds import Frames, Heads, Kernel, Positive, Width, check_fields

ROPES = ("half", "interleaved", "none")


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """Rotary frequencies stretched for long contexts, as Llama 3.1 does it.

    Wavelengths above `original / low` are stretched by `factor`, those below `original / high` are
    left alone, and between them the two are blended. Source: Llama team, arXiv 2407.21783, and the
    `rope_type: llama3` of published configs.

    Attributes:
        factor: stretch of the long waves.
        low: waves longer than `original / low` are stretched in full.
        high: waves shorter than `original / high` are left alone.
        original: context that the unstretched frequencies were trained for, in tokens.
    """

    factor: float = 8.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192

    def __post_init__(self) -> None:
        if self.factor <= 0 or self.original < 1 or not 0 < self.low < self.high:
            raise ValueError(f"rotary frequencies cannot be scaled by {self}")


@dataclass(frozen=True, kw_only=True)
class NativeMamba2:
    """Sizes of the Mamba-2 layers that a published model has of its own.

    The defaults are those of the library that names the layer `Mamba2`.

    Attributes:
        d_state: state width (N).
        head_dim: width of a head (P).
        expand: inner width over model width.
        groups: input and output maps, each shared by a run of heads.
        conv_kernel: taps of the convolution (W).
        norm_eps: epsilon of the gated norm.
        d_ff: width of a feed-forward beside the layer; 0 for none.
    """

    d_state: Width = 128
    head_dim: Width = 64
    expand: Heads = 2
    groups: Heads = 1
    conv_kernel: Kernel = 4
    norm_eps: Positive = 1e-5
    d_ff: Frames = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def inner(self, d_model: int) -> int:
        """Channels of all heads together."""
        return self.expand * d_model

    def heads(self, d_model: int) -> int:
        """Heads (H)."""
        heads, rest = divmod(self.inner(d_model), self.head_dim)
        if rest or heads % self.groups:
            raise ValueError(f"{self} does not divide a width of {d_model}")
        return heads

    def conv_channels(self, d_model: int) -> int:
        """Channels of the convolution: values, input maps, output maps."""
        return self.inner(d_model) + 2 * self.groups * self.d_state

    def projected(self, d_model: int) -> int:
        """Rows of the input projection: gate, what is convolved, step sizes."""
        return self.inner(d_model) + self.conv_channels(d_model) + self.heads(d_model)


@dataclass(frozen=True, kw_only=True)
class MixerShape:
    """Sizes of the attention a mixer stands beside or replaces.

    Attributes:
        d_model: width of the residual stream (D).
        n_heads: query heads (H).
        n_kv_heads: key/value heads (G); divides `n_heads`.
        head_dim: width of a head (P).
        rope: which channels turn together, `half` (i with i + P/2) or `interleaved` (2i with
            2i + 1); `none` for no rotary positions.
        rope_theta: base of the rotary positions.
        rope_scaling: stretch of their frequencies, if any.
        qkv_bias: whether the attention's q, k, v projections carry biases.
        out_bias: whether its output projection does.
        native: sizes of the model's own Mamba-2 layers, where it has them.
    """

    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    rope: str = "half"
    rope_theta: float = 1_000_000.0
    rope_scaling: RopeScaling | None = None
    qkv_bias: bool = True
    out_bias: bool = False
    native: NativeMamba2 | None = None

    def __post_init__(self) -> None:
        if min(self.d_model, self.n_heads, self.n_kv_heads, self.head_dim) < 1:
            raise ValueError(f"sizes must be positive: {self}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads ({self.n_kv_heads}) must divide n_heads ({self.n_heads})")
        if self.rope not in ROPES:
            raise ValueError(f"rope must be one of {', '.join(ROPES)}, got {self.rope!r}")

    @property
    def q_width(self) -> int:
        """Channels of all query heads together."""
        return self.n_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Channels of all key (or value) heads together."""
        return self.n_kv_heads * self.head_dim

    @property
    def conv_channels(self) -> int:
        """Channels of the convolution over values, keys and queries."""
        return self.q_width + 2 * self.kv_width
