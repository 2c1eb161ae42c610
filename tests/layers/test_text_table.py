"""The text embedding on the host: the same rows, no place on the device."""

import torch
from torch import nn

from mamtra_cli.layers.text_table import TextTable


def test_rows_are_those_of_the_embedding() -> None:
    torch.manual_seed(0)
    plain = nn.Embedding(50, 8).requires_grad_(False)
    table = TextTable(plain.weight)
    ids = torch.tensor([[3, 3, 49], [0, 7, 3]])
    assert torch.equal(table(ids), plain(ids))


def test_table_does_not_follow_its_module() -> None:
    """`meta` stands for a device: whatever moves leaves its numbers behind."""
    weight = torch.ones(5, 2)
    holder = nn.Sequential(nn.Linear(2, 2), TextTable(weight)).to("meta")
    assert holder[0].weight.is_meta
    assert holder[1].weight.data_ptr() == weight.data_ptr()
    assert not list(holder[1].parameters())
