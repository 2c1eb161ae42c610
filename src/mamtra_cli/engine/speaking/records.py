"""The records of a file of lines: which were spoken, beside their sounds.

A record means that its file is there. Shares of one file keep records of their own, and each reads
those of the others. Knows no models and no texts.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from mamtra_cli.config import from_dict, to_dict
from mamtra_cli.errors import DataError, OutputError
from mamtra_cli.part import Part
from mamtra_cli.publish import written_whole
from mamtra_cli.recipes.lines import LineRecord

RESULTS = "results.jsonl"


def results_of(part: Part) -> str:
    """Name of the records of a part: jobs that write one folder never touch each other's."""
    return RESULTS if part.count == 1 else f"results-{part.index:04}-of-{part.count:04}.jsonl"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Hold a file of records.

    Raises:
        OutputError: the same job is running.
    """
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        with lock:
            yield
    except filelock.Timeout as error:
        raise OutputError(
            f"another `mamtra synth` is writing `{path}`",
            "wait for it, or give each job its own `--shard k/n`",
        ) from error


def read_others(folder: Path, own: Path) -> dict[str, LineRecord]:
    """Records that other shares wrote, and that are whole by now."""
    found: dict[str, LineRecord] = {}
    for path in sorted(folder.glob("results*.jsonl")):
        if path != own:
            found |= whole_records(path, path.read_text("utf-8"))
    return found


def read_records(path: Path) -> dict[str, LineRecord]:
    """Records of earlier runs whose sounds are there, by id; the others leave the file.

    A last line that was cut by a kill, a line that failed and one whose sound was removed are made
    again, so they are no records.
    """
    if not path.is_file():
        return {}
    text = path.read_text("utf-8")
    found = whole_records(path, text)
    kept = "".join(dumped(record) for record in found.values())
    if kept != text:
        with written_whole(path, replace=True) as partial:
            partial.write_text(kept, "utf-8")
    return found


def whole_records(path: Path, text: str) -> dict[str, LineRecord]:
    """Records in the text of a file whose lines are whole and whose sounds are there, by id."""
    found: dict[str, LineRecord] = {}
    for line in text.rpartition("\n")[0].splitlines():
        try:
            record = from_dict(LineRecord, json.loads(line), f"`{path}`")
        except ValueError as error:
            raise DataError(f"`{path}` is no record of lines", "choose another folder") from error
        if not record.error and (path.parent / record.output).is_file():
            found[record.id] = record
    return found


def dumped(record: LineRecord) -> str:
    """A record as a line."""
    return json.dumps(to_dict(record), ensure_ascii=False) + "\n"
