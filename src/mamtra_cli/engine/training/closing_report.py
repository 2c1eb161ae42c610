"""The comparison that ends a distillation: student and teacher say a few sentences, in a report.

It is `mamtra eval` with few sentences. Both models are opened anew, so that what is heard is what
was written, and training's memory is free. Knows folders and names.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from mamtra_cli.engine.judging.evaluation import EvalOptions, built_in, compare_models
from mamtra_cli.engine.judging.report import write_report
from mamtra_cli.engine.measuring.meter import environment
from mamtra_cli.engine.model import Engine
from mamtra_cli.events import Report, ignore
from mamtra_cli.recipes.evaluate import Scores

FOLDER = "report"


@dataclass(frozen=True, kw_only=True)
class ClosingReport:
    """A student beside its teacher, and the files that tell of it.

    Attributes:
        path: of `report.md`.
        files: all that was written, that one first.
        student, teacher: scores of each.
        difference: student less teacher, and what compares the two directly.
        absent: measures that could not be taken, and why.
    """

    path: Path
    files: tuple[Path, ...]
    student: Scores
    teacher: Scores
    difference: Scores
    absent: dict[str, str]


def eval_command(student: Path, teacher: str, sentences: int, seed: int) -> str:
    """The command that makes the same report."""
    words = ["mamtra", "eval", str(student), "--teacher", teacher, "--sentences", str(sentences)]
    if seed:
        words += ["--seed", str(seed)]
    return shlex.join([*words, "--report", str(student / FOLDER), "--force"])


def write_closing_report(
    student: Path,
    teacher: str,
    *,
    sentences: int,
    seed: int = 0,
    device: str = "auto",
    report: Report = ignore,
) -> ClosingReport:
    """Let both say the first built-in test sentences, and write the report into the student.

    Raises:
        MissingDependencyError: pocketsphinx or jiwer is not installed.
        AudioRejectedError: one of them spoke no sentence at all.
        OutputError: the report cannot be written.
    """
    ours = Engine.load(str(student), device=device, report=report)
    theirs = Engine.load(teacher, device=device, report=report)
    options = EvalOptions(sentences=built_in(sentences), seed=seed)
    found = compare_models(theirs, ours, options, report)
    assert found.teacher is not None
    assert found.difference is not None
    folder = student / FOLDER
    path = write_report(
        folder,
        found,
        command=eval_command(student, teacher, sentences, seed),
        environment=environment(ours.device),
        force=True,
    )
    others = sorted(file for file in folder.rglob("*") if file.is_file() and file != path)
    return ClosingReport(
        path=path,
        files=(path, *others),
        student=found.student.scores,
        teacher=found.teacher.scores,
        difference=found.difference,
        absent=found.absent,
    )
