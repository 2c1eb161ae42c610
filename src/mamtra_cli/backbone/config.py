"""`HybridConfig`: every size of a hybrid stack and which layer is what; no torch.

Derived sizes are properties. The letters of `kinds` are those of `backbone/plan.py`; what the
converted layers are made of is a `MixerConfig`.
"""

from dataclasses import dataclass, field

from mamtra_cli.backbone.plan import LayerPlan
from mamtra_cli.errors import PlanError
from mamtra_cli.layers.mixer_config import MixerConfig


@dataclass(frozen=True, kw_only=True)
class HybridConfig:
    """A Qwen2-shaped stack. `kinds` has one letter a layer; empty means attention throughout.

    `vocab_size` 0 leaves the embedding table out.
    """

    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    rope_theta: float = 1_000_000.0
    norm_eps: float = 1e-6
    qkv_bias: bool = True
    vocab_size: int = 0
    kinds: str = ""
    mixer: MixerConfig = field(default_factory=MixerConfig)

    def __post_init__(self) -> None:
        for name in ("d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads must be a multiple of n_kv_heads, got {self.n_heads}, {self.n_kv_heads}"
            )
        if self.vocab_size < 0:
            raise ValueError(f"vocab_size must not be negative, got {self.vocab_size}")
        if self.kinds and len(self.kinds) != self.n_layers:
            raise PlanError(
                f"layer plan names {len(self.kinds)} layers, the model has {self.n_layers}",
                "give a plan of the model's depth",
            )
        if "M" in self.plan.kinds and self.mixer.mixer != "mamba2":
            raise PlanError(
                f"layers of kind M cannot be built from the mixer `{self.mixer.mixer}`",
                "write S for sliding-window layers, such as `--plan 1:3,kind=S`",
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
    def q_dim(self) -> int:
        """Width of all query heads."""
        return self.n_heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Width of all key (or value) heads."""
        return self.n_kv_heads * self.head_dim

    @property
    def conv_channels(self) -> int:
        """Channels of a mixer's convolution: values, keys, queries."""
        return self.q_dim + 2 * self.kv_dim

    @property
    def group(self) -> int:
        """Query heads per key/value head."""
        return self.n_heads // self.n_kv_heads
