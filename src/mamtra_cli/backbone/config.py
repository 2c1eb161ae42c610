"""`HybridConfig`: every size of a hybrid stack and which layer is what; no torch.

Derived sizes are properties. The letters of `kinds` are those of `backbone/kinds`; what the
converted layers are made of is a `MixerConfig`.
"""

from dataclasses import dataclass, field

from mamtra_cli.backbone.kinds import kind_of, kinds, letter_of, replacing
from mamtra_cli.backbone.plan import LayerPlan
from mamtra_cli.errors import PlanError
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import ROPES, MixerShape, NativeMamba2, RopeScaling

NORMS = ("rms", "layer")
FEED_FORWARDS = ("swiglu", "gelu", "gelu_tanh", "none")


@dataclass(frozen=True, kw_only=True)
class HybridConfig:
    """A decoder body. The defaults are Qwen2's; Llama, GPT-2 and Zonos are other values.

    Attributes:
        d_model: width of the residual stream (D).
        n_layers: blocks.
        n_heads, n_kv_heads, head_dim: of attention (H, G, P).
        d_ff: width of the feed-forward.
        rope: `half`, `interleaved` or `none`, as in `MixerShape`.
        rope_theta: base of the rotary positions.
        rope_scaling: stretch of their frequencies, if any.
        learned_positions: rows of a table of positions added to the inputs; 0 for none.
        norm: `rms`, or `layer` with a bias.
        norm_eps: its epsilon.
        ffn: `swiglu`, `gelu`, `gelu_tanh` (GPT-2's approximation) or `none`.
        ffn_bias: whether the projections of the feed-forward carry biases.
        qkv_bias: whether attention's q, k, v projections do.
        out_bias: whether attention's output projection does.
        vocab_size: rows of the embedding table; 0 leaves it out.
        native: sizes of the model's own Mamba-2 layers (kind N), where it has them.
        kinds: one letter a layer; empty means attention throughout.
        mixer: choices of the converted layers.
    """

    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    rope: str = "half"
    rope_theta: float = 1_000_000.0
    rope_scaling: RopeScaling | None = None
    learned_positions: int = 0
    norm: str = "rms"
    norm_eps: float = 1e-6
    ffn: str = "swiglu"
    ffn_bias: bool = False
    qkv_bias: bool = True
    out_bias: bool = False
    vocab_size: int = 0
    native: NativeMamba2 | None = None
    kinds: str = ""
    mixer: MixerConfig = field(default_factory=MixerConfig)

    def __post_init__(self) -> None:
        for name in ("d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff"):
            if getattr(self, name) < 1 and (name, self.ffn) != ("d_ff", "none"):
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads must be a multiple of n_kv_heads, got {self.n_heads}, {self.n_kv_heads}"
            )
        for name in ("vocab_size", "learned_positions"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name, allowed in (("norm", NORMS), ("ffn", FEED_FORWARDS), ("rope", ROPES)):
            if getattr(self, name) not in allowed:
                known = ", ".join(allowed)
                raise ValueError(f"{name} must be one of {known}, got {getattr(self, name)!r}")
        if "N" in self.kinds and self.native is None:
            raise PlanError(
                "layers of kind N are a published model's own, and this model has none",
                "write M or S for layers that replace attention",
            )
        if self.kinds and len(self.kinds) != self.n_layers:
            raise PlanError(
                f"layer plan names {len(self.kinds)} layers, the model has {self.n_layers}",
                "give a plan of the model's depth",
            )
        chosen = letter_of(self.mixer.mixer)
        others = [letter for letter in self.plan.kinds if letter in replacing().replace(chosen, "")]
        if others and kinds()[chosen].lone:
            raise PlanError(
                f"layers of kind {others[0]} cannot be built from the mixer `{self.mixer.mixer}`",
                f"write {chosen} for its layers, such as `--plan 1:3,kind={chosen}`",
            )

    @property
    def layer_kinds(self) -> str:
        """One letter a layer, never empty."""
        return self.kinds or "T" * self.n_layers

    @property
    def plan(self) -> LayerPlan:
        """The kinds as a plan."""
        return LayerPlan(kinds=self.layer_kinds)

    @property
    def shape(self) -> MixerShape:
        """Sizes of one layer's attention or mixer."""
        return MixerShape(
            d_model=self.d_model,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads,
            head_dim=self.head_dim,
            rope=self.rope,
            rope_theta=self.rope_theta,
            rope_scaling=self.rope_scaling,
            qkv_bias=self.qkv_bias,
            out_bias=self.out_bias,
            native=self.native,
        )

    def feed_width(self, kind: str) -> int:
        """Width of the feed-forward in a layer of this kind; 0 where it has none."""
        return kind_of(kind).feed_width(self.shape, 0 if self.ffn == "none" else self.d_ff)
