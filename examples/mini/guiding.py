"""Two heads of one block, taught to look at what is being spoken and at what comes next.

Small models on little data find the place in their text late or never; this loss shows it to them
and vanishes at export. Knows a block of the stack and where its positions stand.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.layers.rotary import apply_rope, rope_table

HEADS = 2


def guided_scores(
    layer: nn.Module, config: HybridConfig, entering: Tensor, places: Tensor
) -> Tensor:
    """Scores of the first query heads of a block on its first keys, as its attention makes them.

    Args:
        layer: the block.
        config: of its stack.
        entering: (B, T, D) what enters it.
        places: (B, T) where each position stands on the rotary axis.

    Returns:
        (B, HEADS, T, T) float32.
    """
    dim, attention = config.head_dim, layer.self_attn
    u = layer.input_layernorm(entering)
    q = first(attention.q_proj, HEADS * dim, u).float().unflatten(-1, (HEADS, dim))
    k = first(attention.k_proj, dim, u).float()[:, :, None]
    turn = rope_table(places, dim, config.rope_theta)
    q, k = apply_rope(q, turn, config.rope), apply_rope(k, turn, config.rope)
    return torch.einsum("bihd,bjd->bhij", q, k[:, :, 0]) / dim**0.5


def first(layer: nn.Linear, rows: int, x: Tensor) -> Tensor:
    """The first outputs of a layer for x (..., D): (..., rows)."""
    return F.linear(x, layer.weight[:rows], None if layer.bias is None else layer.bias[:rows])
