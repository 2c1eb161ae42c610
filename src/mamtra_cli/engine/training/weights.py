"""Trained weights on their way into a module: looked at, then put there."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from mamtra_cli.errors import TrainingError


def refuse_broken(named: Iterable[tuple[str, Tensor]], who: str, hint: str) -> None:
    """Fail where a tensor holds a value that is not finite: everything after it would be NaN."""
    for name, value in named:
        if not bool(value.detach().isfinite().all()):
            raise TrainingError(f"{who} values that are not finite, in `{name}`", hint)


def set_weights(student: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put what was trained into a student, which is then only read."""
    named = dict(student.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            named[name].copy_(value)
    student.eval().requires_grad_(False)
