"""What a model without a language model learns from the speech of one that has one.

Types only. Texts and frames are the teacher's, as in `lessons.py`; what else the student hears of
them (durations, pitch, what a flow is given) is the family's own business. Nothing here knows of
optimizers.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from mamtra_cli.families.lessons import Example


class Course(Protocol):
    """One student under its teacher.

    Attributes:
        config: sizes of the whole model.
        part: name of the part that learns.
        module: that part.
        files: by name, those of the teacher that the student's folder needs as they are.
    """

    @property
    def config(self) -> Any: ...

    @property
    def part(self) -> str: ...

    @property
    def module(self) -> nn.Module: ...

    @property
    def files(self) -> Mapping[str, Path]: ...

    def losses(self, examples: Sequence[Example], seed: int | None) -> Mapping[str, Tensor]:
        """Every part of the loss, `loss` the one to minimise; nothing is drawn without a seed."""
        ...

    def card(self, name: str, checks: Mapping[str, float]) -> str:
        """The card of the student, as Markdown with its header."""
        ...

    def voices(self) -> Iterator[tuple[str, Tensor]]:
        """Names and vectors of the student's voices."""
        ...
