"""The folder of an unfinished run: used by one at a time, and tied to what the run learns from.

`run.json` holds the recipe, the first check, and hashes of data and models: going on with other
ones would be another run under the same name. A lock, which the system takes from a killed process,
keeps a second run out. Knows files and hashes; the saves inside are savepoint.py's business.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from mamtra_cli.checkpoint import read_json
from mamtra_cli.config import dump_json, to_dict
from mamtra_cli.engine.students.pair import Pair
from mamtra_cli.engine.training.parallel import World
from mamtra_cli.errors import OutputError, TrainingError, UsageError
from mamtra_cli.families.lessons import Example
from mamtra_cli.ownership import check_place, entries, foreign, listed, remove_owned
from mamtra_cli.publish import output_errors, write_whole

RUN = "run.json"
PAIRS = "pairs.jsonl"
LOCK = ".lock"
OWN = re.compile(
    r"(\.lock|run\.json|pairs\.jsonl|teacher/(teacher-\d+\.safetensors)?)"
    r"|(align/|own/)?(trainer(\.previous)?\.safetensors|metrics\.jsonl|\.trainer\.safetensors\.\d+)?"
    r"|tensorboard/(.*/)?(events\.out\.tfevents\.[^/]*)?|(.*/)?\.[^/]*\.partial"
)


def read_run(run: Path) -> dict[str, Any]:
    """What a run says of itself: `recipe`, and `before` and `sources` once they are known.

    Raises:
        UsageError: the folder is no run.
        CheckpointError: its file is damaged.
    """
    if not (run / RUN).is_file():
        raise UsageError(f"`{run}` holds no run to resume", "name the folder that ends in `.run`")
    return read_json(run / RUN)


def write_run(run: Path, facts: dict[str, Any]) -> None:
    """Write what a run says of itself, whole or not at all."""
    write_whole(run / RUN, dump_json(to_dict(facts)))


def check_unused(run: Path, *, force: bool) -> None:
    """Fail where starting a run would take another one's folder, or files that no run wrote.

    Args:
        run: the folder.
        force: replace an unfinished run; never other files, for nobody named this folder.
    """
    if (run / RUN).exists():
        if not force:
            raise OutputError(
                f"`{run}` holds an unfinished run",
                f"go on with `--resume {run}`, or add `--force`",
            )
        check_place(run)
        others = foreign(run, own_files(run))
        if others:
            raise OutputError(
                f"the run `{run}` holds {listed(others)}, which no run wrote",
                "move that elsewhere, or choose another output folder",
            )
        return
    visible = run.is_dir() and [p for p in run.iterdir() if p.name != PAIRS and p.name[0] != "."]
    if visible or run.is_symlink() or run.is_file():
        raise OutputError(
            f"`{run}` is where the run would be kept, and is not a run",
            "move it, or choose another output folder",
        )


def own_files(run: Path) -> set[str]:
    """Names of what a run wrote into its folder."""
    return {name for name in entries(run) if OWN.fullmatch(name)}


@contextmanager
def held(run: Path, world: World) -> Iterator[None]:
    """Hold a run's folder, made where it is missing.

    Raises:
        OutputError: another process does, or the folder cannot be written.
    """
    if not world.main:
        yield
        return
    lock = filelock.FileLock(run / LOCK)
    with output_errors(run):
        run.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise OutputError(
                f"another `mamtra distill` is at work in `{run}`",
                "wait for it, or choose another output folder",
            ) from None
    try:
        yield
    finally:
        lock.release()


def clear(run: Path) -> None:
    """Remove what an earlier run left, but for the lock that is held; nothing that no run wrote."""
    with output_errors(run):
        remove_owned(run, own_files(run) - {LOCK})


def discard(run: Path) -> None:
    """Remove a run that has ended; its folder stays where it holds anything else."""
    remove_owned(run, own_files(run))


def sources_of(pair: Pair, examples: Iterable[Example]) -> dict[str, str]:
    """SHA-256 of the data and of both language models."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(f"{example.id}\0{len(example.text_ids)}\0".encode("utf-8", "surrogatepass"))
        digest.update(np.asarray(example.text_ids + example.tokens, np.int64).tobytes())
    return {
        "data": digest.hexdigest(),
        "student": pair.student.fingerprint(pair.student.lm_part),
        "teacher": pair.teacher.fingerprint(pair.teacher.lm_part),
    }


def check_sources(run: Path, known: dict[str, str], found: dict[str, str]) -> None:
    """Refuse to go on with data or models that are not those a run was started with."""
    changed = [name for name, value in found.items() if known.get(name, value) != value]
    if changed:
        raise TrainingError(
            f"the {' and the '.join(changed)} of `{run}` changed since it was started",
            "bring back what it was started with, or start anew with `--force`",
        )
