"""An evaluation as a folder: Markdown with tables and plots, records, and sound to listen to.

`report.md` (tables, what judged, environment, command), `result.json` (every figure),
`records.jsonl` (one utterance and model a line), `audio/` (the samples) and, where matplotlib is
installed, `plots/`. Written whole or not at all. Knows what an `Evaluation` is, not how it is made.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mamtra_cli.audio import AudioWriter
from mamtra_cli.checkpoint import FolderWriter
from mamtra_cli.config import dump_json, to_dict
from mamtra_cli.engine.judging.evaluation import Evaluation
from mamtra_cli.engine.judging.plots import draw_plots
from mamtra_cli.engine.judging.scoring import Record
from mamtra_cli.errors import MissingDependencyError
from mamtra_cli.ownership import Kind, entries
from mamtra_cli.publish import write_whole
from mamtra_cli.recipes.score_words import direct_rows, label_of, percent, score_rows

REPORT = "report.md"
RESULT = "result.json"
RECORDS = "records.jsonl"
AUDIO = "audio"
PLOTS = "plots"
SHOWN = 10  # worst utterances in the table
OLDER = re.compile(
    r"(report\.md|result\.json|records\.jsonl|plots/[\w-]+\.png)"
    r"|audio/\d\d-(student|teacher)\.(flac|opus|wav)"
)


def older_files(folder: Path) -> set[str] | None:
    """Names that a version without marks wrote into a report; `None` where the folder is none."""
    if not all((folder / name).is_file() for name in (REPORT, RESULT, RECORDS)):
        return None
    return {name for name in entries(folder) if OLDER.fullmatch(name)}


KIND = Kind(name="report", words="a report", older=older_files)


def record_lines(evaluation: Evaluation) -> Iterator[str]:
    """Every utterance of every model as one JSON object, without its line end."""
    for scored in (evaluation.student, evaluation.teacher):
        for record in scored.records if scored else ():
            fields = to_dict(record)
            errors = {**fields.pop("errors"), "errors": record.errors.errors}
            errors["wer"] = record.errors.rate
            yield json.dumps(
                {"model": scored.model if scored else "", **fields, "failed": record.failed}
                | errors,
                ensure_ascii=False,
                allow_nan=False,
            )


def write_records(path: Path, evaluation: Evaluation, *, replace: bool = True) -> None:
    """Write `record_lines` to a file, whole or not at all."""
    write_whole(path, "".join(f"{line}\n" for line in record_lines(evaluation)), replace=replace)


def write_report(
    folder: Path,
    evaluation: Evaluation,
    *,
    title: str = "",
    command: str = "",
    environment: Mapping[str, Any] | None = None,
    extra: Mapping[str, Mapping[str, Any] | str] | None = None,
    audio_format: str = "flac",
    force: bool = False,
) -> Path:
    """Write a report.

    Args:
        folder: new or empty, unless `force`.
        evaluation: what `evaluation.compare_models` returned.
        title: heading; "" names the models.
        command: the command line that made it, for the reader to repeat.
        environment: machine and versions, as `measure.environment` gives them.
        extra: further sections, heading to a mapping or a text.
        audio_format: of the samples: flac, opus or wav.
        force: replace a report that is there.

    Returns:
        the path of `report.md`.

    Raises:
        OutputError: the folder is not empty, or cannot be written.
    """
    with FolderWriter(folder, kind=KIND, force=force) as writer:
        names = _write_audio(writer.path / AUDIO, evaluation, audio_format)
        plots: dict[str, str] = {}
        missing = ""
        try:
            plots = draw_plots(writer.path / PLOTS, evaluation)
        except MissingDependencyError as error:
            missing = f"No plots: {error.message} (`{error.hint}`)."
        sections = [
            f"# {title or _title(evaluation)}",
            _scores_section(evaluation),
            _direct_section(evaluation),
            _seeds_section(evaluation),
            _absent_section(evaluation),
            "\n\n".join([missing, *(f"![{text}]({PLOTS}/{file})" for file, text in plots.items())]),
            _samples_section(names, evaluation),
            _worst_section(evaluation),
            *(_extra_section(name, value) for name, value in (extra or {}).items()),
            _how_section(evaluation, command, environment or {}),
        ]
        text = "\n\n".join(section.strip() for section in sections if section.strip())
        writer.write_text(REPORT, text + "\n")
        writer.write_text(RECORDS, "".join(f"{line}\n" for line in record_lines(evaluation)))
        writer.write_text(RESULT, dump_json(summary(evaluation, command, environment or {})))
    return folder / REPORT


def summary(
    evaluation: Evaluation, command: str = "", environment: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Every figure of an evaluation as plain data, without records and sound."""
    teacher = evaluation.teacher
    return {
        "model": evaluation.student.model,
        "teacher_model": teacher.model if teacher else "",
        "headline": evaluation.headline,
        "rules": evaluation.rules,
        "scores": to_dict(evaluation.student.scores),
        "teacher": to_dict(teacher.scores) if teacher else None,
        "difference": to_dict(evaluation.difference) if evaluation.difference else None,
        "absent": evaluation.absent,
        "recogniser": evaluation.recogniser,
        "similarity": evaluation.similarity,
        "utmos": evaluation.utmos,
        "mos": evaluation.mos,
        "environment": dict(environment or {}),
        "command": command,
    }


