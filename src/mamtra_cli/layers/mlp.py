"""The feed-forward of a block: gated (SwiGLU, Shazeer, arXiv 2002.05202) or plain with GELU."""

import torch.nn.functional as F
from torch import Tensor, nn


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)), as in Llama and Qwen2.

    Args:
        d_model: D.
        d_ff: hidden width.
        bias: give all three projections a bias.
    """

    def __init__(self, d_model: int, d_ff: int, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.up_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.down_proj = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (..., D) to (..., D)."""
        hidden: Tensor = F.silu(self.gate_proj(x)) * self.up_proj(x)
        out: Tensor = self.down_proj(hidden)
        return out


class GeluMLP(nn.Module):
    """down(gelu(up(x))), as in GPT-2.

    Args:
        d_model: D.
        d_ff: hidden width.
        bias: give both projections a bias.
        approximate: `tanh` for GPT-2's approximation of GELU, `none` for the exact one.
    """

    def __init__(
        self, d_model: int, d_ff: int, bias: bool = True, approximate: str = "none"
    ) -> None:
        super().__init__()
        self.approximate = approximate
        self.up_proj = nn.Linear(d_model, d_ff, bias=bias)
        self.down_proj = nn.Linear(d_ff, d_model, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (..., D) to (..., D)."""
        out: Tensor = self.down_proj(F.gelu(self.up_proj(x), approximate=self.approximate))
        return out


def build_mlp(kind: str, d_model: int, d_ff: int, bias: bool) -> SwiGLU | GeluMLP:
    """Make the feed-forward that `kind` names; `none` and unknown words are errors."""
    if kind == "swiglu":
        return SwiGLU(d_model, d_ff, bias)
    if kind not in ("gelu", "gelu_tanh"):
        raise ValueError(f"there is no feed-forward {kind!r}")
    return GeluMLP(d_model, d_ff, bias, "tanh" if kind == "gelu_tanh" else "none")
