"""A model's sizes as something to plan with: its bytes at a length, and what it could be instead.

By formulas alone; nothing is loaded and nothing runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mamtra_cli.backbone import costs
from mamtra_cli.backbone.plan import LayerPlan
from mamtra_cli.engine.measuring import planner
from mamtra_cli.engine.measuring.planner import Footprint, Pace
from mamtra_cli.errors import PlanError
from mamtra_cli.families.base import Facts, Family
from mamtra_cli.families.measures import Measures, Needs, Request

RATIOS = ("1:0", "1:1", "1:2", "1:3", "1:5", "1:7", "1:11", "0:1")


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """One model, and how it is run.

    Attributes:
        name: what to call it.
        family, config: what it is.
        precision: bytes per element of what its steps read.
        libraries: bytes of the process without it.
        prompt: seconds of the voice prompt.
        bandwidth: bytes a second that steps may read; 0 where nothing is known.
    """

    name: str
    family: Family
    config: Any
    precision: costs.Precision
    libraries: int = 0
    prompt: float = 0.0
    bandwidth: float = 0.0

    @cached_property
    def facts(self) -> Facts:
        """Numbers of the model."""
        return self.family.facts(self.config)

    @cached_property
    def measures(self) -> Measures | None:
        """What is known of its pipeline."""
        return self.family.measures(self.config)

    @property
    def known(self) -> bool:
        """Whether formulas tell anything of its bytes."""
        return self.measures is not None or self.facts.stack is not None

    def request(self, frames: int) -> Request:
        """So many frames after the voice prompt."""
        rate = self.facts.frame_rate
        return Request.of_seconds(frames / rate, self.prompt, rate=rate)

    def needs(self, frames: int) -> Needs:
        """What a request needs beside the language model."""
        return planner.needs_of(self.measures, self.config, self.request(frames))

    def frames_at(self, positions: int) -> int:
        """Frames to speak so that a row ends with so many positions, or one."""
        found = planner.longest(lambda frames: self.needs(frames).positions <= positions)
        return max(found or 1, 1)

    def footprint(self, frames: int) -> Footprint:
        """Bytes for requests of so many frames."""
        return planner.by_formulas(
            self.facts,
            self.measures,
            self.config,
            self.request(frames),
            self.precision,
            self.libraries,
        )

    def pace(self, frames: int) -> Pace | None:
        """Seconds of steps at the end of such requests, where the bandwidth is known."""
        return planner.by_bandwidth(self.facts, self.needs(frames), self.precision, self.bandwidth)

    @property
    def halved(self) -> "Sizing":
        """The same with weights and cache of 16 bits."""
        return replace(self, name=f"{self.name} in bfloat16", precision=costs.Precision())

    def exchanged(self, ratio: str) -> "Sizing | None":
        """The same with other layers; `None` where there are none, or not so many."""
        conversion, stack = self.family.conversion(self.config), self.facts.stack
        if conversion is None or stack is None:
            return None
        before = stack.plan.restored
        try:
            plan = LayerPlan.parse(ratio, len(LayerPlan(kinds=before).attention))
        except PlanError:
            return None
        config = conversion.with_mixers(self.config, plan.within(before).kinds, {})
        return replace(self, name=f"{self.name} {ratio}", config=config)

    def ratios(self) -> Iterator[tuple[str, "Sizing"]]:
        """The same at every ratio that fits the depth, the most attention first."""
        for ratio in RATIOS:
            found = self.exchanged(ratio)
            if found is not None:
                yield ratio, found
