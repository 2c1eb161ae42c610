"""A text embedding that stays in its file: rows are gathered when a text is read.

The published table is 136 million numbers of which one text reads a few dozen rows. Kept mapped
on the host, the device never holds it, and of the host's memory it takes the pages it read.
Knows nothing of the model around it; not for training.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TextTable(nn.Module):
    """Stands in for the text `nn.Embedding` of a language model that only speaks.

    Args:
        weight: (V, D) on the CPU, perhaps mapped; moving the module leaves it there.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        # In a tuple, because a module would move a tensor that it knows along with itself.
        self._held = (weight,)

    @property
    def weight(self) -> Tensor:
        """(V, D) on the CPU."""
        return self._held[0]

    def forward(self, ids: Tensor) -> Tensor:
        """Look up ids: any shape on any device, to (..., D) on that device."""
        kinds, places = torch.unique(ids, return_inverse=True)
        rows = self.weight[kinds.cpu()].to(ids.device)
        return F.embedding(places, rows)
