"""Every knob of `prepare`, and what it returns."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PrepareRecipe:
    """Turn speech, or texts, into the token data that `distill` learns from."""

    input: str = ""  # file, folder or org/name[@revision]; with `synthetic`: texts, "" built-in
    output: Path | None = None
    model: str = ""  # whose tokens; "" is `mini`, and with `check` none to compare with
    format: str = ""  # one of engine.corpora.corpus.FORMATS; "" looks
    files: str = ""  # which files of a folder or repository, as `*dev*`; "" is all
    text_key: str = ""  # key or column of the text; "" is the usual one
    audio_key: str = ""  # column of the audio; "" is the usual one
    synthetic: bool = False  # the model speaks texts; no audio is read
    tokens: int = 40_000  # speech tokens to make where no texts are given
    temperature: float | None = None  # None: the model's own
    top_p: float | None = None
    top_k: int | None = None
    retries: int = 2  # new attempts for a sentence that a guard refused
    min_seconds: float = 0.4
    max_seconds: float = 30.0
    shard: str = ""  # k/n; "" is SLURM's array task, else all
    shard_rows: int = 8192
    max_bad: float | None = None  # fail above this percentage of entries
    plot: bool = True
    check: bool = False  # verify the folder `input`, write nothing
    seed: int = 0
    device: str = "auto"
    dtype: str = "auto"
    threads: int = 0
    force: bool = False
    dry_run: bool = False


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
