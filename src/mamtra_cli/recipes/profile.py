"""Every knob of `profile`, and what it returns."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from mamtra_cli.recipes.knob import Knob
from mamtra_cli.recipes.shared import Device, DType, Force, Threads

_work = partial(Knob, panel="Work")
_plan = partial(Knob, panel="Planning")
AUTO = "auto"
SOLVABLE = ("ratio", "seq", "streams")


@dataclass(frozen=True, kw_only=True)
class ProfileRecipe:
    """Measure speed, memory and size."""

    model: Annotated[
        str,
        Knob(
            "Model to measure: a folder, org/name[@revision] or `mini`.",
            "MODEL",
            positional=True,
            default="mini beside its hybrid",
        ),
    ] = ""
    compare: Annotated[
        str, _work("A model to stand beside, such as its teacher, in the same run.", "MODEL")
    ] = ""
    seq: Annotated[
        int | None,
        _work(
            "Positions in the context: prompt, text and speech tokens.",
            "N",
            low=32,
            default="1024, in a plan those of --seconds",
        ),
    ] = None
    batch: Annotated[int, _work("Sequences at once.", "N", low=1)] = 1
    estimate: Annotated[bool, _work("Formulas only, nothing runs.")] = False
    savings: Annotated[
        bool,
        _work("Memory by formulas, from the official pipeline to ours, saving by saving."),
    ] = False
    imitate_official: Annotated[
        bool, _work("Measure memory with the official pipeline imitated, and ours.")
    ] = False
    seconds: Annotated[float, _work("Speech of those two, and of a plan.", "S")] = 30.0
    prompt_seconds: Annotated[float, _work("Voice prompt before it.", "S")] = 5.0
    runs: Annotated[int, _work("Measured runs; the median counts.", "N", low=1)] = 3
    warmup: Annotated[int, _work("Runs before them.", "N", low=0)] = 1
    min_speed: Annotated[
        float | None, _work("Exit 3 below so many seconds of audio a second.", "X")
    ] = None
    budget: Annotated[
        str, _plan("Memory that there is, such as 24GB. Exit 3 where it is not enough.", "SIZE")
    ] = ""
    reserve: Annotated[
        str, _plan("What others need of it, such as stt=6GB,llm=14GB.", "NAME=SIZE")
    ] = ""
    streams: Annotated[
        str, _plan("Utterances at once; auto for as many as there may be.", "N", default="1")
    ] = ""
    solve: Annotated[
        str,
        _plan(
            "What to look for by formulas: ratio (least exchange of layers), seq (longest speech) "
            "or streams.",
            "NAME",
            words=SOLVABLE,
        ),
    ] = ""
    bandwidth: Annotated[
        float,
        _plan("Memory bandwidth that formulas of speed assume.", "GB/S", low=0, default="unknown"),
    ] = 0.0
    plot: Annotated[
        Path | None,
        _plan("Draw memory against the length of the speech: .svg, .png or .pdf.", "FILE"),
    ] = None
    force: Force = False
    device: Device = "auto"
    dtype: DType = "auto"
    threads: Threads = 0


@dataclass(frozen=True, kw_only=True)
class ProfileRow:
    """One model, one stage, numbers by name; `measured` tells them from estimates."""

    model: str
    stage: str
    measured: bool
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SavingRow:
    """One step from the official pipeline to ours, by formulas.

    `own` counts the bytes it takes away where they are, `peak` the pipeline's most with it and
    every step before; `hybrid` marks the exchange of layers, the only one that needs a hybrid.
    """

    model: str
    name: str
    own: int
    peak: int
    hybrid: bool = False


@dataclass(frozen=True, kw_only=True)
class ProfileResult:
    """Measured and estimated numbers, never merged, and what they mean.

    `observed` are resident bytes of the authors' own program, measured once; `missed` are the
    sentences of `verdict` that tell of a limit that is not kept.
    """

    seq: int
    batch: int
    device: str
    dtype: str
    rows: tuple[ProfileRow, ...]
    savings: tuple[SavingRow, ...] = ()
    observed: dict[str, int] = field(default_factory=dict)
    verdict: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    speech: float | None = None  # seconds; None where the context counts
    prompt: float | None = None
    environment: dict[str, Any] = field(default_factory=dict)
