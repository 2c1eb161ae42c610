"""Every knob of `eval`, and what it returns."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EvalRecipe:
    """Score a model: word errors, likeness of the voice, length, closeness to its teacher."""

    model: str = "mini"
    teacher: str = ""  # scored in the same run; "" is the model's own, if it has one; or "none"
    data: Path | None = None  # sentences, one a line or JSONL; None: the built-in ones
    list_file: Path | None = None  # a list of Seed-TTS-eval, in place of `data`
    sentences: int = 20  # of `data` or the built-in ones; a list is read whole
    limit: int = 0  # utterances of the list; 0: all
    language: str = "en"  # of the list: en (words) or zh (characters)
    voice: str = ""
    asr: str = "pocketsphinx"  # or whisper:NAME, command:CMD
    similarity: str = "auto"  # own, campplus:FILE, wavlm:NAME or none
    utmos: str = "auto"  # file of the weights, auto or none
    seeds: int = 1
    retries: int = 2
    rows: int = 16  # pieces decoded together
    rounds: int = 2000  # of the bootstrap
    max_wer: float | None = None  # limits: exit 3 above these percentages (points, likeness)
    max_wer_increase: float | None = None
    min_similarity: float | None = None
    max_failures: float | None = None
    report: Path | None = None  # folder for the report
    samples: int = 4  # sentences whose sound the report holds
    audio_format: str = "flac"
    records: Path | None = None  # JSONL, one utterance a line
    force: bool = False
    dtype: str = "auto"
    device: str = "auto"
    threads: int = 0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Measures of one model over a set of sentences; `docs/evaluation.md` defines each.

    Attributes:
        values: name to figure; a measure that could not be taken is missing.
        intervals: name to the ends of the 95 % bootstrap interval, where there is one.
        by_seed: word errors with each seed.
        spread: their standard deviation; `None` for one seed.
    """

    values: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    by_seed: tuple[float, ...] = ()
    spread: float | None = None


@dataclass(frozen=True, kw_only=True)
class LimitCheck:
    """A limit the user set, and what was measured."""

    option: str
    limit: float
    value: float
    missed: bool


@dataclass(frozen=True, kw_only=True)
class EvalResult:
    """Scores of a model and, where it has one, its teacher.

    Attributes:
        headline: the measure that limits and first rows speak of, `wer` or `wer_mean`.
        rules: how texts became words.
        scores, teacher: of each model.
        difference: model less teacher, with paired intervals; and what compares the two directly
            (`ce`, `teacher_ce`, `kl`, `agreement`, `length_to_teacher`).
        absent: measures that could not be taken, and why.
        recogniser, similarity, utmos: what judged, with its version or hash.
    """

    model: str
    teacher_model: str = ""
    sentences: int
    headline: str = "wer"
    rules: str = "plain"
    scores: Scores
    teacher: Scores | None = None
    difference: Scores | None = None
    absent: dict[str, str] = field(default_factory=dict)
    limits: tuple[LimitCheck, ...] = ()
    recogniser: dict[str, str] = field(default_factory=dict)
    similarity: dict[str, str] = field(default_factory=dict)
    utmos: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    report: Path | None = None
    records: Path | None = None
