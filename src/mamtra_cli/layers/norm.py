"""The norms of a block: RMS norm, plain and per group of channels, or layer norm.

Statistics of the RMS norm are float32 whatever the model's dtype.

Source: Zhang and Sennrich, arXiv 1910.07467; the grouped form is that of Mamba-2's output norm.
"""

import torch
from torch import Tensor, nn


def rms_norm(x: Tensor, weight: Tensor, eps: float, groups: int = 1) -> Tensor:
    """Divide by the root mean square of each group of channels, then scale.

    Args:
        x: (..., C), any floating dtype; the result has the same.
        weight: (C,).
        eps: added to the mean of squares.
        groups: equal runs of channels with statistics of their own.
    """
    wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    grouped = wide.reshape(*wide.shape[:-1], groups, -1)  # (..., groups, C / groups)
    scale = torch.rsqrt(grouped.square().mean(-1, keepdim=True) + eps)
    normed = (grouped * scale).reshape(x.shape).to(x.dtype)
    return normed * weight.to(x.dtype)


class RMSNorm(nn.Module):
    """RMS norm with a learned scale.

    Args:
        width: channels C.
        eps: added to the mean of squares.
        groups: equal runs of channels with statistics of their own (H for a norm per head).
    """

    def __init__(self, width: int, eps: float = 1e-6, groups: int = 1) -> None:
        super().__init__()
        if width % groups:
            raise ValueError(f"groups ({groups}) must divide width ({width})")
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x: (..., C)."""
        return rms_norm(x, self.weight, self.eps, self.groups)


def build_norm(kind: str, width: int, eps: float) -> RMSNorm | nn.LayerNorm:
    """The norm that `kind` names: `rms`, or `layer` with weight and bias."""
    if kind not in ("rms", "layer"):
        raise ValueError(f"there is no norm {kind!r}")
    return RMSNorm(width, eps) if kind == "rms" else nn.LayerNorm(width, eps)
