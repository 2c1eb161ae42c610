"""Finished work of a study, one JSON object a line, so that a stopped study goes on where it was.

A line has `kind` and `key`; the first line of a key stands. Lines are appended whole and flushed;
a last line that a crash cut off is dropped when the file is read.
"""

import json
from pathlib import Path
from typing import Any


class Ledger:
    """A JSONL file read as a table.

    Args:
        path: the file; made with the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[tuple[str, str], dict[str, Any]] = {}
        if not path.exists():
            return
        whole = []
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            whole.append(line if line.endswith("\n") else line + "\n")
            self.lines.setdefault((entry["kind"], entry["key"]), entry)
        kept = "".join(whole)
        if kept != path.read_text(encoding="utf-8"):
            path.write_text(kept, encoding="utf-8")

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """The entry of a key, or None."""
        return self.lines.get((kind, key))

    def put(self, kind: str, key: str, **values: Any) -> dict[str, Any]:
        """Add an entry."""
        entry = {"kind": kind, "key": key, **values}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
        self.lines[kind, key] = entry
        return entry
