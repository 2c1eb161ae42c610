"""Every knob of `convert`, and what it returns."""

from dataclasses import dataclass
from pathlib import Path

from mamtra_cli.recipes.selection import LayerSelection
from mamtra_cli.recipes.shared import FileEntry, StartCheck


@dataclass(frozen=True, kw_only=True)
class ConvertRecipe:
    """Replace attention layers of a teacher by recurrent mixers."""

    teacher: str = ""  # folder, org/name[@revision] or `mini`
    output: Path | None = None  # folder to write
    ratio: str = "1:1"  # attention layers to Mamba layers
    placement: str = "block-begin"  # where attention stays; `auto:METHOD` measures it
    plan: str = ""  # a whole plan in place of the two above
    heat_map: Path | None = None  # picture of the layer scores of `auto`
    round: bool = False  # accept a ratio that does not divide the layers
    mixer: str = "mamba2-gqa"  # preset of the new layers
    gate: str = ""  # full, none or a rank; "" is the preset's own
    init: str = "transfer"  # starting weights: transfer or random
    calibrate: str = "ls"  # closed-form output fit: ls, gain, scalar or none
    ridge: float = 0.03  # of that fit, as a share of its features' mean power; more is calmer
    calibration_tokens: int = 8192  # speech tokens for the fit
    data: Path | None = None  # JSONL of text and tokens; None: the teacher's own speech
    check_tokens: int = 2048  # held-out speech tokens for the check; 0 skips it
    dtype: str = "keep"  # stored type of the written weights
    seed: int = 0
    device: str = "auto"
    force: bool = False  # replace what is in the output folder
    dry_run: bool = False  # plan and sizes only


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """What `convert` made, or would make on a dry run."""

    output: Path | None
    teacher: str
    dry_run: bool
    plan: str
    kinds: str
    mixer: str
    parameters_before: int
    parameters_after: int
    cache_before: int  # bytes per token, two-byte cache
    cache_after: int
    state_bytes: int  # constant: float32 states, two-byte convolution and windows
    break_even: int | None  # tokens from which the hybrid holds less
    check: StartCheck | None
    selection: LayerSelection | None  # how `auto` chose the layers
    files: tuple[FileEntry, ...]
    seconds: float
