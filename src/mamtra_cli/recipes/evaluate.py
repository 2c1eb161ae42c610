"""Every knob of `eval`, and what it returns."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from mamtra_cli.recipes.knob import OUTPUT, Knob
from mamtra_cli.recipes.shared import Device, DType, Force, Seed, Threads

_sentences = partial(Knob, panel="Sentences")
_judges = partial(Knob, panel="Judges")
_limits = partial(Knob, panel="Limits (exit 3 where missed)")
_output = partial(Knob, panel=OUTPUT)


@dataclass(frozen=True, kw_only=True)
class EvalRecipe:
    """Score a model: word errors, likeness of the voice, length, closeness to its teacher."""

    model: Annotated[
        str,
        Knob(
            "Model to score: a folder, org/name[@revision], `mini` or `mini-mvc`.",
            "MODEL",
            positional=True,
        ),
    ] = ""
    teacher: Annotated[
        str,
        _sentences(
            "Scored in the same run, and compared with; `none` for no teacher.",
            "MODEL",
            default="the model's own",
        ),
    ] = ""
    data: Annotated[
        Path | None,
        _sentences(
            "Sentences: one a line, or JSONL with `text`.",
            "FILE",
            names=("--data", "--texts"),
            default="built-in sentences",
        ),
    ] = None
    sentences: Annotated[int, _sentences("How many of them.", "N", low=1)] = 20
    list_file: Annotated[
        Path | None,
        _sentences(
            "A list of Seed-TTS-eval, name|prompt text|prompt wav|text: its rules, its voices, all "
            "of it.",
            "FILE",
            names=("--list",),
        ),
    ] = None
    limit: Annotated[int, _sentences("Only the first of the list.", "N", low=0, default="all")] = 0
    language: Annotated[
        str,
        _sentences("Of the list: en (words) or zh (characters).", "NAME", names=("--lang",)),
    ] = "en"
    voice: Annotated[
        str,
        _sentences("A voice of the model, or a voice file.", "NAME", default="the model's first"),
    ] = ""
    seeds: Annotated[int, _sentences("Times each is spoken.", "N", low=1)] = 1
    retries: Annotated[int, _sentences("New attempts for what a guard refused.", "N", low=0)] = 2
    rows: Annotated[int, _sentences("Spoken together.", "N", low=1)] = 16
    asr: Annotated[
        str,
        _judges(
            "Who listens: pocketsphinx, whisper-base or whisper-tiny.en (from packages), "
            "whisper:MODEL (a folder or org/name[@revision]) or command:CMD (WAV paths in, lines "
            "of text out).",
            "NAME",
        ),
    ] = "pocketsphinx"
    similarity: Annotated[
        str,
        _judges(
            "Who compares voices: auto, own, campplus[:FILE], resemblyzer, wavlm:MODEL or none.",
            "NAME",
            names=("--sim",),
        ),
    ] = "auto"
    utmos: Annotated[
        str, _judges("Weights that guess opinions (extra `utmos`), auto or none.", "FILE")
    ] = "auto"
    mos: Annotated[
        str, _judges("Who else guesses opinions, by commas: dnsmos, distillmos or none.", "NAMES")
    ] = "none"
    rounds: Annotated[int, _judges("Drawings of the bootstrap.", "N", low=1)] = 2000
    max_wer: Annotated[
        float | None,
        _limits("Word errors: of the set, or with --list the mean of its utterances.", "PERCENT"),
    ] = None
    max_wer_increase: Annotated[
        float | None, _limits("Word errors above the teacher's.", "POINTS")
    ] = None
    min_similarity: Annotated[float | None, _limits("Mean similarity of the voice.", "COSINE")] = (
        None
    )
    max_failures: Annotated[
        float | None,
        _limits("Sentences refused, or over half of whose words are wrong.", "PERCENT"),
    ] = None
    report: Annotated[
        Path | None,
        _output(
            "Folder to write with tables, plots and sound; new or empty unless --force.", "DIR"
        ),
    ] = None
    samples: Annotated[int, _output("Sentences to hear in it.", "N", low=0)] = 4
    audio_format: Annotated[
        str,
        _output(
            "Their format: flac, opus, mp3 or wav.", "NAME", words=("flac", "opus", "mp3", "wav")
        ),
    ] = "flac"
    records: Annotated[Path | None, _output("JSONL to write, one utterance a line.", "FILE")] = None
    ab: Annotated[
        Path | None,
        _output(
            "Folder to write with a page on which people choose between the model and its teacher, "
            "blind; nothing is scored.",
            "DIR",
        ),
    ] = None
    force: Force = False
    device: Device = "auto"
    dtype: DType = "auto"
    threads: Threads = 0
    seed: Seed = 0


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
class BlindResult:
    """A page for people's ears: of which models, and of how many sentences."""

    model: str
    teacher_model: str
    sentences: int
    page: Path


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
        recogniser, similarity, utmos, mos: what judged, with its version or hash.
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
    mos: dict[str, str] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    report: Path | None = None
    records: Path | None = None
