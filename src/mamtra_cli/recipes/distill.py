"""Every knob of `distill`, and what it returns."""

from dataclasses import dataclass
from pathlib import Path

from mamtra_cli.recipes.shared import StartCheck


@dataclass(frozen=True, kw_only=True)
class DistillRecipe:
    """Train a converted model to match its teacher."""

    student: str = ""
    teacher: str = ""  # "" is the one the student was converted from
    data: Path | None = None  # JSONL of text and tokens; None: the teacher's own speech
    synthetic: int = 40_000  # speech tokens the teacher makes where no data are given
    output: Path | None = None
    resume: Path | None = None  # run folder to go on with
    align_steps: int = 0  # steps before that fit each new layer alone to the one it replaced
    steps: int = 200
    batch_tokens: int = 4096  # speech tokens a step
    lr: float = 1e-4  # of the new layers; a calibrated start is lost at 1e-3
    lr_rest: float = 0.0  # of everything else; 0 keeps it frozen
    warmup: int = 20
    clip: float = 1.0
    weight_decay: float = 0.01
    kl_weight: float = 1.0
    ce_weight: float = 0.1
    hidden_weight: float = 0.1
    skew: float = 0.1
    temperature: float = 1.0
    log_every: int = 10
    save_every: int = 100
    check_tokens: int = 2048
    seed: int = 0
    device: str = "auto"
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class DistillResult:
    """What `distill` made."""

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
