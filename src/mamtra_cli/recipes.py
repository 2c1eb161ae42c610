"""Every knob of every task, with its default, and what each task returns.

The one home of these numbers: the command line shows them, recipe files override them, and the
`mamtra.json` of an output repeats the ones that were used. Imports no torch. `None` and "" mean
that the model, the mixer or another knob decides, as the line beside the field says.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ConvertRecipe:
    """Replace attention layers of a teacher by recurrent mixers."""

    teacher: str = ""  # folder, org/name[@revision] or `mini`
    output: Path | None = None  # folder to write
    ratio: str = "1:1"  # attention layers to Mamba layers
    placement: str = "block-begin"  # where attention stays
    plan: str = ""  # a whole plan in place of the two above
    round: bool = False  # accept a ratio that does not divide the layers
    mixer: str = "mamba2-gqa"  # preset of the new layers
    gate: str = ""  # full, none or a rank; "" is the preset's own
    init: str = "transfer"  # starting weights: transfer or random
    calibrate: str = "ls"  # closed-form output fit: ls, gain, scalar or none
    calibration_tokens: int = 8192  # speech tokens for the fit
    data: Path | None = None  # JSONL of text and tokens; None: the teacher's own speech
    check_tokens: int = 2048  # held-out speech tokens for the check; 0 skips it
    dtype: str = "keep"  # stored type of the written weights
    seed: int = 0
    device: str = "auto"
    force: bool = False  # replace what is in the output folder
    dry_run: bool = False  # plan and sizes only


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
    files: tuple[FileEntry, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class SynthRecipe:
    """Speak a text."""

    text: str = ""
    output: str = ""  # file; `-` is stdout
    model: str = "mini"
    voice: str = ""  # "" is the model's first voice
    speed: float = 1.0
    temperature: float | None = None  # None: the model's own
    top_p: float | None = None
    top_k: int | None = None
    min_p: float = 0.0
    greedy: bool = False
    steps: int | None = None  # flow steps; None: the model's own
    seed: int = 0
    retries: int = 2  # new attempts when a guard rejects the audio
    max_seconds: float | None = None  # per piece; None: from the length of the text
    sentence_silence: float = 0.2  # seconds between pieces
    volume: float = 1.0
    stream: bool = False  # write audio as it is made
    raw: bool = False  # headerless 16-bit samples
    format: str = ""  # wav, flac, mp3 or opus; "" is from the file name
    sample_rate: int | None = None  # None: the model's own
    dtype: str = "auto"
    device: str = "auto"
    threads: int = 0  # 0: chosen from the machine
    force: bool = False  # replace an existing output


@dataclass(frozen=True, kw_only=True)
class SynthResult:
    """What `synth` wrote."""

    output: str
    model: str
    voice: str
    seed: int
    seconds: float  # of audio
    sample_rate: int
    pieces: int
    tokens: int
    attempts: int
    load_seconds: float
    first_audio_seconds: float  # after loading
    compute_seconds: float
    rtf: float
    rejected: tuple[str, ...] = ()  # guards that sent an attempt back
    device: str = ""


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


@dataclass(frozen=True, kw_only=True)
class ProfileRecipe:
    """Measure speed, memory and size."""

    model: str = ""  # "" is `mini` beside its hybrids
    compare: str = ""  # a second model in the same run
    seq: int = 1024  # tokens in the context
    batch: int = 1
    estimate: bool = False  # formulas only
    runs: int = 3
    warmup: int = 1
    min_speed: float | None = None  # fail below this many seconds of audio a second
    dtype: str = "auto"
    device: str = "auto"
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class ProfileRow:
    """One model, one stage, numbers by name; `measured` tells them from estimates."""

    model: str
    stage: str
    measured: bool
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ProfileResult:
    """Measured and estimated numbers, never merged."""

    seq: int
    batch: int
    device: str
    dtype: str
    rows: tuple[ProfileRow, ...]
    environment: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EvalRecipe:
    """Score a model: word errors, loss against its teacher, length."""

    model: str = "mini"
    teacher: str = ""  # scored in the same run; "" is the model's own, if it has one
    data: Path | None = None  # JSONL of sentences; None: the built-in sentences
    sentences: int = 20
    voice: str = ""
    seeds: int = 1
    seed: int = 0
    max_wer: float | None = None  # fail above this percentage
    dtype: str = "auto"
    device: str = "auto"
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """Scores of a model and, where asked, its teacher."""

    model: str
    sentences: int
    scores: dict[str, float] = field(default_factory=dict)
    teacher_scores: dict[str, float] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PushRecipe:
    """Upload a model folder and its card."""

    folder: Path | None = None
    repo: str = ""  # org/name
    revision: str = "main"  # branch to write
    private: bool = False
    tag: str = ""  # name for the commit; "" makes none
    message: str = ""  # commit subject; "" is made from the card
    voices: tuple[str, ...] = ()  # voices to include; none goes unnamed
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class PushResult:
    """What `push` uploaded, or would upload."""

    repo: str
    url: str
    license: str
    dry_run: bool
    files: tuple[FileEntry, ...]
    bytes: int
    commit: str | None  # None on a dry run
    unchanged: bool  # the hub already had exactly these files
    tag: str


@dataclass(frozen=True, kw_only=True)
class DoctorRecipe:
    """Look at this installation."""

    dtype: str = "auto"
    device: str = "auto"
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class DoctorResult:
    """What is installed here, and which implementation runs."""

    mamtra: str
    python: str
    platform: str
    packages: dict[str, str]  # version, or "" where missing
    device: str
    dtype: str
    threads: int
    reason: str
    ops: dict[str, str]
    models: tuple[str, ...]
