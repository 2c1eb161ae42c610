"""The teacher of a conversion is read once, and goes when its memory is wanted."""

from pathlib import Path
from typing import Any

import pytest
from tests.tiny_model import write_tiny_model
from torch import nn

from mamtra_cli.engine.lessons.examples import write_examples
from mamtra_cli.families.folder import Model
from mamtra_cli.families.lessons import Example
from mamtra_cli.recipes import ConvertRecipe
from mamtra_cli.tasks.convert import convert


@pytest.mark.parametrize("placement", ["block-begin", "auto:swap"])
def test_conversion_opens_its_teacher_once_and_reads_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, placement: str
) -> None:
    teacher = write_tiny_model(tmp_path / "teacher")
    examples = [
        Example(id=str(i), text_ids=(1, 2, 3), tokens=tuple((7 * i + j) % 49 for j in range(20)))
        for i in range(60)
    ]
    write_examples(tmp_path / "pairs.jsonl", examples)
    monkeypatch.setenv("MAMTRA_CACHE", str(tmp_path / "cache"))
    opened: list[Path] = []
    read: list[tuple[Path, str]] = []
    plain_init, plain_load = Model.__init__, Model.load

    def opening(self: Model, **given: Any) -> None:
        opened.append(given["folder"])
        plain_init(self, **given)

    def loading(self: Model, part: str, *given: Any) -> nn.Module:
        read.append((self.folder, part))
        return plain_load(self, part, *given)

    monkeypatch.setattr(Model, "__init__", opening)
    monkeypatch.setattr(Model, "load", loading)
    convert(
        ConvertRecipe(
            teacher=str(teacher),
            output=tmp_path / "s",
            data=tmp_path / "pairs.jsonl",
            placement=placement,
            calibration_tokens=400,
            check_tokens=200,
            device="cpu",
        )
    )
    assert opened.count(teacher) == 1
    assert read.count((teacher, "lm")) == 1
