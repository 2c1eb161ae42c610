"""The folder of a trained student: its old one with other tensors, card, records and provenance.

Written whole or not at all. Knows what a run leaves behind, not how it was trained.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mamtra_cli import __version__
from mamtra_cli.card import CardFacts, model_card, read_license
from mamtra_cli.checkpoint import PROVENANCE, README, SUFFIX, FolderWriter
from mamtra_cli.config import dump_json, to_dict
from mamtra_cli.engine.students.folder import REDUCED
from mamtra_cli.engine.students.pair import Pair
from mamtra_cli.engine.training.closing_report import FOLDER as REPORT
from mamtra_cli.engine.training.curves import draw_curves
from mamtra_cli.engine.training.stages import ALIGN, BOARD, OWN, STAGES
from mamtra_cli.engine.training.trainer import METRICS_FILE, read_metrics
from mamtra_cli.errors import MissingDependencyError
from mamtra_cli.events import Note, Report, Stage
from mamtra_cli.families.folder import Source
from mamtra_cli.privacy import without_paths
from mamtra_cli.publish import output_errors
from mamtra_cli.recipes.distill import DistillRecipe, DistillResult
from mamtra_cli.recipes.shared import stored
from mamtra_cli.tensors import SCALE, encode

CURVES = "curves.png"
METRICS_FILES = {"": METRICS_FILE, ALIGN: "metrics-align.jsonl", OWN: "metrics-own.jsonl"}
REMADE = (CURVES, BOARD, REPORT, *METRICS_FILES.values())
"""Records of a run, by the first part of their names: those of this one replace the last one's."""


def write_student(
    recipe: DistillRecipe,
    pair: Pair,
    result: DistillResult,
    weights: Mapping[str, Tensor],
    run: Path,
    report: Report,
) -> DistillResult:
    """Write the student's folder with its trained tensors; everything else is copied."""
    model = pair.student.model
    assert recipe.output is not None
    assert model is not None
    report(Stage(name="writing", detail=str(recipe.output)))
    source, part = model.source, model.conversion.part
    card = model.folder / README
    license = read_license(card.read_text(encoding="utf-8")) if card.is_file() else "unknown"
    with FolderWriter(recipe.output, force=recipe.force) as writer:
        writer.write_config(model.family.name, to_dict(model.config))
        for name, path in source.companions(part).items():
            if Path(name).parts[0] not in REMADE:
                writer.copy(path, name)
        writer.write_tensors(f"{part}{SUFFIX}", trained(source, part, weights))
        inherited = ("teacher", "license", "plan", "mixer")
        provenance = {
            "mamtra": __version__,
            "task": "distill",
            "recipe": stored(replace(recipe, teacher=pair.teacher.name)),
            **{key: source.provenance[key] for key in inherited if key in source.provenance},
            "before": result.before,
            "after": result.after,
            "made_from": source.provenance,
        }
        writer.write_text(PROVENANCE, dump_json(to_dict(provenance)))
        facts = CardFacts(
            name=recipe.output.name,
            license=license,
            tags=("text-to-speech", "mamba", "hybrid"),
            base_model=(pair.teacher.name,) if "/" in pair.teacher.name else (),
            summary=f"A hybrid of {pair.teacher.name}, distilled for {result.steps} steps.",
            plan=str(pair.student.lessons.stack.config.plan),
            tables={"Against the teacher": measures(result)},
            recipe=without_paths(stored(recipe)),
        )
        writer.write_text(README, model_card(facts))
        drawn = copy_records(recipe, run, writer, report)
    return replace(result, curves=recipe.output / CURVES if drawn else None)


def copy_records(recipe: DistillRecipe, run: Path, writer: FolderWriter, report: Report) -> bool:
    """Put the numbers of each stage into the output, and their picture; whether it was drawn."""
    rows = {}
    for folder, name in STAGES.items():
        path = run / folder / METRICS_FILE
        if path.is_file():
            writer.copy(path, METRICS_FILES[folder])
            rows[name] = read_metrics(path)
    board = run / BOARD
    for file in sorted(board.rglob("*")):
        if file.is_file():
            writer.copy(file, f"{BOARD}/{file.relative_to(board)}")
    if not recipe.plot or not rows:
        return False
    try:
        with output_errors(writer.path / CURVES):
            draw_curves(writer.path / CURVES, rows)
    except MissingDependencyError as error:
        text = f"no curves are drawn: {error.message}; {error.hint}"
        report(Note(text=text, warning=True))
        return False
    return True


def trained(
    source: Source, part: str, weights: Mapping[str, Tensor], *, packed: bool = False
) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a part as stored, but for those that were trained.

    Args:
        source: of the student as it was.
        part: its name.
        weights: what was trained, new names among them.
        packed: store int8 rows as int8 rows again, which is a little less exact than float16.
    """
    for name, value in source.stored(part, source.open(part)):
        if name not in weights and name.removesuffix(SCALE) not in weights:
            yield name, value
    kinds = source.kinds(part)
    storages = {**REDUCED, torch.int8: "int8"} if packed else REDUCED
    usual = max(kinds.values(), key=list(kinds.values()).count)
    for name, value in weights.items():
        yield from encode(name, value.cpu(), storages.get(kinds.get(name, usual), "float32"))


def measures(result: DistillResult) -> dict[str, str]:
    """The check before and after as rows of a card."""
    rows = {}
    for when, found in (("before", result.before), ("after", result.after)):
        if found is not None:
            rows[when] = (
                f"CE {found.ce_student:.3f} (teacher {found.ce_teacher:.3f}), KL {found.kl:.3f}, "
                f"{found.agreement:.1%} of {found.tokens} tokens agree"
            )
    return rows
