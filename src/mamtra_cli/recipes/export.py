"""Every knob of `export`, and what it returns."""

from dataclasses import dataclass
from typing import Annotated

from mamtra_cli.recipes.knob import OUTPUT, Knob
from mamtra_cli.recipes.shared import Force, OutputFolder


@dataclass(frozen=True, kw_only=True)
class ExportRecipe:
    """Write a model for other runtimes."""

    model: Annotated[
        str, Knob("A folder, org/name[@revision] or `mini`.", "MODEL", positional=True)
    ] = "mini"
    to: Annotated[str, Knob("The format: onnx.", "FORMAT", panel=OUTPUT, words=("onnx",))] = "onnx"
    output: OutputFolder = None
    force: Force = False


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What `export` wrote."""

    output: str
    model: str
    graphs: dict[str, int]  # bytes by file name
    bytes: int  # of the whole folder
    scores: float  # largest difference of log-probabilities between graphs and modules
    samples: float  # largest difference of samples; full scale is 1
