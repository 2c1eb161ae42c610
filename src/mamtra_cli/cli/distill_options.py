"""Options that only `mamtra distill` has, by the panel of the help they stand in."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from mamtra_cli.recipes.distill import PRESETS

_stages = partial(typer.Option, rich_help_panel="Stages")
_data = partial(typer.Option, rich_help_panel="Data")
_training = partial(typer.Option, rich_help_panel="Training")
_loss = partial(typer.Option, rich_help_panel="Loss")
_memory = partial(typer.Option, rich_help_panel="Memory and processes")
_records = partial(typer.Option, rich_help_panel="Records")


def complete_preset() -> list[str]:
    """Return the names of the presets."""
    return list(PRESETS)


Student = Annotated[
    str,
    typer.Argument(
        metavar="STUDENT",
        show_default=False,
        help="Converted model to train: a folder or org/name[@revision].",
    ),
]
Preset = Annotated[
    str,
    _stages(
        metavar="NAME",
        show_default=False,
        autocompletion=complete_preset,
        help="Values to start from: mamtra-paper.",
    ),
]
Calibrate = Annotated[
    str,
    _stages(
        metavar="NAME",
        show_default="as converted",
        help="Stage C: set the new output projections in closed form: ls, gain or scalar.",
    ),
]
CalibrateTokens = Annotated[int, _stages(metavar="N", min=1, help="Speech tokens of stage C.")]
AlignSteps = Annotated[
    int,
    _stages(
        metavar="N",
        min=0,
        help="Stage 0: steps that fit each new layer alone to the one it replaced.",
    ),
]
AlignLr = Annotated[
    float | None, _stages(metavar="X", min=0, show_default="--lr", help="Learning rate of stage 0.")
]
AlignLoss = Annotated[
    str, _stages(metavar="NAME", help="Distance of stage 0: nmse, mse, l2 or cosine.")
]
Steps = Annotated[
    int, _stages(metavar="N", min=0, help="Stage 1: optimizer steps of the whole student.")
]
OwnSteps = Annotated[
    int, _stages(metavar="N", min=0, help="Stage 2: steps after, on the student's own speech too.")
]
OwnShare = Annotated[
    float,
    _stages(
        metavar="X", min=0, max=1, help="Share of these steps that read the student's own speech."
    ),
]
OwnLr = Annotated[
    float | None,
    _stages(metavar="X", min=0, show_default="a third of --lr", help="Learning rate of stage 2."),
]
OwnDivergence = Annotated[
    str, _stages(metavar="NAME", help="Divergence on the student's own speech.")
]
OwnForward = Annotated[
    float, _stages(metavar="X", min=0, max=1, help="Weight of --divergence kept beside it.")
]
Teacher = Annotated[
    str,
    _data(
        metavar="MODEL", show_default="the one it was converted from", help="Model to learn from."
    ),
]
DataPath = Annotated[
    Path | None,
    _data(
        metavar="PATH",
        show_default="speech the teacher makes",
        help="JSONL of text and speech tokens, or a folder of `mamtra prepare`.",
    ),
]
Synthetic = Annotated[
    int, _data(metavar="N", min=1, help="Speech tokens the teacher makes where no data are given.")
]
CheckTokens = Annotated[
    int,
    _data(
        metavar="N",
        min=0,
        help="Held-out speech tokens to compare with the teacher on; 0 skips it.",
    ),
]
Bistream = Annotated[
    float,
    _data(
        metavar="X",
        min=0,
        max=1,
        help="Share laid out as text and speech in turns; 0.5 keeps streaming of CosyVoice 2.",
    ),
]
Packing = Annotated[
    bool,
    _data("--packing/--no-packing", help="Lay several utterances in one row instead of padding."),
]
BatchTokens = Annotated[int, _training(metavar="N", min=1, help="Speech tokens a step.")]
Rate = Annotated[float, _training(metavar="X", min=0, help="Learning rate of the new layers.")]
RestRate = Annotated[
    float,
    _training(metavar="X", min=0, help="Learning rate of everything else; 0 keeps it frozen."),
]
Warmup = Annotated[int, _training(metavar="N", min=0, help="Steps until the full rate.")]
Clip = Annotated[float, _training(metavar="X", min=0, help="Largest gradient norm; 0: no limit.")]
WeightDecay = Annotated[float, _training(metavar="X", min=0, help="Weight decay of matrices.")]
RunningMean = Annotated[
    float,
    _training(
        metavar="X",
        min=0,
        max=0.99999,
        help="Decay of a running mean of the weights, which is what is written; 0: none.",
    ),
]
LogEvery = Annotated[int, _training(metavar="N", min=1, help="Steps between lines of numbers.")]
SaveEvery = Annotated[int, _training(metavar="N", min=1, help="Steps between saves.")]
Resume = Annotated[
    Path | None,
    _training(
        metavar="DIR",
        show_default=False,
        help="Go on with a run, OUTPUT.run; its own settings hold.",
    ),
]
Divergence = Annotated[
    str,
    _loss(
        metavar="NAME",
        help="skew_forward, skew_reverse, kl_forward, kl_reverse, js, tv or kl_topk.",
    ),
]
KlWeight = Annotated[
    float, _loss(metavar="X", min=0, help="Weight of the divergence from the teacher.")
]
CeWeight = Annotated[
    float, _loss(metavar="X", min=0, help="Weight of the cross entropy of the tokens.")
]
HiddenWeight = Annotated[
    float, _loss(metavar="X", min=0, help="Weight of the distance of hidden states.")
]
HiddenFinal = Annotated[
    float, _loss(metavar="X", min=0, help="Share of that weight left at the last step.")
]
HiddenLoss = Annotated[
    str, _loss(metavar="NAME", help="Distance of hidden states: nmse, mse, l2 or cosine.")
]
HiddenLayers = Annotated[
    str,
    _loss(metavar="NAME", help="States compared: after replaced layers, after all, or the last."),
]
Skew = Annotated[
    float, _loss(metavar="X", min=0, max=0.99, help="Share of the teacher in the skewed mixture.")
]
Temperature = Annotated[float, _loss(metavar="T", min=0.01, help="Softens both distributions.")]
TimesSquare = Annotated[
    bool, _loss("--t2/--no-t2", help="Multiply the divergence by the temperature squared.")
]
TeacherCache = Annotated[
    int,
    _memory(
        metavar="K",
        min=0,
        help="Store the teacher's K likeliest tokens once; 0 runs it every time.",
    ),
]
CacheHidden = Annotated[
    bool, _memory("--cache-hidden/--no-cache-hidden", help="Store the compared hidden states too.")
]
PassPositions = Annotated[
    int,
    _memory(metavar="N", min=1, help="Padded positions of one pass, over all processes together."),
]
Precision = Annotated[
    str,
    _memory(metavar="NAME", help="Of the passes: auto, float32 or bfloat16; weights stay float32."),
]
CheckpointActivations = Annotated[
    bool,
    _memory(
        "--checkpoint-activations/--no-checkpoint-activations",
        help="Run each block again in the backward pass: less memory, more time.",
    ),
]
Sharding = Annotated[
    str, _memory(metavar="NAME", help="With several processes (torchrun): ddp or fsdp2.")
]
Tensorboard = Annotated[
    bool,
    _records(
        "--tensorboard/--no-tensorboard", help="Write TensorBoard events into OUTPUT/tensorboard."
    ),
]
Plot = Annotated[
    bool, _records("--plot/--no-plot", help="Draw losses and gradient norm into OUTPUT/curves.png.")
]
FinalReport = Annotated[
    bool,
    _records(
        "--report/--no-report",
        help="End with a report in OUTPUT/report: student and teacher heard beside each other.",
    ),
]
ReportSentences = Annotated[
    int, _records(metavar="N", min=1, help="Sentences each of them says for it.")
]
