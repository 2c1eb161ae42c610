"""What the tests of `prepare` share: a run, and what it left."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mamtra_cli.engine.preparing.shards import read_rows
from mamtra_cli.recipes import PrepareRecipe, PrepareResult
from mamtra_cli.tasks.prepare import prepare


def made(corpus: Path, output: Path, **changes: Any) -> PrepareResult:
    recipe = PrepareRecipe(input=str(corpus), output=output, device="cpu", threads=1, plot=False)
    return prepare(replace(recipe, **changes))


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    found = [row for path in sorted(folder.glob("*.parquet")) for row in read_rows(path)]
    assert len({row["id"] for row in found}) == len(found)
    return {row["id"]: row for row in found}


def listed(folder: Path) -> dict[str, str]:
    lines = (folder / "bad.jsonl").read_text().splitlines()
    return {record["id"]: record["code"] for record in map(json.loads, lines)}


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
