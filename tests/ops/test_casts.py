"""A cast is felt only where there is something to cast."""

import torch

from mamtra_cli.ops.casts import cast


def test_a_tensor_of_the_dtype_is_given_back_itself() -> None:
    x = torch.ones(3)
    assert cast(x, torch.float32) is x


def test_another_dtype_is_what_to_gives() -> None:
    x = torch.tensor([1.0, 1 / 3])
    made = cast(x, torch.bfloat16)
    assert made.dtype == torch.bfloat16
    assert torch.equal(made, x.to(torch.bfloat16))
