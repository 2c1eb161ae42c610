"""Every knob of `export`, and what it returns."""

from dataclasses import dataclass
from typing import Annotated

from mamtra_cli.recipes.knob import OUTPUT, Knob
from mamtra_cli.recipes.shared import Force, OutputFolder, Quant


@dataclass(frozen=True, kw_only=True)
class ExportRecipe:
    """Write a model for other runtimes."""

    model: Annotated[
        str, Knob("A folder, org/name[@revision], `mini` or `mini-mvc`.", "MODEL", positional=True)
    ] = "mini"
    to: Annotated[str, Knob("The format: onnx.", "FORMAT", panel=OUTPUT, words=("onnx",))] = "onnx"
    quant: Quant = "none"
    output: OutputFolder = None
    force: Force = False


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What `export` wrote."""

    output: str
    model: str
    graphs: dict[str, int]  # bytes by file name
    bytes: int  # of the whole folder
    quant: str
    scores: float  # largest difference of log-probabilities, or of frames where none are drawn
    kl: float  # mean over the steps, of what graphs say from what modules say
    top1: float  # share of steps whose likeliest token is the same
    samples: float  # largest difference of samples; full scale is 1
