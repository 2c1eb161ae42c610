"""Phones, voice and manner as the vectors that stand before the speech.

Each condition becomes one vector (phones: one each), all are joined in the order of the config and
go through a linear map and a norm. A value that is absent becomes its learned vector as it is.
Knows ranges and shapes, nothing of text or of what a value means. Names and formulas after
Zyphra/Zonos, zonos/conditioning.py.
"""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mamtra_cli.families.zonos.config import Condition
from mamtra_cli.families.zonos.symbols import TABLE_ROWS

NORM_EPS = 1e-5


class ConditionVector(nn.Module):
    """Maps the value of one condition to a vector of the model's width.

    Args:
        condition: its kind and range.
        width: D.
    """

    weight: Tensor

    def __init__(self, condition: Condition, width: int) -> None:
        super().__init__()
        self.condition = condition
        if condition.kind == "phones":
            self.phoneme_embedder = nn.Embedding(TABLE_ROWS, width)
        elif condition.kind == "vector":
            self.project = nn.Linear(condition.width, width)
        elif condition.kind == "fourier":
            self.register_buffer("weight", torch.randn(width // 2, condition.width))
        else:
            self.int_embedder = nn.Embedding(int(condition.high - condition.low) + 1, width)
        if condition.learned:
            self.uncond_vector = nn.Parameter(torch.zeros(width))

    def forward(self, value: Tensor | None) -> Tensor:
        """Map a value.

        Args:
            value: (B, T) long phones, (B, 1, width) float or long otherwise, None for unsaid.

        Returns:
            (B, T, D), T = 1 but for phones; B = 1 where unsaid.
        """
        condition = self.condition
        if value is None:
            return self.uncond_vector[None, None]
        if condition.kind == "phones":
            return cast(Tensor, self.phoneme_embedder(value))
        if condition.kind == "vector":
            return cast(Tensor, self.project(value.to(self.project.weight.dtype)))
        if condition.kind == "integer":
            return cast(Tensor, self.int_embedder(value[..., 0].long() - int(condition.low)))
        scaled = (value.float() - condition.low) / (condition.high - condition.low)
        # The phase is rounded to the model's type before the product, as the model learned it.
        phase = 2 * math.pi * scaled.to(self.weight.dtype) @ self.weight.T
        return torch.cat((phase.cos(), phase.sin()), dim=-1)


class PrefixConditioner(nn.Module):
    """All conditions of a model, as the prefix of its sequences.

    Args:
        conditions: in the order of the prefix.
        width: D.
    """

    def __init__(self, conditions: Sequence[Condition], width: int) -> None:
        super().__init__()
        self.conditions = tuple(conditions)
        self.conditioners = nn.ModuleList(ConditionVector(each, width) for each in conditions)
        self.project = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)

    def forward(self, values: Mapping[str, Tensor | None]) -> Tensor:
        """Make prefixes (B, P, D), P = phones + 1 for each other condition.

        Args:
            values: by the name of the condition; those absent or None are unsaid. A value of one
                row serves all rows.
        """
        vectors = [
            conditioner(values.get(each.name))
            for each, conditioner in zip(self.conditions, self.conditioners, strict=True)
        ]
        rows = max(len(vector) for vector in vectors)
        joined = torch.cat([vector.expand(rows, -1, -1) for vector in vectors], dim=1)
        return cast(Tensor, self.norm(self.project(joined)))

    def unsaid(self, values: Mapping[str, Tensor | None]) -> Tensor:
        """The same prefixes with only what cannot be left unsaid: the phones."""
        return cast(
            Tensor,
            self({each.name: values[each.name] for each in self.conditions if not each.learned}),
        )
