"""Every knob of `distill`, its presets, and what it returns."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from mamtra_cli.recipes.evaluate import Scores
from mamtra_cli.recipes.knob import Knob
from mamtra_cli.recipes.shared import Device, DryRun, Force, OutputFolder, Seed, StartCheck

_stages = partial(Knob, panel="Stages")
_data = partial(Knob, panel="Data")
_training = partial(Knob, panel="Training")
_loss = partial(Knob, panel="Loss")
_memory = partial(Knob, panel="Memory and processes")
_records = partial(Knob, panel="Records")


PRESETS: dict[str, dict[str, Any]] = {
    # arXiv 2603.12342: cross entropy, skew KL and an MSE in one stage, 0.5 k hours, 15 epochs,
    # about 22,300 updates of 30 to 35 k speech tokens. Loss weights, skew, rates, schedule, what is
    # frozen and which states the MSE compares are not published: those values are ours.
    "mamtra-paper": {
        "steps": 22_300,
        "batch_tokens": 32_000,
        "pass_positions": 8192,
        "lr": 1e-4,
        "lr_rest": 1e-5,
        "warmup": 500,
        "weight_decay": 0.01,
        "clip": 1.0,
        "divergence": "skew_forward",
        "skew": 0.1,
        "temperature": 1.0,
        "kl_weight": 1.0,
        "ce_weight": 0.25,
        "hidden_weight": 0.1,
        "hidden_loss": "mse",
        "hidden_layers": "last",
        "bistream": 0.5,
        "save_every": 500,
    },
}


@dataclass(frozen=True, kw_only=True)
class DistillRecipe:
    """Train a converted model to match its teacher, in up to four stages, or a flow of few steps.

    C  `calibrate`: output projections of the new layers in closed form.
    0  `align_steps`: each new layer alone, on what the teacher gives its own.
    1  `steps`: the whole student on the teacher's words.
    2  `own_steps`: the same, with a share of updates on the student's own words.
    """

    student: Annotated[
        str,
        Knob(
            "Converted model to train: a folder or org/name[@revision].", "STUDENT", positional=True
        ),
    ] = ""
    family: Annotated[
        str,
        _stages(
            "Make a new model of a family without a language model, mvc (larger: mvc:small, "
            "mvc:default), in place of a student.",
            "NAME",
        ),
    ] = ""
    flow_steps: Annotated[
        int,
        _stages(
            "Teach the flow of STUDENT to take so few steps, without guidance, in place of all "
            "other stages; 0: no.",
            "N",
            low=0,
            high=64,
        ),
    ] = 0
    preset: Annotated[
        str, _stages(f"Values to start from: {', '.join(PRESETS)}.", "NAME", words=tuple(PRESETS))
    ] = ""  # under what is given beside it
    calibrate: Annotated[
        str,
        _stages(
            "Stage C: set the new output projections in closed form: ls, gain or scalar.",
            "NAME",
            default="as converted",
        ),
    ] = ""
    calibrate_tokens: Annotated[int, _stages("Speech tokens of stage C.", "N", low=1)] = 50_000
    align_steps: Annotated[
        int,
        _stages("Stage 0: steps that fit each new layer alone to the one it replaced.", "N", low=0),
    ] = 0
    align_lr: Annotated[
        float | None, _stages("Learning rate of stage 0.", "X", low=0, default="--lr")
    ] = None
    align_loss: Annotated[str, _stages("Distance of stage 0: nmse, mse, l2 or cosine.", "NAME")] = (
        "nmse"
    )
    steps: Annotated[int, _stages("Stage 1: optimizer steps of the whole student.", "N", low=0)] = (
        200
    )
    own_steps: Annotated[
        int, _stages("Stage 2: steps after, on the student's own speech too.", "N", low=0)
    ] = 0
    own_share: Annotated[
        float,
        _stages("Share of these steps that read the student's own speech.", "X", low=0, high=1),
    ] = 0.5
    own_lr: Annotated[
        float | None, _stages("Learning rate of stage 2.", "X", low=0, default="a third of --lr")
    ] = None
    own_divergence: Annotated[str, _stages("Divergence on the student's own speech.", "NAME")] = (
        "skew_reverse"
    )
    own_forward: Annotated[
        float, _stages("Weight of --divergence kept beside it.", "X", low=0, high=1)
    ] = 0.3  # none collapses diversity
    teacher: Annotated[
        str, _data("Model to learn from.", "MODEL", default="the one it was converted from")
    ] = ""
    data: Annotated[
        Path | None,
        _data(
            "JSONL of text and speech tokens, or a folder of `mamtra prepare`.",
            "PATH",
            default="speech the teacher makes",
        ),
    ] = None
    synthetic: Annotated[
        int, _data("Speech tokens the teacher makes where no data are given.", "N", low=1)
    ] = 40_000
    check_tokens: Annotated[
        int,
        _data("Held-out speech tokens to compare with the teacher on; 0 skips it.", "N", low=0),
    ] = 2048
    bistream: Annotated[
        float,
        _data(
            "Share laid out as text and speech in turns; 0.5 keeps streaming of CosyVoice 2.",
            "X",
            low=0,
            high=1,
        ),
    ] = 0.0
    packing: Annotated[
        bool, _data("Lay several utterances in one row instead of padding.", negative=True)
    ] = False
    batch_tokens: Annotated[int, _training("Speech tokens a step.", "N", low=1)] = 4096
    lr: Annotated[float, _training("Learning rate of the new layers.", "X", low=0)] = (
        1e-4  # examples/distill-mini.toml takes 1e-3
    )
    lr_rest: Annotated[
        float, _training("Learning rate of everything else; 0 keeps it frozen.", "X", low=0)
    ] = 0.0
    warmup: Annotated[int, _training("Steps until the full rate.", "N", low=0)] = 20
    clip: Annotated[float, _training("Largest gradient norm; 0: no limit.", "X", low=0)] = 1.0
    weight_decay: Annotated[float, _training("Weight decay of matrices.", "X", low=0)] = 0.01
    ema: Annotated[
        float,
        _training(
            "Decay of a running mean of the weights, which is what is written; 0: none.",
            "X",
            low=0,
            high=0.99999,
        ),
    ] = 0.0
    log_every: Annotated[int, _training("Steps between lines of numbers.", "N", low=1)] = 10
    save_every: Annotated[int, _training("Steps between saves.", "N", low=1)] = 100
    resume: Annotated[
        Path | None, _training("Go on with a run, OUTPUT.run; its own settings hold.", "DIR")
    ] = None
    divergence: Annotated[
        str,
        _loss("skew_forward, skew_reverse, kl_forward, kl_reverse, js, tv or kl_topk.", "NAME"),
    ] = "skew_forward"
    kl_weight: Annotated[float, _loss("Weight of the divergence from the teacher.", "X", low=0)] = (
        1.0
    )
    ce_weight: Annotated[float, _loss("Weight of the cross entropy of the tokens.", "X", low=0)] = (
        0.1
    )
    hidden_weight: Annotated[
        float, _loss("Weight of the distance of hidden states.", "X", low=0)
    ] = 0.1
    hidden_final: Annotated[
        float, _loss("Share of that weight left at the last step.", "X", low=0)
    ] = 1.0
    hidden_loss: Annotated[
        str, _loss("Distance of hidden states: nmse, mse, l2 or cosine.", "NAME")
    ] = "nmse"
    hidden_layers: Annotated[
        str,
        _loss(
            "States compared: after replaced layers, after all, or the last.",
            "NAME",
            words=("replaced", "all", "last"),
        ),
    ] = "replaced"
    skew: Annotated[
        float, _loss("Share of the teacher in the skewed mixture.", "X", low=0, high=0.99)
    ] = 0.1
    temperature: Annotated[float, _loss("Softens both distributions.", "T", low=0.01)] = 1.0
    t2: Annotated[
        bool, _loss("Multiply the divergence by the temperature squared.", negative=True)
    ] = False
    teacher_cache: Annotated[
        int,
        _memory("Store the teacher's K likeliest tokens once; 0 runs it every time.", "K", low=0),
    ] = 0
    cache_hidden: Annotated[
        bool, _memory("Store the compared hidden states too.", negative=True)
    ] = False
    pass_positions: Annotated[
        int,
        _memory("Padded positions of one pass, over all processes together.", "N", low=1),
    ] = 8192
    precision: Annotated[
        str,
        _memory("Of the passes: auto, float32 or bfloat16; weights stay float32.", "NAME"),
    ] = "auto"  # bfloat16 passes on CUDA, float32 elsewhere
    checkpoint_activations: Annotated[
        bool,
        _memory(
            "Run each block again in the backward pass: less memory, more time.", negative=True
        ),
    ] = False
    sharding: Annotated[
        str, _memory("With several processes (torchrun): ddp or fsdp2.", "NAME")
    ] = "ddp"
    tensorboard: Annotated[
        bool, _records("Write TensorBoard events into OUTPUT/tensorboard.", negative=True)
    ] = False
    plot: Annotated[
        bool, _records("Draw losses and gradient norm into OUTPUT/curves.png.", negative=True)
    ] = True
    report: Annotated[
        bool,
        _records(
            "End with a report in OUTPUT/report: student and teacher heard beside each other.",
            negative=True,
        ),
    ] = True
    report_sentences: Annotated[
        int, _records("Sentences each of them says for it.", "N", low=1)
    ] = 10
    output: OutputFolder = None
    force: Force = False
    dry_run: DryRun = False
    device: Device = "auto"
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class DistillResult:
    """What `distill` made.

    Attributes:
        steps, tokens: updates, and the speech tokens they read, of all stages.
        loss: of the last update of stage 1 or 2.
        before, after: closeness to the teacher on held-out speech.
        plan: the stages in words, of a dry run.
        report, report_files: `report.md` of the comparison at the end, and all its files.
        scores, teacher_scores, difference: what was heard there; see `EvalResult`.
        absent: what could not be measured there, and why; `report` where there is none.
        checks: losses on held-out speech before and after, of what was learned beside a language
            model: with `flow_steps` the distance of log-mels by number of steps, `mel_2`.
    """

    output: Path | None
    student: str
    teacher: str
    dry_run: bool
    steps: int
    tokens: int
    trainable: int
    frozen: int
    loss: float | None
    before: StartCheck | None
    after: StartCheck | None
    seconds: float
    plan: dict[str, str] = field(default_factory=dict)
    curves: Path | None = None
    report: Path | None = None
    report_files: tuple[Path, ...] = ()
    scores: Scores | None = None
    teacher_scores: Scores | None = None
    difference: Scores | None = None
    absent: dict[str, str] = field(default_factory=dict)
    checks: dict[str, float] = field(default_factory=dict)
