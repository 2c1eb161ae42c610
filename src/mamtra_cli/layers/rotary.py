"""Rotary positions, half-split form: channel i turns with channel i + P/2.

Positions may be fractions. The table is computed once for a call and shared by all layers.
Source: Su et al., arXiv 2104.09864; the half-split order is that of Llama and Qwen2.
"""

import torch
from torch import Tensor

RopeTable = tuple[Tensor, Tensor]
"""Cosines and sines, each (B or 1, T, 1, P / 2)."""


def rope_table(
    positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype = torch.float32
) -> RopeTable:
    """Cosines and sines of every position.

    Args:
        positions: (T,) or (B, T), integers or fractions.
        head_dim: P, even.
        theta: base of the frequencies.
        dtype: float32, or float64 for a float64 model.
    """
    if head_dim % 2:
        raise ValueError(f"rotary positions need an even head width, got {head_dim}")
    steps = torch.arange(0, head_dim, 2, device=positions.device, dtype=dtype)
    frequencies = theta ** (-steps / head_dim)  # (P / 2)
    angles = positions.to(dtype)[..., None] * frequencies  # (T, P / 2) or (B, T, P / 2)
    if angles.dim() == 2:
        angles = angles[None]
    angles = angles[:, :, None]  # (B or 1, T, 1, P / 2)
    return angles.cos(), angles.sin()


def apply_rope(x: Tensor, table: RopeTable) -> Tensor:
    """Turn each pair of channels by the angle of its position.

    Args:
        x: (B, T, H, P); the result has its dtype.
        table: from `rope_table`.
    """
    cos, sin = table
    first, second = x.to(cos.dtype).chunk(2, dim=-1)  # (B, T, H, P / 2)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return turned.to(x.dtype)
