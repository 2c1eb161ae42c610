"""A folder of prepared data as it grows: what is in it, what must go, what could not be used.

Several jobs may write one folder at once, each its own shards (`Job`); rows that a changed input
made stale are taken out under the folder's lock. Rows are known by id and content hash, so a
second run finds them, whatever shard they are in. Knows files, no models.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import filelock

from mamtra_cli.config import dump_json, parse_json
from mamtra_cli.engine.corpora.clip import Bad, writable
from mamtra_cli.engine.preparing.shard_writer import Row, write_shard
from mamtra_cli.engine.preparing.shards import (
    REDO,
    SUFFIX,
    ShardHeader,
    check_header,
    list_shards,
    read_header,
    read_rows,
)
from mamtra_cli.errors import DataError, OutputError
from mamtra_cli.ownership import MARK, Kind, check_place, foreign, listed, read_mark
from mamtra_cli.part import Part
from mamtra_cli.publish import output_errors, write_whole

BAD, STATISTICS, PLOT = "bad.jsonl", "statistics.json", "lengths.svg"
LOCK = ".lock"
NAMES = re.compile(
    r"rows(-\d+-of-\d+)?-\d+\.parquet|bad(-\d+-of-\d+)?\.jsonl|statistics\.json|lengths\.svg"
    r"|(\.rows(-\d+-of-\d+)?)?\.lock|\.[^/]+\.partial"
)
TRACES = re.compile(r"(\.rows(-\d+-of-\d+)?)?\.lock$|\.[^/]+\.partial$")  # of a killed beginning


@dataclass(frozen=True, kw_only=True)
class Known:
    """A row that is there: the hash of its content, the shard that holds it, its seconds."""

    source: str
    sha256: bytes
    shard: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Job:
    """Names of the files that one job writes: another job's are never touched."""

    folder: Path
    part: Part

    @property
    def ending(self) -> str:
        """What tells the job's names from those of others."""
        if self.part.count == 1:
            return ""
        return f"-{self.part.index:04}-of-{self.part.count:04}"

    @property
    def prefix(self) -> str:
        """Of the shards."""
        return f"rows{self.ending}"

    @property
    def bad(self) -> Path:
        """List of what could not be used."""
        return self.folder / f"bad{self.ending}.jsonl"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Hold the job's name, and remove first what a killed one left.

        Raises:
            OutputError: the same job is running, or the folder cannot be written.
        """
        lock = filelock.FileLock(self.folder / f".{self.prefix}{LOCK}")
        partial = re.compile(rf"\.{re.escape(self.prefix)}-\d+{SUFFIX}\.\d+(-.*)?\.partial")
        with output_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                raise OutputError(
                    f"another `mamtra prepare` is writing {self.prefix} of `{self.folder}`",
                    "wait for it, or give each job its own `--shard k/n`",
                ) from None
        try:
            with output_errors(self.folder):
                if read_mark(self.folder) is None:
                    write_whole(self.folder / MARK, dump_json({"kind": KIND.name, "files": []}))
                for path in self.folder.iterdir():
                    if partial.fullmatch(path.name):
                        path.unlink(missing_ok=True)
            yield
        finally:
            lock.release()


def load_known(folder: Path, header: ShardHeader) -> dict[str, list[Known]]:
    """Return the rows of a folder by id; none where it holds no shards yet.

    Raises:
        DataError: a shard is damaged, or of another tokenizer.
    """
    known: dict[str, list[Known]] = {}
    for path in shards_of(folder):
        theirs = read_header(path)
        check_header(
            theirs, path, speech_tokenizer=header.speech_tokenizer, front_end=header.front_end
        )
        sizes = [
            (h.codebooks, h.speech_vocab, h.text_vocab, h.speaker_dim) for h in (theirs, header)
        ]
        if sizes[0] != sizes[1]:
            raise DataError(
                f"shard `{path}` was made with `{theirs.model}`, whose ids are others", REDO
            )
        for row in read_rows(path, ("id", "source", "sha256", "seconds")):
            found = Known(
                source=row["source"],
                sha256=bytes.fromhex(row["sha256"]),
                shard=path.name,
                seconds=row["seconds"],
            )
            known.setdefault(row["id"], []).append(found)
    return known


def shards_of(folder: Path) -> list[Path]:
    """Return the shards of a folder, none where there are none."""
    try:
        return list_shards(folder)
    except DataError:
        return []


@contextmanager
def settled(folder: Path) -> Iterator[None]:
    """Keep jobs from taking rows out of a folder while it is read, and each other from both."""
    with output_errors(folder), filelock.FileLock(folder / LOCK):
        yield


class Ledger:
    """Which rows are there, and which of them their input has overtaken.

    Args:
        folder: of the shards.
        known: see `load_known`.
    """

    def __init__(self, folder: Path, known: dict[str, list[Known]]) -> None:
        self.folder = folder
        self.known = known
        self.stale: dict[str, set[tuple[str, bytes]]] = {}

    def find(self, id: str, sha256: str) -> Known | None:
        """Return the row of that content, if it is there."""
        wanted = bytes.fromhex(sha256)
        return next((row for row in self.known.get(id, ()) if row.sha256 == wanted), None)

    def overtake(self, id: str, source: str, sha256: str = "") -> None:
        """Name rows of an entry for removal: all but that of the given content."""
        kept = bytes.fromhex(sha256)
        for row in self.known.get(id, ()):
            if row.source == source and row.sha256 != kept:
                self.stale.setdefault(row.shard, set()).add((id, row.sha256))

    def take(self, stale: dict[str, set[tuple[str, bytes]]]) -> None:
        """Take over what another ledger of the folder named for removal."""
        for shard, rows in stale.items():
            self.stale.setdefault(shard, set()).update(rows)

    def remove(self) -> int:
        """Rewrite the shards without the named rows, each whole or not at all; count them."""
        removed = 0
        if not self.stale:
            return 0
        with settled(self.folder):
            for name, rows in self.stale.items():
                path = self.folder / name
                if path.exists():
                    removed += _without(path, rows)
        self.stale = {}
        return removed


def _without(path: Path, rows: set[tuple[str, bytes]]) -> int:
    kept, count = [], 0
    for row in read_rows(path):
        if (row["id"], bytes.fromhex(row["sha256"])) in rows:
            count += 1
        else:
            kept.append(Row(**row))
    if not count:
        return 0
    if kept:
        write_shard(path, kept, read_header(path))
    else:
        path.unlink()
    return count


class BadList:
    """What could not be used, and why; written as JSONL, whole.

    Args:
        path: the file; entries of other inputs that it lists stay.
        input: name of this input.
    """

    def __init__(self, path: Path, input: str) -> None:
        self.path = path
        self.input = input
        self.entries: list[Bad] = []
        self.before: dict[str, str] = {}
        self._others: list[str] = []
        if path.is_file():
            # Names and causes may hold characters that only some programs end a line at.
            for line in filter(None, path.read_text(encoding="utf-8").split("\n")):
                record = _entry(line, path)
                if record.get("input") != input:
                    self._others.append(line)
                elif record.get("sha256"):
                    self.before[str(record.get("id"))] = record["sha256"]

    def add(self, entry: Bad) -> None:
        """List an entry."""
        names = {"id": entry.id, "source": entry.source, "cause": entry.cause}
        self.entries.append(replace(entry, **{key: writable(name) for key, name in names.items()}))

    @property
    def causes(self) -> dict[str, int]:
        """How many entries of each kind."""
        return dict(Counter(entry.code for entry in self.entries).most_common())

    def write(self) -> Path | None:
        """Write the list; without entries there is no file. Returns its path if there is one."""
        lines = [
            *self._others,
            *(
                json.dumps({"input": self.input, **asdict(entry)}, ensure_ascii=False)
                for entry in self.entries
            ),
        ]
        if not lines:
            with output_errors(self.path):
                self.path.unlink(missing_ok=True)
            return None
        write_whole(self.path, "".join(line + "\n" for line in lines))
        return self.path


def _entry(line: str, path: Path) -> dict[str, Any]:
    try:
        record = parse_json(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise DataError(f"`{path}` is damaged: a line of it is no entry", "remove it and run again")
    return record


KIND = Kind(name="prepared", words="prepared data")


def prepared_names(folder: Path) -> set[str]:
    """Names of what is ours in a folder that is marked as prepared data, or holds our shards.

    Several jobs write one folder, so its mark lists no files: they are known by their names.
    """
    told, shards = read_mark(folder), shards_of(folder)
    marked = told is not None and told.get("kind") == KIND.name
    if not marked and not (shards and all(NAMES.fullmatch(path.name) for path in shards)):
        return set()
    return {MARK, *(path.name for path in folder.iterdir() if NAMES.fullmatch(path.name))}


def check_target(folder: Path, *, force: bool) -> None:
    """Fail where writing data into a folder could take a file that `prepare` did not write.

    Raises:
        OutputError: it names what is in the way.
    """
    with output_errors(folder):
        if not folder.is_dir() or not any(folder.iterdir()):
            return
        if force:
            check_place(folder)
        ours = prepared_names(folder)
        if ours and not force:
            return  # it grows, beside whatever else is there
        others = foreign(
            folder, ours or {path.name for path in folder.iterdir() if TRACES.match(path.name)}
        )
    if others:
        raise OutputError(
            f"`{folder}` holds {listed(others)}, which `mamtra prepare` did not write",
            "name a new folder",
        )


def clear(folder: Path) -> None:
    """Remove everything that `prepare` wrote into a folder, and nothing else."""
    for path in shards_of(folder):
        read_header(path)
    with output_errors(folder):
        for name in sorted(prepared_names(folder)):
            if name != MARK and not name.endswith(LOCK):
                (folder / name).unlink(missing_ok=True)