def markdown_table(
    head: tuple[str, ...], rows: Iterator[tuple[str, ...]], *, words: int = 1
) -> str:
    """Return a Markdown table: so many columns of words, then numbers to the right."""
    lines = [head, tuple("---" if place < words else "---:" for place in range(len(head))), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _prose(text: str) -> str:
    """Return what was said or heard so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_<>\[\]])", r"\\\1", text).replace("\n", " ")


def _title(evaluation: Evaluation) -> str:
    student = evaluation.student.model
    return f"{student} against {evaluation.teacher.model}" if evaluation.teacher else student


def _scores_section(evaluation: Evaluation) -> str:
    student, teacher = evaluation.student, evaluation.teacher
    head: tuple[str, ...] = ("", student.model)
    if teacher is not None:
        head = ("", student.model, f"{teacher.model} (teacher)", "difference")
    rows = score_rows(
        student.scores,
        teacher.scores if teacher else None,
        evaluation.difference,
        evaluation.rules,
    )
    sentences = len({record.id for record in student.records})
    values = student.scores.values
    about = (
        f"{sentences} sentences, {values['words']:.0f} words, {values['audio_s']:.0f} s of speech, "
        f"seeds {len(student.scores.by_seed)}. In brackets: 95 % bootstrap intervals over "
        "sentences; those of differences are paired."
    )
    return f"## Scores\n\n{markdown_table(head, rows)}\n\n{about}"


def _direct_section(evaluation: Evaluation) -> str:
    if evaluation.difference is None:
        return ""
    table = markdown_table(("student to teacher", ""), direct_rows(evaluation.difference))
    return f"## Closeness\n\n{table}"


def _seeds_section(evaluation: Evaluation) -> str:
    if len(evaluation.student.scores.by_seed) < 2:
        return ""
    lines = []
    for scored in (evaluation.student, evaluation.teacher):
        if scored is not None:
            figures = ", ".join(percent(value) for value in scored.scores.by_seed)
            spread = 100 * (scored.scores.spread or 0.0)
            lines.append(f"- {scored.model}: {figures}; standard deviation {spread:.1f} points")
    name = label_of(evaluation.headline, evaluation.rules)
    return f"## Seed by seed, {name}\n\n" + "\n".join(lines)


def _absent_section(evaluation: Evaluation) -> str:
    if not evaluation.absent:
        return ""
    lines = [f"- {name}: {reason}" for name, reason in evaluation.absent.items()]
    return "## Not measured\n\n" + "\n".join(lines)


def _samples_section(names: list[dict[str, str]], evaluation: Evaluation) -> str:
    if not names:
        return ""
    lines = []
    for files, sample in zip(names, evaluation.samples, strict=True):
        links = ", ".join(f"[{who}]({AUDIO}/{file})" for who, file in files.items())
        heard = _prose(sample.student.heard) or "-"
        lines.append(f"- {_prose(sample.student.text)} ({links}; heard: {heard})")
    return "## Listen\n\n" + "\n".join(lines)


def _worst_section(evaluation: Evaluation) -> str:
    def errors(record: Record) -> float:
        return -record.errors.rate

    bad = [one for one in evaluation.student.records if one.refused or one.errors.errors]
    worst = sorted(bad, key=errors)[:SHOWN]
    if not worst:
        return ""
    rows = (
        (
            _prose(one.text),
            _prose(one.heard) or ("refused: " + ", ".join(one.causes) if one.refused else "-"),
            percent(one.errors.rate),
        )
        for one in worst
    )
    return f"## Worst utterances\n\n{markdown_table(('said', 'heard', 'errors'), rows, words=2)}"


def _extra_section(name: str, value: Mapping[str, Any] | str) -> str:
    if isinstance(value, str):
        return f"## {name}\n\n{value}"
    return f"## {name}\n\n" + "\n".join(f"- {key}: {item}" for key, item in value.items())


def _how_section(evaluation: Evaluation, command: str, environment: Mapping[str, Any]) -> str:
    lines = []
    for kind, facts in (
        ("recogniser", evaluation.recogniser),
        ("similarity", evaluation.similarity),
        ("utmos", evaluation.utmos),
        ("mos", evaluation.mos),
        ("environment", environment),
    ):
        if facts:
            lines.append(f"- {kind}: " + ", ".join(f"{k} {v}" for k, v in facts.items()))
    lines.append(f"- rules for words: {evaluation.rules}; headline: {evaluation.headline}")
    if command:
        lines.append(f"\n```\n{command}\n```")
    return "## How it was measured\n\n" + "\n".join(lines)


def _write_audio(folder: Path, evaluation: Evaluation, form: str) -> list[dict[str, str]]:
    """Write the samples; returns who spoke to the file's name, a sample each."""
    found = []
    for number, sample in enumerate(evaluation.samples, 1):
        folder.mkdir(exist_ok=True)
        files = {}
        for who, wave in (("student", sample.student_wave), ("teacher", sample.teacher_wave)):
            if wave is None:
                continue
            files[who] = f"{number:02d}-{who}.{form}"
            with AudioWriter(
                folder / files[who], sample_rate=evaluation.sample_rate, format=form
            ) as writer:
                writer.write(wave)
        found.append(files)
    return found
