"""Knobs and small results that several tasks share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from mamtra_cli.config import to_dict
from mamtra_cli.recipes.knob import OUTPUT, Knob

SPOKEN_ONLY = {"force", "dry_run", "resume"}  # count on the command line, never in a file
SEEDS = 2**32  # a seed is below; sums and products of it then fit what torch takes

Device = Annotated[
    str,
    Knob("auto, cpu, cuda or cuda:1.", "NAME", env="MAMTRA_DEVICE", words=("auto", "cpu", "cuda")),
]
DType = Annotated[
    str,
    Knob(
        "Type to compute in: auto, float32, bfloat16 or float16.",
        "NAME",
        words=("auto", "float32", "bfloat16", "float16"),
    ),
]
Backend = Annotated[
    str,
    Knob(
        "What steps the language model: auto, torch or onnx.",
        "NAME",
        words=("auto", "torch", "onnx"),
    ),
]
Quant = Annotated[
    str,
    Knob(
        "Bits of its matrices on a CPU: none, int8 or int4 (extra `onnx`).",
        "NAME",
        words=("none", "int8", "int4"),
    ),
]
Threads = Annotated[int, Knob("CPU threads; 0 chooses: one for a small model.", "N", low=0)]
Seed = Annotated[int, Knob("Seed of everything random.", "N", low=0, high=SEEDS - 1)]
Ray = Annotated[
    str,
    Knob(
        "Spread the work over Ray: `local`, or the address of a cluster (extra `ray`).",
        "ADDRESS",
        "Jobs",
    ),
]
Workers = Annotated[
    int,
    Knob(
        "Processes on Ray that each hold the model.",
        "N",
        "Jobs",
        low=0,
        default="one a GPU, or one for four cores",
    ),
]
Voices = Annotated[
    Path | None,
    Knob(
        "Folder of your own voices.",
        "DIR",
        "Voice",
        default="in MAMTRA_HOME or your data folder",
    ),
]
Part = Annotated[
    tuple[str, ...],
    Knob(
        "Read a part of a published folder from another file: lm=llm.rl.pt; repeat for more.",
        "NAME=FILE",
    ),
]
OutputFolder = Annotated[
    Path | None,
    Knob(
        "Folder to write; new or empty unless --force.",
        "DIR",
        OUTPUT,
        names=("--output", "-o"),
    ),
]
Force = Annotated[bool, Knob("Replace what is there already.", panel=OUTPUT)]
DryRun = Annotated[
    bool,
    Knob("Show the plan and sizes, write nothing.", panel=OUTPUT, names=("--dry-run", "-n")),
]


@dataclass(frozen=True, kw_only=True)
class StartCheck:
    """Student against teacher on held-out teacher-forced sequences (nats per token)."""

    tokens: int
    ce_teacher: float
    ce_student: float
    kl: float
    agreement: float


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file of a folder."""

    name: str
    bytes: int
    sha256: str = ""


def stored(recipe: Any) -> dict[str, Any]:
    """Return a recipe as a file keeps it: without what only a command line may say."""
    return {key: value for key, value in to_dict(recipe).items() if key not in SPOKEN_ONLY}
