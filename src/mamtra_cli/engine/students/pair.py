"""A student and its teacher, opened together and checked against each other.

Frozen tensors that both have in common are held once. Knows folders and names, no losses.
"""

from dataclasses import dataclass

import torch

from mamtra_cli.checkpoint import PROVENANCE, read_json
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import PlanError, UsageError
from mamtra_cli.events import Report


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two models of a run."""

    teacher: Engine
    student: Engine


def open_pair(student_name: str, teacher_name: str, device: str, report: Report) -> Pair:
    """Open both models and check that one can teach the other.

    Args:
        student_name: the converted model.
        teacher_name: its teacher; "" is the model it was converted from.
        device: of both.
        report: hears of downloads.
    """
    if not student_name:
        raise UsageError("no student is given", "`mamtra distill student -o student-tuned`")
    # Training keeps float32 weights; half precision is a matter of autocast.
    student = Engine.load(student_name, device=device, dtype="float32", report=report)
    if student.model is not None and student.model.published:
        raise UsageError(
            f"`{student_name}` is a published model, not a converted one",
            f"convert it first, `mamtra convert {student_name} -o student`",
        )
    if not teacher_name and not student.lessons.stack.config.plan.converted:
        raise UsageError(
            f"nothing of `{student_name}` is converted",
            f"convert it first, `mamtra convert {student_name} -o student`",
        )
    name, files = (teacher_name, ()) if teacher_name else teacher_of(student)
    teacher = Engine.load(name, device=device, dtype="float32", files=files, report=report)
    ours, theirs = _sizes(student), _sizes(teacher)
    for field in ours:
        if ours[field] != theirs[field]:
            raise PlanError(
                f"`{name}` cannot teach `{student_name}`: `{field}` is {theirs[field]} and "
                f"{ours[field]}",
                "name the model the student was converted from, `--teacher`",
            )
    return Pair(teacher=teacher, student=student)


def _sizes(engine: Engine) -> dict[str, object]:
    """What a teacher and its student have in common, by the name it has in an error."""
    facts = engine.facts
    return {
        "family": engine.family.name,
        "codebooks": facts.codebooks,
        "speech_vocab": facts.codes,
        "vocab_size": facts.text_ids,
        "n_layers": None if facts.stack is None else facts.stack.n_layers,
        "d_model": None if facts.stack is None else facts.stack.d_model,
    }


def teacher_of(student: Engine) -> tuple[str, tuple[str, ...]]:
    """The model a student was converted from, as its folder tells, and the files of its parts."""
    path = student.folder / PROVENANCE
    told = read_json(path).get("recipe", {}) if path.is_file() else {}
    name = told.get("teacher") if isinstance(told, dict) else None
    if not isinstance(name, str) or not name:
        raise UsageError(
            f"`{student.name}` does not tell which model it was converted from",
            "name it with `--teacher`",
        )
    return name, tuple(map(str, told.get("part") or ()))


def share_frozen(pair: Pair) -> None:
    """Hold frozen tensors that teacher and student have in common once."""
    theirs = dict(pair.teacher.lessons.lm.named_parameters())
    for name, parameter in pair.student.lessons.lm.named_parameters():
        other = theirs.get(name)
        if parameter.requires_grad or other is None or other.shape != parameter.shape:
            continue
        if torch.equal(parameter, other):
            parameter.data = other.data
