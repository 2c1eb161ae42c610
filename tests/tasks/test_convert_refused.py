"""Conversions that cannot be, or must not: each is refused with the fix and leaves nothing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.tasks.converting import of, write_teacher
from tests.tiny_model import write_tiny_model

from mamtra_cli.errors import CheckpointError, MamtraError, OutputError, PlanError, UsageError
from mamtra_cli.recipes import ConvertRecipe
from mamtra_cli.tasks.convert import convert


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_teacher(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize(
    ("knobs", "error", "words", "hint"),
    [
        pytest.param(
            {"ratio": "1:2"}, PlanError, "does not fit 4 layers", "1:1 and 1:3", id="ratio"
        ),
        pytest.param({"ratio": "1:0"}, PlanError, "converts no layer", "1:1", id="nothing"),
        pytest.param({"placement": "sprad"}, PlanError, "`sprad`", "spread", id="placement"),
        pytest.param({"plan": "T=9"}, PlanError, "9", "", id="plan"),
        pytest.param({"mixer": "mamba2"}, UsageError, "`mamba2`", "mamba2-gqa", id="mixer"),
        pytest.param({"gate": "half"}, UsageError, "`half`", "none, full", id="gate"),
        pytest.param({"init": "copy"}, UsageError, "`--init copy`", "transfer", id="init"),
        pytest.param({"calibrate": "l2"}, UsageError, "`--calibrate l2`", "ls", id="calibrate"),
        pytest.param({"ridge": 0.0}, UsageError, "`--ridge 0`", "0.03", id="ridge"),
        pytest.param({"ridge": float("nan")}, UsageError, "`--ridge nan`", "0.03", id="no-ridge"),
        pytest.param({"dtype": "int4"}, UsageError, "`int4`", "int8", id="dtype"),
        pytest.param({"teacher": ""}, UsageError, "no teacher", "mini", id="teacher"),
        pytest.param({"output": None}, UsageError, "no output", "-o", id="output"),
        pytest.param({"plan": "pattern:TQ"}, PlanError, "`Q`", "M Mamba-2", id="no-such-kind"),
        pytest.param({"plan": "pattern:TN"}, PlanError, "N", "M or S", id="not-of-this-model"),
    ],
)
def test_recipe_that_cannot_be_is_refused_with_the_fix(
    teacher: Path,
    tmp_path: Path,
    knobs: dict[str, Any],
    error: type[MamtraError],
    words: str,
    hint: str,
) -> None:
    with pytest.raises(error) as said:
        convert(replace(of(teacher, tmp_path / "s"), **knobs))
    assert words in said.value.message
    assert hint in (said.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_hybrid_cannot_be_the_teacher(teacher: Path, tmp_path: Path) -> None:
    student = tmp_path / "student"
    convert(of(teacher, student, calibrate="none", check_tokens=0))
    with pytest.raises(PlanError, match="is a hybrid already"):
        convert(of(student, tmp_path / "s"))


def test_teacher_is_not_overwritten_by_its_student(tmp_path: Path) -> None:
    teacher = write_tiny_model(tmp_path / "teacher")
    with pytest.raises(OutputError, match="the teacher's own folder"):
        convert(of(teacher, teacher, force=True))


@pytest.mark.parametrize("what", ["truncated", "missing", "shape", "names"])
def test_bad_weights_are_refused_and_leave_nothing(tmp_path: Path, what: str) -> None:
    teacher = write_tiny_model(tmp_path / "teacher")
    path = teacher / "lm.safetensors"
    if what == "truncated":
        path.write_bytes(path.read_bytes()[:-10])
    elif what == "missing":
        path.unlink()
    else:
        config = json.loads((teacher / "config.json").read_text())
        config["config"]["lm"].update({"d_ff": 24} if what == "shape" else {"n_layers": 6})
        (teacher / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError) as said:
        convert(of(teacher, tmp_path / "s", ratio="1:1"))
    assert "lm" in said.value.message
    assert [entry.name for entry in tmp_path.iterdir()] == ["teacher"]


def test_link_that_leads_out_of_the_teacher_is_refused_and_weights_may_be_one(
    teacher: Path, tmp_path: Path
) -> None:
    shutil.copytree(teacher, tmp_path / "teacher")
    (tmp_path / "secret").write_text("of this machine")
    weights = tmp_path / "teacher" / "flow.safetensors"
    weights.rename(tmp_path / "elsewhere.safetensors")
    weights.symlink_to(tmp_path / "elsewhere.safetensors")
    recipe = ConvertRecipe(
        teacher=str(tmp_path / "teacher"),
        output=tmp_path / "student",
        calibrate="none",
        check_tokens=0,
    )
    convert(recipe)
    assert (tmp_path / "student" / "flow.safetensors").is_file()
    (tmp_path / "teacher" / "notes.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match=r"`notes\.txt` is a link that leads out"):
        convert(replace(recipe, output=tmp_path / "other"))
    assert not (tmp_path / "other").exists()
