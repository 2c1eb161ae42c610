"""What every engine says alike of its model, and how its texts are read.

Knows no weights and no files; imports no torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from mamtra_cli.families.base import Facts
from mamtra_cli.families.front_end import FrontEnd
from mamtra_cli.ops.sampling import Sampling


class TextReader(ABC):
    """The half of a `talker.Talker` that computes nothing."""

    @property
    @abstractmethod
    def facts(self) -> Facts:
        """Numbers of the model."""

    @property
    @abstractmethod
    def sampling(self) -> Sampling:
        """How this model's tokens are chosen unless the user says otherwise."""

    @property
    @abstractmethod
    def front_end(self) -> FrontEnd:
        """Text to pieces and ids."""

    @abstractmethod
    def read_by(self, front_end: FrontEnd) -> None:
        """Put another front end in the place of the one there is."""

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self.facts.sample_rate

    def sampling_with(self, base: Sampling | None = None, **changes: Any) -> Sampling:
        """The model's sampling, or another, with what is not `None` changed."""
        given = {name: value for name, value in changes.items() if value is not None}
        return replace(base or self.sampling, **given)

    def use_rules(self, rules: str) -> None:
        """Read numbers and signs by other rules; see `FrontEnd.with_rules`."""
        self.read_by(self.front_end.with_rules(rules))

    @contextmanager
    def saying(self, phones: Mapping[str, tuple[str, ...]]) -> Iterator[None]:
        """Say words by given phones for a while: texts of others are read as before."""
        before = self.front_end
        if phones:
            self.read_by(before.with_phones(phones))
        try:
            yield
        finally:
            self.read_by(before)
