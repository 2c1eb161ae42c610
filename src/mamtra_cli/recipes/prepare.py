"""Every knob of `prepare`, and what it returns."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from mamtra_cli.recipes.knob import OUTPUT, Knob
from mamtra_cli.recipes.shared import Device, DryRun, DType, Ray, Seed, Threads, Workers

FORMATS = ("jsonl", "csv", "libritts", "ljspeech", "folder", "hf", "lhotse", "webdataset")
_input = partial(Knob, panel="Input")
_speech = partial(Knob, panel="Synthetic speech")
_jobs = partial(Knob, panel="Jobs")
_output = partial(Knob, panel=OUTPUT)


@dataclass(frozen=True, kw_only=True)
class PrepareRecipe:
    """Turn speech, or texts, into the token data that `distill` learns from."""

    input: Annotated[
        str,
        Knob(
            "Corpus: a file, a folder or org/name[@revision]; texts with --synthetic.",
            "INPUT",
            positional=True,
        ),
    ] = ""  # with `synthetic`, the built-in sentences
    model: Annotated[
        str,
        _input(
            "Model whose tokens to write: a folder or org/name[@revision].",
            "MODEL",
            names=("--model", "-m"),
            env="MAMTRA_MODEL",
            default="mini",
        ),
    ] = ""  # with `check`, none to compare with
    format: Annotated[
        str,
        _input(
            f"Kind of the input: {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.",
            "NAME",
            default="found by looking",
            words=FORMATS,
        ),
    ] = ""
    files: Annotated[
        str, _input("Only such files of a folder or repository, as '*dev*'.", "PATTERN")
    ] = ""
    text_key: Annotated[
        str,
        _input(
            "Key or column of the text; LibriTTS: normalized or original.",
            "NAME",
            default="the usual one",
        ),
    ] = ""
    audio_key: Annotated[str, _input("Column of the audio.", "NAME", default="the usual one")] = ""
    min_seconds: Annotated[float, _input("Shortest clip to use.", "S", low=0)] = 0.4
    max_seconds: Annotated[float, _input("Longest clip to use.", "S", low=0)] = 30.0
    max_bad: Annotated[
        float | None,
        _input("Exit 3 where more of the input cannot be used.", "PERCENT", low=0),
    ] = None
    synthetic: Annotated[
        bool,
        _speech("Let the model speak texts (one a line, or JSONL) in place of recordings."),
    ] = False
    tokens: Annotated[
        int,
        _speech(
            "Speech tokens to make of built-in sentences, where no texts are given.", "N", low=1
        ),
    ] = 40_000
    temperature: Annotated[
        float | None,
        _speech("Sampling temperature; 0 is greedy.", "T", low=0, default="the model's own"),
    ] = None
    top_p: Annotated[
        float | None, _speech("Probability mass to draw from.", "P", default="the model's own")
    ] = None
    top_k: Annotated[
        int | None,
        _speech("Most candidates to draw from; 0 is all.", "K", default="the model's own"),
    ] = None
    retries: Annotated[
        int, _speech("New attempts for a sentence that a guard refused.", "N", low=0)
    ] = 2
    shard: Annotated[
        str,
        _jobs("Do the K-th of N parts, 1/N to N/N.", "K/N", default="SLURM's array task, else all"),
    ] = ""
    shard_rows: Annotated[int, _jobs("Rows of a file at most.", "N", low=1)] = 8192
    ray: Ray = ""
    workers: Workers = 0
    output: Annotated[
        Path | None,
        _output("Folder to write, or to add to.", "DIR", names=("--output", "-o")),
    ] = None
    plot: Annotated[bool, _output("Draw lengths.svg (extra `plot`).", negative=True)] = True
    check: Annotated[bool, _output("Verify a prepared folder, INPUT, and show its numbers.")] = (
        False
    )
    force: Annotated[bool, _output("Remove the prepared data that are there.")] = False
    dry_run: DryRun = False
    device: Device = "auto"
    dtype: DType = "auto"
    threads: Threads = 0
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class PrepareResult:
    """What `prepare` found and wrote."""

    output: Path | None
    model: str
    format: str
    part: str
    dry_run: bool = False
    entries: int = 0  # of this part of the input
    written: int = 0  # rows
    kept: int = 0  # rows that were there, unchanged
    replaced: int = 0  # rows whose input changed
    bad: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    report: Path | None = None  # the list of bad entries
    shards: tuple[str, ...] = ()  # new ones
    seconds: float = 0.0  # spent
    statistics: dict[str, Any] = field(default_factory=dict)  # of the whole folder
    problems: tuple[str, ...] = ()  # found by `check`
