"""The prefix against the published one, in float32 and bfloat16."""

from pathlib import Path

import pytest
import torch
from tests.families.zonos.golden import read, under
from torch import Tensor

from mamtra_cli.errors import UsageError
from mamtra_cli.families.zonos.conditioner import PrefixConditioner
from mamtra_cli.families.zonos.config import (
    HYBRID_CONDITIONS,
    TRANSFORMER_CONDITIONS,
    Condition,
)

BOTH = {"transformer": TRANSFORMER_CONDITIONS, "hybrid": HYBRID_CONDITIONS}
FLOAT, HALF = 2e-5, 6.5e-2


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("name", BOTH)
def test_prefix_is_the_published_one(goldens: Path, name: str) -> None:
    info, tensors = read(goldens, f"conditioner_{name}")
    conditions = BOTH[name]
    model = PrefixConditioner(conditions, info["output_dim"])
    model.load_state_dict(under(tensors, "w."))
    unsaid = set(info["unconditional_keys"])
    values: dict[str, Tensor | None] = {
        each.name: tensors[f"in.{each.name}"] for each in conditions[1:] if each.name not in unsaid
    }
    values["espeak"] = tensors["in.phoneme_ids"]
    for each, conditioner in zip(conditions, model.conditioners, strict=True):
        expected = tensors[f"mid.{each.name}"]
        close(conditioner(values[each.name]), expected, FLOAT)
    close(model(values), tensors["out.cond"], FLOAT)
    close(model.unsaid(values), tensors["out.uncond"], FLOAT)
    both = torch.cat((model(values), model.unsaid(values)))
    close(both, tensors["out.prepare_conditioning"], FLOAT)
    close(
        model({**values, "espeak": tensors["in.batch2.phoneme_ids"]}),
        tensors["out.batch2.cond"],
        FLOAT,
    )

    half = model.bfloat16()
    close(half(values), tensors["bf16.out.cond"], HALF)
    close(half.unsaid(values), tensors["bf16.out.uncond"], HALF)
    fourier = [each.name for each in conditions if each.kind == "fourier"]
    for each, conditioner in zip(conditions, half.conditioners, strict=True):
        if each.name in fourier:
            assert torch.equal(conditioner(values[each.name]), tensors[f"bf16.mid.{each.name}"])


def test_a_condition_of_no_kind_or_range_is_refused() -> None:
    with pytest.raises(UsageError, match="no kind `linear`"):
        Condition(name="x", kind="linear")
    with pytest.raises(UsageError, match="range"):
        Condition(name="x", kind="fourier", low=1.0)
