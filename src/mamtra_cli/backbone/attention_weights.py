"""The tensors of one attention layer, whatever they are called and however they are stored.

Every transfer reads these. Other names, and projections fused into one matrix, are mapped by a
family when it reads its file.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from mamtra_cli.errors import CheckpointError
from mamtra_cli.layers.shape import MixerShape

PROJECTIONS = ("q", "k", "v", "o")


@dataclass(frozen=True, kw_only=True)
class AttentionWeights:
    """The tensors of one attention layer: q (H P, D), k and v (G P, D), o (D, H P), biases."""

    q: Tensor
    k: Tensor
    v: Tensor
    o: Tensor
    q_bias: Tensor | None = None
    k_bias: Tensor | None = None
    v_bias: Tensor | None = None
    o_bias: Tensor | None = None

    @classmethod
    def from_state_dict(cls, tensors: Mapping[str, Tensor], prefix: str = "") -> "AttentionWeights":
        """Pick a stack's own names, `{prefix}q_proj.weight` and so on."""
        names = {name: f"{prefix}{name}_proj.weight" for name in PROJECTIONS}
        missing = [name for name in names.values() if name not in tensors]
        if missing:
            raise CheckpointError(
                f"{len(missing)} attention tensors are missing, first `{missing[0]}`",
                "give the folder of the model's own weights",
            )
        q, k, v, o = (tensors[name] for name in names.values())
        q_bias, k_bias, v_bias, o_bias = (
            tensors.get(f"{prefix}{name}_proj.bias") for name in PROJECTIONS
        )
        return cls(q=q, k=k, v=v, o=o, q_bias=q_bias, k_bias=k_bias, v_bias=v_bias, o_bias=o_bias)

    def bias(self, name: str) -> Tensor | None:
        """The bias of projection `q`, `k`, `v` or `o`."""
        found: Tensor | None = getattr(self, f"{name}_bias")
        return found

    def named(self) -> dict[str, Tensor]:
        """Copies under a stack's own names."""
        weights = {f"{name}_proj.weight": getattr(self, name) for name in PROJECTIONS}
        biases = {f"{name}_proj.bias": self.bias(name) for name in PROJECTIONS}
        kept = weights | {name: bias for name, bias in biases.items() if bias is not None}
        return {name: value.detach().clone() for name, value in kept.items()}

    def check(self, shape: MixerShape) -> None:
        """Refuse tensors of other sizes, naming all of them."""
        wide, narrow, d = shape.q_width, shape.kv_width, shape.d_model
        expected = {"q": (wide, d), "k": (narrow, d), "v": (narrow, d), "o": (d, wide)}
        wrong = []
        for name, size in expected.items():
            got = tuple(getattr(self, name).shape)
            if got != size:
                wrong.append(f"{name}_proj.weight is {got}, expected {size}")
            bias = self.bias(name)
            biased = shape.out_bias if name == "o" else shape.qkv_bias
            if bias is not None and tuple(bias.shape) != size[:1]:
                wrong.append(f"{name}_proj.bias is {tuple(bias.shape)}")
            if bias is None and biased:
                wrong.append(f"{name}_proj.bias is missing")
            if bias is not None and not biased:
                wrong.append(f"{name}_proj.bias is not in the model's config")
        if wrong:
            raise CheckpointError("attention tensors do not fit: " + "; ".join(wrong))
