"""The quality curve of a flow: one row a number of steps, gone on with where it stopped."""

import json
import sys
from pathlib import Path

import pytest
from tests.tiny_model import write_tiny_model

from mamtra_cli.recipes import DistillRecipe
from mamtra_cli.tasks.distill import distill

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import few_steps


def test_a_curve_has_the_teacher_and_every_divisor_of_a_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = write_tiny_model(tmp_path / "tiny")
    distill(
        DistillRecipe(
            student=str(tiny), flow_steps=2, output=tmp_path / "short", synthetic=60, steps=1,
            batch_tokens=60, check_tokens=0, device="cpu", report=False, plot=False,
        )
    )  # fmt: skip
    given = ["--teacher", str(tiny), "--student", str(tmp_path / "short"), "--limit", "2"]
    given += ["--judges", "none", "--steps", "1", "3", "--out", str(tmp_path / "curve")]
    few_steps.main(given)
    found = json.loads((tmp_path / "curve.json").read_text())["rows"]
    assert list(found) == ["tiny@1", "tiny@3", "short@1", "short@2"]
    assert [row["evaluations"] for row in found.values()] == [2, 6, 1, 2]
    assert found["tiny@3"]["mel"] == 0
    assert found["tiny@1"]["mel"] > 0
    assert "| short | 2 | 2 |" in (tmp_path / "curve.md").read_text()
    monkeypatch.setattr(few_steps, "measured", None)
    few_steps.main(given)
