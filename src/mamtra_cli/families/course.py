"""What a part of a model learns, where that is not its language model.

Types only. Texts and frames are those of a model that speaks, as in `lessons.py`; what else is
heard of them (durations, pitch, what a flow is given) is the family's own business. Nothing here
knows of optimizers.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from mamtra_cli.families.lessons import Example


class Course(Protocol):
    """One part under its teacher.

    Attributes:
        config: sizes of the whole model.
        part: name of the part that learns.
        module: that part; what learns of it requires gradients.
    """

    @property
    def config(self) -> Any: ...

    @property
    def part(self) -> str: ...

    @property
    def module(self) -> nn.Module: ...

    def losses(self, examples: Sequence[Example], seed: int | None) -> Mapping[str, Tensor]:
        """Every part of the loss, `loss` the one to minimise; nothing is drawn without a seed."""
        ...


class Founding(Course, Protocol):
    """A model without a language model, made anew of what its teacher says.

    Attributes:
        files: by name, those of the teacher that the student's folder needs as they are.
    """

    @property
    def files(self) -> Mapping[str, Path]: ...

    def card(self, name: str, checks: Mapping[str, float]) -> str:
        """The card of the student, as Markdown with its header."""
        ...

    def voices(self) -> Iterator[tuple[str, Tensor]]:
        """Names and vectors of the student's voices."""
        ...


class Shortening(Course, Protocol):
    """A solver of few steps under the model's own; all else of the model stays."""

    def told(self) -> Mapping[str, str]:
        """The course in words, by what they are about."""
        ...
