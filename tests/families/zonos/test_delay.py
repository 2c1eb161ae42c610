"""The delay pattern against the published one."""

from pathlib import Path

import torch
from tests.families.zonos.golden import read

from mamtra_cli.families.zonos.delay import delayed

MASK = 1025


def test_delay_is_the_published_one(goldens: Path) -> None:
    _, tensors = read(goldens, "delay_pattern")
    cases = {name.split(".")[0] for name in tensors}
    assert cases
    for case in cases:
        codes, columns = tensors[f"{case}.codes"], tensors[f"{case}.delayed"]
        assert torch.equal(delayed(codes, MASK), columns)
