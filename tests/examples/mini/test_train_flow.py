"""A flow that learned factored rows is read with an ordinary table of them."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "mini"))

from train_flow import FlowTrainer, trained_flow


def test_factored_rows_are_folded_into_the_table(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = FlowTrainer()
    plain = set(model.state_dict())
    model.factor()
    torch.save({"model": model.state_dict()}, tmp_path / "flow.pt")
    read = trained_flow(tmp_path)
    assert set(read.state_dict()) == plain
    ids = torch.tensor([[0, 7, 1224]])
    assert torch.equal(read.flow.input_embedding(ids), model.flow.input_embedding(ids))


def test_codes_alike_in_a_digit_share_a_row() -> None:
    torch.manual_seed(0)
    model = FlowTrainer()
    model.factor()
    table = model.flow.input_embedding(torch.arange(1225)).detach()
    same_phone, other_phone = table[0] - table[49], table[1] - table[50]
    assert torch.allclose(same_phone, other_phone, atol=0.2)
    assert float(same_phone.norm()) > 3 * float((same_phone - other_phone).norm())
