"""Score a model by what is heard, its teacher beside it, and keep the limits that the user set.

Files to sentences and results to files; what is measured, and how, is in
`engine/judging/evaluation.py`.
"""

import json
import shlex
import sys
from pathlib import Path

from mamtra_cli.audio import FORMATS, check_output
from mamtra_cli.checkpoint import PROVENANCE, read_json
from mamtra_cli.config import nearest, parse_json
from mamtra_cli.engine.judging.blind import KIND as BLIND
from mamtra_cli.engine.judging.blind import write_blind
from mamtra_cli.engine.judging.evaluation import (
    EvalOptions,
    Evaluation,
    built_in,
    compare_models,
)
from mamtra_cli.engine.judging.metrics import plain_words
from mamtra_cli.engine.judging.recognise import english_rules
from mamtra_cli.engine.judging.report import KIND as REPORT
from mamtra_cli.engine.judging.report import write_records, write_report
from mamtra_cli.engine.judging.seed_tts import Sentence, read_list
from mamtra_cli.engine.measuring.meter import environment
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import (
    DataError,
    LimitMissedError,
    MamtraError,
    ModelNotFoundError,
    UsageError,
)
from mamtra_cli.events import Note, Report, ignore
from mamtra_cli.privacy import redacted
from mamtra_cli.publish import check_free
from mamtra_cli.recipes.evaluate import BlindResult, EvalRecipe, EvalResult, LimitCheck
from mamtra_cli.text.encoding import read_text

NO_TEACHER = NO_SIMILARITY = "none"
LANGUAGES = ("en", "zh")


def evaluate(recipe: EvalRecipe, report: Report = ignore) -> EvalResult:
    """Score a model, and its teacher in the same run where it has one.

    Raises:
        MissingDependencyError: a package that the recipe asks for is not installed.
        DataError: the sentences cannot be used.
        OutputError: an output exists or cannot be written.
    """
    check(recipe)
    said = sentences(recipe)
    absent: dict[str, str] = {}
    engine = load(recipe, recipe.model, report)
    teacher = open_teacher(recipe, engine, absent, report)
    if recipe.max_wer_increase is not None and teacher is None:
        raise UsageError(
            f"`--max-wer-increase` needs a teacher, and `{recipe.model}` names none",
            "name it with `--teacher`",
        )
    listed = recipe.list_file is not None
    options = EvalOptions(
        sentences=said,
        rules=rules(recipe),
        headline="wer_mean" if listed else "wer",
        voice=recipe.voice,
        recogniser=recipe.asr,
        similarity=recipe.similarity,
        utmos=recipe.utmos,
        mos=recipe.mos,
        seed=recipe.seed,
        seeds=recipe.seeds,
        retries=recipe.retries,
        rows=recipe.rows,
        rounds=recipe.rounds,
        samples=recipe.samples if recipe.report is not None else 0,
    )
    found = compare_models(teacher, engine, options, report)
    facts = environment(engine.device) | {
        "seed": recipe.seed,
        "seeds": recipe.seeds,
        "retries": recipe.retries,
        "voice": recipe.voice or "the model's first",
        "sentences": str(recipe.list_file or recipe.data or "built-in"),
        "sampling": str(engine.sampling),
    }
    if recipe.report is not None:
        write_report(
            recipe.report,
            found,
            command=command_line(),
            environment=facts,
            audio_format=recipe.audio_format,
            force=recipe.force,
        )
    if recipe.records is not None:
        write_records(recipe.records, found, replace=recipe.force)
    return EvalResult(
        model=engine.name,
        teacher_model=teacher.name if teacher else "",
        sentences=len(said),
        headline=found.headline,
        rules=found.rules,
        scores=found.student.scores,
        teacher=found.teacher.scores if found.teacher else None,
        difference=found.difference,
        absent=found.absent | absent,
        limits=tuple(limits(recipe, found)),
        recogniser=found.recogniser,
        similarity=found.similarity,
        utmos=found.utmos,
        mos=found.mos,
        environment=facts,
        report=recipe.report,
        records=recipe.records,
    )


def compare_blind(recipe: EvalRecipe, report: Report = ignore) -> BlindResult:
    """Write the page of `--ab`.

    Raises:
        UsageError: there is no teacher to compare with.
        OutputError: the folder is not empty, or cannot be written.
    """
    check(recipe)
    assert recipe.ab is not None
    said = sentences(recipe)
    engine = load(recipe, recipe.model, report)
    teacher = open_teacher(recipe, engine, {}, report)
    if teacher is None:
        raise UsageError("`--ab` compares two models", "name the other one with `--teacher`")
    compared = write_blind(
        recipe.ab,
        (engine, teacher),
        said,
        voice=recipe.voice,
        seed=recipe.seed,
        retries=recipe.retries,
        audio_format=recipe.audio_format,
        force=recipe.force,
        report=report,
    )
    return BlindResult(
        model=engine.name,
        teacher_model=teacher.name,
        sentences=compared,
        page=recipe.ab / "index.html",
    )


def rules(recipe: EvalRecipe) -> str:
    """What a word is: as the list's authors say, as Whisper writes, or plain."""
    if recipe.list_file is not None:
        return f"seed-tts-{recipe.language}"
    return english_rules(recipe.asr)


