"""Writes rows of prepared speech as Parquet shards, each whole or not at all.

Knows the schema and the file names; what a row means is in shards.py, which reads them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.config import to_dict
from mamtra_cli.engine.preparing.shards import COLUMNS, KEY, SUFFIX, ShardHeader, arrow_parts
from mamtra_cli.publish import flush, output_errors, written_whole

GROUP_ROWS = 1024
SHARD_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class Row:
    """One utterance.

    Attributes:
        id: unique in its input.
        text: what is said; text_ids: the same as the model reads it.
        speech_tokens: what the tokenizer heard, or the model said: one frame after the other.
        speaker: (speaker_dim,) float32, or `None`.
        seconds: of the audio, or of the tokens where there was none.
        source: where it came from, relative to its input.
        sha256: of audio and text as they were read.
    """

    id: str
    text: str
    text_ids: Sequence[int]
    speech_tokens: Sequence[int]
    speaker: NDArray[np.float32] | None
    seconds: float
    source: str
    sha256: str


class ShardWriter:
    """Writes rows into numbered shards; a shard has its name only when it is whole.

    Args:
        folder: of the shards; made where it is missing.
        header: of each.
        prefix: of the file names, `<prefix>-00000.parquet`; numbers that exist are skipped.
        shard_rows: rows of a shard at most.

    Use as a context manager: rows added before an interruption or an error are written too.
    """

    def __init__(
        self,
        folder: Path,
        header: ShardHeader,
        *,
        prefix: str = "rows",
        shard_rows: int = SHARD_ROWS,
    ) -> None:
        if shard_rows < 1:
            raise ValueError(f"a shard has at least one row, got {shard_rows}")
        self.folder = folder
        self.header = header
        self.prefix = prefix
        self.shard_rows = shard_rows
        self.rows: list[Row] = []
        self.written: list[Path] = []
        self._number = 0

    def add(self, row: Row) -> Path | None:
        """Add a row; return the shard that it filled, if it filled one."""
        self.rows.append(row)
        return self.finish() if len(self.rows) >= self.shard_rows else None

    def finish(self) -> Path | None:
        """Write the rows at hand as a shard."""
        if not self.rows:
            return None
        while (path := self._path()).exists():
            self._number += 1
        write_shard(path, self.rows, self.header)
        self.written.append(path)
        self.rows = []
        return path

    def _path(self) -> Path:
        return self.folder / f"{self.prefix}-{self._number:05}{SUFFIX}"

    def __enter__(self) -> Self:
        with output_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.finish()


def write_shard(path: Path, rows: Sequence[Row], header: ShardHeader) -> None:
    """Write a shard whole or not at all, replacing one of that name."""
    arrow, parquet = arrow_parts()
    columns = {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    columns["speaker"] = [None if row.speaker is None else row.speaker.tolist() for row in rows]
    table = arrow.table(columns, schema=schema(header))
    with written_whole(path) as partial:
        parquet.write_table(
            table,
            partial,
            row_group_size=GROUP_ROWS,
            compression="zstd",
            write_page_checksum=True,
        )
    flush(path.parent)


def schema(header: ShardHeader) -> Any:
    """Return the Arrow schema of a shard, the header in its metadata."""
    arrow, _ = arrow_parts()
    ids = arrow.list_(arrow.int32())
    fields = [
        ("id", arrow.string()),
        ("text", arrow.string()),
        ("text_ids", ids),
        ("speech_tokens", ids),
        ("speaker", arrow.list_(arrow.float32(), header.speaker_dim)),
        ("seconds", arrow.float32()),
        ("source", arrow.string()),
        ("sha256", arrow.string()),
    ]
    return arrow.schema(fields, metadata={KEY: json.dumps(to_dict(header))})
