"""A table of rows for codes whose digits mean something: codes alike in one learn together."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.codecs.flow_hift.speech_tokenizer import codes_to_digits


class FactoredTable(nn.Module):
    """Rows of a table as a free row plus one row for each digit of the code.

    Args:
        width: of a row.
        levels: values of each digit, the first one least significant.
    """

    def __init__(self, width: int, levels: Sequence[int]) -> None:
        super().__init__()
        count = int(torch.tensor(levels).prod())
        digits = codes_to_digits(torch.arange(count), levels)
        hot = [F.one_hot(digits[:, i], n) for i, n in enumerate(levels)]
        self.register_buffer("hot", torch.cat(hot, 1).float(), persistent=False)
        self.rows = nn.Parameter(torch.randn(sum(levels), width) * 0.02)

    def forward(self, table: Tensor) -> Tensor:
        """Return table with the digit rows added to its first rows."""
        shared = self.hot @ self.rows
        return table + F.pad(shared, (0, 0, 0, len(table) - len(shared)))
