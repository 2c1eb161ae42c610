"""Every knob of `convert`, and what it returns."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from mamtra_cli.recipes.knob import OUTPUT, Knob
from mamtra_cli.recipes.selection import LayerSelection
from mamtra_cli.recipes.shared import (
    Device,
    DryRun,
    FileEntry,
    OutputFolder,
    Part,
    Seed,
    StartCheck,
)

AUTO = "auto"  # measured where it is cheap
_plan = partial(Knob, panel="Layer plan")
_layers = partial(Knob, panel="New layers")


@dataclass(frozen=True, kw_only=True)
class ConvertRecipe:
    """Replace attention layers of a teacher by recurrent mixers."""

    teacher: Annotated[
        str,
        Knob(
            "Model to convert: a folder, org/name[@revision] or `mini`.", "TEACHER", positional=True
        ),
    ] = ""
    part: Part = ()
    ratio: Annotated[
        str, _plan("Attention layers to Mamba layers.", "T:M", names=("--ratio", "-r"))
    ] = "1:1"
    placement: Annotated[
        str,
        _plan(
            "Where attention stays: block-begin, block-end, front, middle, back, sandwich or "
            "spread; or measured on the teacher, auto:swap, auto:restore, auto:swap-train, "
            "auto:drop, auto:cosine, auto:wer, auto:smart; auto: auto:swap-train where that takes "
            "a minute or two, else block-begin.",
            "NAME",
        ),
    ] = AUTO
    plan: Annotated[
        str,
        _plan(
            "A full plan in place of the two above: T=0,8,11,16, pattern:TM3, preset:mamtra-1:5 or "
            "auto:swap,k=2.",
            "PLAN",
            names=("--plan", "-p"),
        ),
    ] = ""
    heat_map: Annotated[
        Path | None, _plan("Draw the layer scores of auto: .svg, .png or .pdf.", "FILE")
    ] = None
    round: Annotated[bool, _plan("Accept a ratio that does not divide the layers, rounded.")] = (
        False
    )
    mixer: Annotated[
        str,
        _layers(
            "Kind of the new layers: mamba2-gqa, kv-shared-state, gdn, swa, swa+ssm, mamtra-paper.",
            "NAME",
        ),
    ] = "mamba2-gqa"
    gate: Annotated[
        str,
        _layers("Their output gate: full, none, or a rank.", "KIND", default="the mixer's own"),
    ] = ""
    state: Annotated[
        str,
        _layers(
            "Their states: one a query head (head) or one a key head (kv).",
            "KIND",
            default="the mixer's own",
            words=("head", "kv"),
        ),
    ] = ""
    window: Annotated[
        int,
        _layers(
            "Tokens that a window sees, of swa and swa+ssm.",
            "N",
            low=0,
            default="the mixer's own",
        ),
    ] = 0
    init: Annotated[
        str,
        _layers("Their starting weights: transfer (from the attention) or random.", "MODE"),
    ] = "transfer"
    calibrate: Annotated[
        str,
        _layers(
            "Closed-form fit of their output to the teacher's: ls, gain, scalar or none.", "MODE"
        ),
    ] = "ls"
    ridge: Annotated[
        float,
        _layers("Ridge of that fit, as a share of the mean power it reads; more is calmer.", "X"),
    ] = 0.03
    calibration_tokens: Annotated[int, _layers("Speech tokens for that fit.", "N", low=1)] = 8192
    data: Annotated[
        Path | None,
        _layers(
            "JSONL of text and speech tokens for fit and check.",
            "FILE",
            default="speech the teacher makes",
        ),
    ] = None
    check_tokens: Annotated[
        int,
        _layers("Held-out speech tokens to compare with the teacher on; 0 skips it.", "N", low=0),
    ] = 2048
    output: OutputFolder = None
    dtype: Annotated[
        str,
        Knob(
            "Type of the written weights: keep, float32, bfloat16, float16 or int8.",
            "NAME",
            OUTPUT,
            words=("keep", "float32", "bfloat16", "float16", "int8"),
        ),
    ] = "keep"
    force: Annotated[bool, Knob("Replace what is in the output folder.", panel=OUTPUT)] = False
    dry_run: DryRun = False
    device: Device = "auto"
    seed: Seed = 0


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
