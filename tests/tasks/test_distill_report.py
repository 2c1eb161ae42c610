"""The report that ends `distill`: it is written, told, and never costs the trained student."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tests.tiny_model import CODES, SYMBOLS, write_tiny_model

from mamtra_cli.cli.app import run
from mamtra_cli.engine.judging import evaluation
from mamtra_cli.engine.lessons.examples import write_examples
from mamtra_cli.engine.model import Engine
from mamtra_cli.families.lessons import Example
from mamtra_cli.recipes import ConvertRecipe
from mamtra_cli.tasks import distill as task
from mamtra_cli.tasks.convert import convert


class Deaf:
    """Ears that always hear the same wrong word."""

    about = {"name": "deaf"}  # noqa: RUF012

    def transcribe(self, wave: NDArray[np.float32], rate: int) -> str:
        return "nothing"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher that ends its speech, its student, and pairs."""
    folder = tmp_path_factory.mktemp("report")
    torch.manual_seed(0)
    write_tiny_model(folder / "teacher", source_filter=True)
    path = folder / "teacher" / "lm.safetensors"
    tensors = load_file(path)
    tensors["llm_decoder.bias"][CODES] += 8
    save_file(tensors, path, {"format": "pt"})
    teacher = str(folder / "teacher")
    output = folder / "student"
    convert(
        ConvertRecipe(
            placement="block-begin",
            teacher=teacher,
            output=output,
            calibrate="none",
            check_tokens=0,
            device="cpu",
        )
    )
    generator = torch.Generator().manual_seed(0)
    examples = [
        Example(
            id=f"e{i}",
            text_ids=tuple(torch.randint(SYMBOLS, (6,), generator=generator).tolist()),
            tokens=tuple(torch.randint(CODES, (14,), generator=generator).tolist()),
        )
        for i in range(10)
    ]
    write_examples(folder / "pairs.jsonl", examples)
    return folder


@pytest.fixture
def ears(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jiwer")

    def open_ears(spec: str, texts: Sequence[str], engine: Engine, language: str) -> Deaf:
        return Deaf()

    monkeypatch.setattr(evaluation, "open_recogniser", open_ears)


def arguments(student: Path, data: Path, output: Path, *more: str) -> list[str]:
    given = ["distill", str(student), "-o", str(output), "--data", str(data), "--steps", "1"]
    given += ["--batch-tokens", "60", "--check-tokens", "0", "--device", "cpu", "--no-plot"]
    return [*given, *more]


@pytest.mark.usefixtures("ears")
def test_run_ends_with_student_and_teacher_heard(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = tmp_path / "tuned"
    given = arguments(models / "student", models / "pairs.jsonl", tuned, "--report-sentences", "2")
    assert run([*given, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["report"] == str(tuned / "report" / "report.md")
    files = {Path(name).relative_to(tuned / "report").as_posix() for name in told["report_files"]}
    assert {"report.md", "result.json", "records.jsonl", "audio/01-teacher.flac"} <= files
    assert all(Path(name).is_file() for name in told["report_files"])
    assert told["scores"]["values"]["wer"] == told["teacher_scores"]["values"]["wer"] == 1.0
    assert told["difference"]["values"]["kl"] > 0
    text = (tuned / "report" / "report.md").read_text("utf-8")
    assert f"mamtra eval {tuned} --teacher {models / 'teacher'} --sentences 2" in text


@pytest.mark.usefixtures("ears")
def test_report_of_a_student_is_not_inherited(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = arguments(models / "student", models / "pairs.jsonl", tmp_path / "one")
    assert run([*first, "--report-sentences", "2"]) == 0
    out = capsys.readouterr().out
    assert "heard   100.0 % (100.0 to 100.0) of words wrong, teacher 100.0 %" in out
    assert f"report  {tmp_path / 'one' / 'report' / 'report.md'}" in out
    again = arguments(tmp_path / "one", models / "pairs.jsonl", tmp_path / "two", "--no-report")
    assert run(again) == 0
    assert not (tmp_path / "two" / "report").exists()


def test_missing_recogniser_is_a_warning_with_the_command(
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    monkeypatch.setitem(sys.modules, "jiwer", None)
    tuned = tmp_path / "tuned"
    assert run([*arguments(models / "student", models / "pairs.jsonl", tuned), "--json"]) == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["report"] is None
    assert "mamtra-cli[eval]" in told["absent"]["report"]
    assert f"`{tuned}` is complete, make it with `mamtra eval {tuned}" in captured.err
    Engine.load(str(tuned), device="cpu").ready("lm")


@pytest.mark.parametrize(("error", "code"), [(OSError("broken"), 0), (KeyboardInterrupt(), 130)])
def test_whatever_happens_to_the_report_the_student_is_there(
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
) -> None:
    def fail(*given: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(task, "write_closing_report", fail)
    tuned = tmp_path / "tuned"
    assert run(arguments(models / "student", models / "pairs.jsonl", tuned)) == code
    assert "is complete" in capsys.readouterr().err
    Engine.load(str(tuned), device="cpu").ready("lm")
    assert not (tmp_path / "tuned.run").exists()
