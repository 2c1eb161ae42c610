"""Rotary positions in both published orders: `half` turns channel i with i + P/2, `interleaved`
channel 2i with 2i + 1.

Positions may be fractions. The table is computed once for a call and shared by all layers.
Source: Su et al., arXiv 2104.09864; the half-split order is that of Llama and Qwen2.
"""

import math

import torch
from torch import Tensor

from mamtra_cli.layers.shape import MixerShape, RopeScaling

RopeTable = tuple[Tensor, Tensor]
"""Cosines and sines, each (B or 1, T, 1, P / 2)."""


def rope_frequencies(
    head_dim: int,
    theta: float,
    scaling: RopeScaling | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Angle a position of each pair of channels: (P / 2), stretched if `scaling` is given."""
    if head_dim % 2:
        raise ValueError(f"rotary positions need an even head width, got {head_dim}")
    steps = torch.arange(0, head_dim, 2, device=device, dtype=dtype)
    frequencies: Tensor = theta ** (-steps / head_dim)
    if scaling is None:
        return frequencies
    waves = scaling.original * frequencies / (2 * math.pi)  # turns within the trained context
    kept = ((waves - scaling.low) / (scaling.high - scaling.low)).clamp(0.0, 1.0)
    return frequencies * (kept + (1.0 - kept) / scaling.factor)


def rope_table(
    positions: Tensor,
    head_dim: int,
    theta: float,
    dtype: torch.dtype = torch.float32,
    scaling: RopeScaling | None = None,
) -> RopeTable:
    """Cosines and sines of every position.

    Args:
        positions: (T,) or (B, T), integers or fractions.
        head_dim: P, even.
        theta: base of the frequencies.
        dtype: float32, or float64 for a float64 model.
        scaling: stretch of the frequencies.
    """
    frequencies = rope_frequencies(
        head_dim, theta, scaling, dtype=dtype, device=positions.device
    )  # (P / 2)
    angles = positions.to(dtype)[..., None] * frequencies  # (T, P / 2) or (B, T, P / 2)
    if angles.dim() == 2:
        angles = angles[None]
    angles = angles[:, :, None]  # (B or 1, T, 1, P / 2)
    return angles.cos(), angles.sin()


def shape_table(positions: Tensor, shape: MixerShape, dtype: torch.dtype) -> RopeTable:
    """The table of a layer of this shape for a model of `dtype`."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return rope_table(positions, shape.head_dim, shape.rope_theta, wide, shape.rope_scaling)


def apply_rope(x: Tensor, table: RopeTable, order: str = "half") -> Tensor:
    """Turn each pair of channels by the angle of its position.

    Args:
        x: (B, T, H, P); the result has its dtype.
        table: from `rope_table`.
        order: `half` or `interleaved`; `none` turns nothing.
    """
    if order == "none":
        return x
    cos, sin = table
    wide = x.to(cos.dtype)
    if order == "interleaved":
        first, second = torch.unflatten(wide, -1, (-1, 2)).unbind(-1)  # (B, T, H, P / 2)
    else:
        first, second = wide.chunk(2, dim=-1)
    one, two = first * cos - second * sin, second * cos + first * sin
    if order == "interleaved":
        return torch.stack((one, two), dim=-1).flatten(-2).to(x.dtype)
    return torch.cat((one, two), dim=-1).to(x.dtype)
