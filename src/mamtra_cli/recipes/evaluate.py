"""Every knob of `eval`, and what it returns."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EvalRecipe:
    """Score a model: word errors, loss against its teacher, length."""

    model: str = "mini"
    teacher: str = ""  # scored in the same run; "" is the model's own, if it has one
    data: Path | None = None  # JSONL of sentences; None: the built-in sentences
    sentences: int = 20
    voice: str = ""
    seeds: int = 1
    seed: int = 0
    max_wer: float | None = None  # fail above this percentage
    dtype: str = "auto"
    device: str = "auto"
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """Scores of a model and, where asked, its teacher."""

    model: str
    sentences: int
    scores: dict[str, float] = field(default_factory=dict)
    teacher_scores: dict[str, float] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
