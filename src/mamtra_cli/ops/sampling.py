"""How ids are drawn: temperature, top-k, top-p, min-p, greedy, and repetition-aware sampling.

Repetition-aware sampling is that of VALL-E 2 (arXiv 2406.05370) in the form of CosyVoice 2: draw
from the nucleus; if that id occurs often enough in the recent history, mask it and draw again from
the whole distribution. Options only; who draws is in draws.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mamtra_cli.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How ids are drawn; the defaults draw from the distribution as it is.

    Attributes:
        temperature: logits are divided by it; 0 is greedy.
        top_p: candidates are taken from the top until their sum reaches it; 1 takes all.
        top_k: most candidates taken; 0 takes all.
        min_p: least probability of a candidate, as a share of the most probable one's.
        ras_window: recent ids in which repetitions count; 0 turns repetition-awareness off.
        ras_threshold: share of the window from which on a repeated id is drawn again.
        repetition_penalty: recent ids are made less likely by it, once an occurrence; 1 is none.
        penalty_window: recent ids that it looks at.
        linear, conf, quad: of the unified transform (`ops.shaping`); a `linear` of 0 is none.
        greedy: always the most probable id.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    ras_window: int = 0
    ras_threshold: float = 0.1
    repetition_penalty: float = 1.0
    penalty_window: int = 2
    linear: float = 0.0
    conf: float = 0.0
    quad: float = 0.0
    greedy: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (
            ("temperature", 0.0, None),
            ("top_p", 0.0, 1.0),
            ("top_k", 0, None),
            ("min_p", 0.0, 1.0),
            ("ras_window", 0, None),
            ("ras_threshold", 0.0, 1.0),
            ("repetition_penalty", 1.0, None),
            ("penalty_window", 1, None),
            ("linear", 0.0, None),
        ):
            value = getattr(self, name)
            if not value >= low or (high is not None and value > high):
                span = f"from {low} to {high}" if high is not None else f"{low} or more"
                raise UsageError(f"`{name}` cannot be {value}", f"use {span}")


def repeats(chosen: int, recent: Sequence[int], options: Sampling) -> bool:
    """Whether an id occurs so often in the window that it is to be drawn again."""
    return recent.count(chosen) >= options.ras_window * options.ras_threshold
