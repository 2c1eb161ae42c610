"""The parts of one model, each loaded and placed when it is first asked for.

What a speaker is made of (`families.speaker.Loaded`). It knows nothing of who asks: an engine and
its speaker both hold it and not each other, so that weights go with the last of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mamtra_cli.device import Compute
from mamtra_cli.families.base import Family, Solving
from mamtra_cli.families.folder import Model
from mamtra_cli.families.front_end import FrontEnd
from mamtra_cli.layers.text_table import TextTable


@dataclass(kw_only=True, eq=False)
class LoadedModel:
    """The parts of one model.

    Attributes:
        config: its sizes.
        family: what kind of model it is.
        folder: where its voices are.
        compute: device and types.
        name: what to call it.
        model: its folder as its family reads it; `None` where every part is given.
        parts: modules that are there; those given from the start (conversion in memory, tests)
            stand in the place of the folder's.
        opened_front_end: its text front end, if it is there.
        lean: leave the text embedding where it was read (`TextTable`), off the device; the model
            then only speaks.
    """

    config: Any
    family: Family
    folder: Path
    compute: Compute
    name: str
    model: Model | None = None
    parts: dict[str, nn.Module] = field(default_factory=dict)
    opened_front_end: FrontEnd | None = None
    lean: bool = False

    def __post_init__(self) -> None:
        self.parts = dict(self.parts)  # more will come, which whoever gave these need not see
        self._given = frozenset(self.parts)

    @property
    def device(self) -> torch.device:
        """Where its modules are."""
        return self.compute.torch_device

    @cached_property
    def lm_part(self) -> str:
        """The part that holds the language model; "" where the model has none."""
        conversion = self.family.conversion(self.config)
        return "" if conversion is None else conversion.part

    def fingerprint(self, part: str) -> str:
        """SHA-256 of the files behind a part or the front end; "" where they are not there."""
        return self.family.fingerprint(self.folder, self.config, part)

    def given(self, part: str) -> bool:
        """Whether a part was put in the place of the one in the folder."""
        return part in self._given

    @property
    def front_end(self) -> FrontEnd:
        """Text to pieces and ids."""
        if self.opened_front_end is None:
            if self.model is None:
                raise ValueError("this engine was made without a text front end")
            self.opened_front_end = self.model.front_end()
        return self.opened_front_end

    @front_end.setter
    def front_end(self, front_end: FrontEnd) -> None:
        self.opened_front_end = front_end

    def part(self, name: str) -> nn.Module:
        """A part in evaluation mode, loaded and placed when it is first asked for."""
        if name not in self.parts:
            if self.model is None:
                raise ValueError(f"this engine was made without the part {name!r}")
            # Half precision breaks flow and vocoder as a whole; some parts of them gain by it.
            dtype = self.compute.torch_dtype if name == self.lm_part else torch.float32
            with torch.inference_mode(False):
                part = self.model.load(name, dtype).requires_grad_(False)
                if isinstance(part, Solving):
                    part.solve_in(self.compute.solver_dtype)
                if self.lean:
                    leave_on_host(part, self.family.gathered)
                self.parts[name] = part.to(self.device)
        return self.parts[name]


def leave_on_host(part: nn.Module, tables: Sequence[str]) -> None:
    """Leave the named tables of a part where they were read: few of their rows are ever used."""
    named = dict(part.named_parameters())
    for name in tables:
        if name in named:
            part.set_submodule(name.removesuffix(".weight"), TextTable(named[name].detach()))
