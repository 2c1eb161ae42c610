"""What a family tells of its whole pipeline's cost: by formulas, and as its authors run it.

Types, and the ladder of savings. A family without them is measured by what every model has: its
language model, and its text to sound.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any, Protocol

from mamtra_cli.backbone.kinds import ATTENTION

if TYPE_CHECKING:
    import torch
    from torch import nn

Parts = Callable[[str], "nn.Module"]
"""A part by its name, loaded and placed."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is spoken, in frames.

    Attributes:
        tokens: frames to make.
        prompt: frames of the voice prompt.
        text: text ids, those of the prompt included.
    """

    tokens: int
    prompt: int
    text: int

    @classmethod
    def of_seconds(cls, seconds: float, prompt: float = 5.0, *, rate: float) -> "Request":
        """Speech and prompt of a length at `rate` frames a second, one text id for three frames."""
        tokens, heard = round(seconds * rate), round(prompt * rate)
        return cls(tokens=tokens, prompt=heard, text=ceil((tokens + heard) / 3))

    @property
    def prefill(self) -> int:
        """Positions read before the first token."""
        return 2 + self.text + self.prompt

    @property
    def positions(self) -> int:
        """Positions in the cache at the end."""
        return self.prefill + self.tokens


@dataclass(frozen=True, kw_only=True)
class Saving:
    """One step from the official pipeline to ours.

    Attributes:
        name: what changes.
        own: bytes that it takes away where they are (a stage need not be the highest).
        peak: of the whole pipeline with this step and all before it.
        hybrid: the step is the exchange of layers; every other one helps the teacher too.
    """

    name: str
    own: int
    peak: int
    hybrid: bool = False


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Live bytes: of all weights, and the most that each stage adds while it runs."""

    weights: int
    language_model: int
    sound: int

    @property
    def highest(self) -> int:
        """Most bytes at once; stages follow each other."""
        return self.weights + max(self.language_model, self.sound)

    @property
    def total(self) -> int:
        """All of them, as if nothing followed on anything."""
        return self.weights + self.language_model + self.sound


class Ladder:
    """The way from the official pipeline to ours, a step at a time.

    Args:
        official: where it begins.
    """

    def __init__(self, official: Peaks) -> None:
        self.now = official
        self.steps: tuple[Saving, ...] = (
            Saving(name="official pipeline", own=0, peak=official.highest),
        )

    def step(self, name: str, *, hybrid: bool = False, **after: int) -> None:
        """Change some of the peaks; see `Saving` for the name and `hybrid`."""
        before, self.now = self.now, replace(self.now, **after)
        own, peak = before.total - self.now.total, self.now.highest
        self.steps += (Saving(name=name, own=own, peak=peak, hybrid=hybrid),)

    def exchange(self, kinds: str, *, weights: int, language_model: int) -> None:
        """The last step: layers of these kinds.

        Args:
            kinds: one letter a layer.
            weights: bytes that they add.
            language_model: the most that the language model adds while it runs with them.
        """
        name = f"hybrid, {kinds.count(ATTENTION)} of {len(kinds)} layers attention"
        self.step(
            name, hybrid=True, weights=self.now.weights + weights, language_model=language_model
        )


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an utterance needs of our pipeline beside the language model's weights, by formulas.

    Attributes:
        rows: rows of the language model's batch that it takes.
        positions: in each of them at its end.
        weights: bytes of each part that makes sound, by what it is for.
        scratch: bytes that each of them adds while it runs; they run one after the other.
        prompt: bytes kept of what was heard of one voice, where it is spoken in windows; not where
            there is no torch.
    """

    rows: int
    positions: int
    weights: Mapping[str, int]
    scratch: Mapping[str, int]
    prompt: int = 0


class Measures(Protocol):
    """What can be measured of a family's models beside what every model has.

    Attributes:
        reference: name of the published model.
        config: its sizes.
        observed: resident bytes of its authors' own program, as measured once, by when.
    """

    @property
    def reference(self) -> str: ...

    @property
    def config(self) -> Any: ...

    @property
    def observed(self) -> Mapping[str, int]: ...

    def needs(self, config: Any, request: Request) -> Needs:
        """What our pipeline needs for a request, by formulas."""
        ...

    def savings(
        self, config: Any, request: Request, hybrid: Any | None = None
    ) -> tuple[Saving, ...]:
        """From the official pipeline to ours by formulas, the exchange of layers last.

        Args:
            config: a model of attention layers.
            request: what is spoken.
            hybrid: the same with other layers; `None` where there is none.
        """
        ...

    def prompt(self, config: Any, request: Request, seed: int, *, room: int) -> Any:
        """A prompt of random ids as the token model reads it, `room` frames to follow."""
        ...

    def stages(
        self, config: Any, part: Parts, device: "torch.device", frames: int
    ) -> Mapping[str, Callable[[], object]]:
        """The stages from random frames to sound; each reads what the one before it left."""
        ...

    def sound_peak(self, config: Any, part: Parts, request: Request) -> int:
        """Most live bytes from frames to sound, as a stream that hands each window out."""
        ...

    def official(self, config: Any, part: Parts, device: "torch.device", request: Request) -> Peaks:
        """Live bytes of what the official program computes, with a model's own sizes."""
        ...
