"""What the tests of `convert` share: a teacher, and a quick recipe for it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.tiny_model import write_tiny_model

from mamtra_cli.recipes import ConvertRecipe

QUICK = ConvertRecipe(
    placement="block-begin", calibration_tokens=400, check_tokens=200, device="cpu"
)


def write_teacher(folder: Path) -> Path:
    """A tiny model, and beside it pairs of text and tokens in pairs.jsonl."""
    lines = [
        json.dumps({"text": f"Word number {i}.", "tokens": [(7 * i + j) % 49 for j in range(20)]})
        for i in range(60)
    ]
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    return write_tiny_model(folder / "teacher")


def of(teacher: Path, output: Path, **knobs: Any) -> ConvertRecipe:
    """A quick conversion on the pairs beside the teacher, if there are any."""
    pairs = teacher.parent / "pairs.jsonl"
    data = pairs if pairs.is_file() else None
    return replace(QUICK, **{"teacher": str(teacher), "output": output, "data": data, **knobs})
