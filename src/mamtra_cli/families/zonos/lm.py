"""The language model: a prefix of conditions and columns of nine ids in, nine scores out.

Embeds columns as sums over nine tables, runs the hybrid stack and nine heads. It samples nothing,
knows no delay pattern and no audio. Names and formulas after Zyphra/Zonos, zonos/model.py.
"""

from typing import cast

import torch
from torch import Tensor, nn

from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.families.zonos.conditioner import PrefixConditioner
from mamtra_cli.families.zonos.config import LMConfig

INIT_STD = 0.02


class Heads(nn.ModuleList):
    """Hidden states to the scores of every codebook, codes and end."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Score hidden (..., D), in its type: (..., K, V - 1)."""
        return torch.stack([head(hidden) for head in self], dim=-2)


class ZonosLM(nn.Module):
    """Nine tables, the stack, nine heads, and the prefix.

    Args:
        config: sizes, layer kinds and conditions.
    """

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.config = config
        width, books = config.d_model, config.codebooks
        self.embeddings = nn.ModuleList(nn.Embedding(config.width, width) for _ in range(books))
        self.backbone = HybridStack(config.hybrid)
        self.heads = Heads(nn.Linear(width, config.codes + 1, bias=False) for _ in range(books))
        self.prefix_conditioner = PrefixConditioner(config.conditions, width)
        for module in (*self.embeddings, *self.heads):
            nn.init.normal_(cast(Tensor, module.weight), std=INIT_STD)

    @property
    def stack(self) -> HybridStack:
        """The hybrid stack."""
        return self.backbone

    def embed(self, columns: Tensor) -> Tensor:
        """Sum the vectors of columns (B, T, K): (B, T, D)."""
        total = self.embeddings[0](columns[..., 0])
        for book, table in enumerate(self.embeddings):
            if book:
                total = total + table(columns[..., book])
        return cast(Tensor, total)

    def logits(self, hidden: Tensor) -> Tensor:
        """Raw scores of codes and end, in the model's type: hidden (..., D) to (..., K, V - 1)."""
        return cast(Tensor, self.heads(hidden))


def guided(logits: Tensor, without: Tensor | None, scale: float) -> Tensor:
    """Lead scores away from those without conditions, and bar the mask.

    Args:
        logits: (..., K, V - 1) with conditions, any floating type.
        without: the same without them; None where `scale` is 1.
        scale: 1 changes nothing.

    Returns:
        (..., K, V) float32, -inf for the mask.
    """
    wide = logits.float()
    if without is not None:
        base = without.float()
        wide = base + (wide - base) * scale
    return nn.functional.pad(wide, (0, 1), value=-torch.inf)