def check(recipe: EvalRecipe) -> None:
    """Refuse what cannot work before anything is loaded."""
    if not recipe.model:
        raise UsageError("no model is given", "`mamtra eval mini`")
    if min(recipe.sentences, recipe.seeds, recipe.rows, recipe.rounds) < 1:
        raise UsageError("sentences, seeds, rows and rounds are 1 or more")
    if min(recipe.retries, recipe.samples, recipe.limit) < 0:
        raise UsageError("retries, samples and the limit are 0 or more")
    if recipe.data is not None and recipe.list_file is not None:
        raise UsageError("`--data` and `--list` exclude each other")
    if recipe.language not in LANGUAGES:
        raise UsageError(f"unknown language `{recipe.language}`", "one of: en, zh")
    if recipe.audio_format not in FORMATS:
        near = nearest(recipe.audio_format, FORMATS)
        known = f"did you mean `{near}`?" if near else f"one of: {', '.join(FORMATS)}"
        raise UsageError(f"unknown audio format `{recipe.audio_format}`", known)
    if recipe.report is not None:
        check_free(recipe.report, force=recipe.force, kind=REPORT)
    if recipe.ab is not None:
        if recipe.report is not None or recipe.records is not None:
            raise UsageError("`--ab` scores nothing", "run it without `--report` and `--records`")
        check_free(recipe.ab, force=recipe.force, kind=BLIND)
    if recipe.records is not None:
        check_output(recipe.records, force=recipe.force)
    if recipe.max_wer_increase is not None and recipe.teacher == NO_TEACHER:
        raise UsageError("`--max-wer-increase` needs a teacher", "drop `--teacher none`")
    if recipe.min_similarity is not None and recipe.similarity == NO_SIMILARITY:
        raise UsageError("`--min-similarity` needs a judge of voices", "drop `--sim none`")


def sentences(recipe: EvalRecipe) -> list[Sentence]:
    """What to say: of a list, of a file (lines, or JSONL with `text`), or built-in sentences."""
    if recipe.list_file is not None:
        return read_list(recipe.list_file, recipe.limit)
    if recipe.data is None:
        return built_in(recipe.sentences)
    lines = read_text(recipe.data, absent=DataError, foreign=DataError).split("\n")
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    texts = [_text(line, number, recipe.data) for number, line in numbered]
    if not texts:
        raise DataError(f"`{recipe.data}` holds no sentences", "write one sentence a line")
    return [Sentence(id=f"s{i:04d}", text=text) for i, text in enumerate(texts[: recipe.sentences])]


def load(recipe: EvalRecipe, name: str, report: Report) -> Engine:
    """Open a model as the recipe says."""
    return Engine.load(
        name, device=recipe.device, dtype=recipe.dtype, threads=recipe.threads, report=report
    )


def open_teacher(
    recipe: EvalRecipe, engine: Engine, absent: dict[str, str], report: Report
) -> Engine | None:
    """The teacher to compare with; one that nobody named may be missing, which is told."""
    if recipe.teacher == NO_TEACHER:
        return None
    name = recipe.teacher or own_teacher(engine)
    if not name:
        return None
    try:
        return load(recipe, name, report)
    except ModelNotFoundError as error:
        if recipe.teacher or recipe.max_wer_increase is not None:
            raise
        absent["teacher"] = error.message
        report(
            Note(
                text=f"no comparison with the teacher: {error.message}; name it with `--teacher`",
                warning=True,
            )
        )
        return None


def own_teacher(engine: Engine) -> str:
    """The model that this one was made from, as its folder tells; "" for none."""
    path = engine.folder / PROVENANCE
    told = read_json(path).get("recipe") if path.is_file() else None
    name = told.get("teacher", "") if isinstance(told, dict) else ""
    return name if isinstance(name, str) else ""


def command_line() -> str:
    """The command that runs, without secrets, where it is `mamtra`; "" in another program."""
    program = Path(sys.argv[0]).name
    if program not in ("mamtra", "mamtra.exe", "__main__.py"):
        return ""
    return redacted(shlex.join(["mamtra", *sys.argv[1:]]))


def limits(recipe: EvalRecipe, found: Evaluation) -> list[LimitCheck]:
    """Every limit that was set, with what was measured. Rates are percentages.

    Raises:
        UsageError: a limit on something that could not be measured.
    """
    scores = found.student.scores.values
    change = found.difference.values if found.difference else {}
    asked = (
        ("--max-wer", recipe.max_wer, scores, found.headline, 100, 1),
        ("--max-wer-increase", recipe.max_wer_increase, change, found.headline, 100, 1),
        ("--max-failures", recipe.max_failures, scores, "failed", 100, 1),
        ("--min-similarity", recipe.min_similarity, scores, "similarity", 1, -1),
    )
    checks = []
    for option, limit, values, name, scale, sign in asked:
        if limit is None:
            continue
        if name not in values:
            why = found.absent.get(name, "there is no teacher to compare with")
            raise UsageError(f"`{option}` cannot be checked: {why}")
        value = scale * values[name]
        checks.append(
            LimitCheck(option=option, limit=limit, value=value, missed=sign * (value - limit) > 0)
        )
    return checks


def missed(result: EvalResult) -> MamtraError | None:
    """The error that names every limit the model missed, if any."""
    parts = [
        f"`{check.option} {check.limit:g}` (measured {check.value:.4g})"
        for check in result.limits
        if check.missed
    ]
    return LimitMissedError(f"missed {', '.join(parts)}") if parts else None


def _text(line: str, number: int, path: Path) -> str:
    """A sentence of a line of plain text, or of a JSON object with `text`."""
    text: object = line.strip()
    if line.lstrip().startswith("{"):
        try:
            text = parse_json(line).get("text")
        except json.JSONDecodeError as error:
            raise DataError(f"line {number} of `{path}` is not JSON: {error.msg}") from error
    if not isinstance(text, str):
        raise DataError(f"line {number} of `{path}` has no `text`")
    if not plain_words(text):
        raise DataError(f"line {number} of `{path}` has no words to hear", "leave it out")
    return text
