"""Cells of a run: each measured once, kept at once, and skipped when the run is taken up again."""

import gc
import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

Numbers = dict[str, Any]


@dataclass(kw_only=True)
class Cells:
    """What has been measured, in a file that is written after every cell.

    Attributes:
        path: the JSON file.
        device: that everything runs on.
        deadline: `time.monotonic()` after which no cell is begun.
        facts: of the machine; cells of another one are thrown away.
    """

    path: Path
    device: torch.device
    deadline: float
    facts: Numbers
    found: dict[str, dict[str, Numbers]] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.path.is_file():
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            if kept["environment"] == self.facts:
                self.found = kept["cells"]

    def measure(self, part: str, key: str, work: Callable[[], Numbers]) -> Numbers | None:
        """A cell's numbers: kept ones, measured ones, or `None` where there is no time.

        What goes wrong in a cell is kept as its result and stops nothing else.
        """
        known = self.found.get(part, {}).get(key)
        if known is not None and "error" not in known:
            return known
        if time.monotonic() > self.deadline:
            self.left.append(f"{part} {key}")
            self.write()
            return None
        start = time.monotonic()
        try:
            numbers = work()
        except torch.cuda.OutOfMemoryError:
            numbers = {"skipped": "out of memory"}
        except Exception as error:
            traceback.print_exc()
            numbers = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        finally:
            if self.device.type == "cuda":
                gc.collect()
                torch.cuda.empty_cache()
        numbers["spent_s"] = round(time.monotonic() - start, 2)
        self.found.setdefault(part, {})[key] = numbers
        print(f"{part} {key}: {json.dumps(numbers)}", file=sys.stderr, flush=True)
        self.write()
        return numbers

    def write(self) -> None:
        """Keep everything; a run that is killed loses the cell under way."""
        kept = {"environment": self.facts, "cells": self.found, "left": self.left}
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.path)
