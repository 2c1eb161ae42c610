"""Write a model folder whose graphs other programs can run, and that speaks here without torch."""

from mamtra_cli.checkpoint import (
    GRAPH,
    README,
    SUFFIX,
    FolderWriter,
    list_files,
    read_model_folder,
)
from mamtra_cli.config import to_dict
from mamtra_cli.device import QUANTISATIONS
from mamtra_cli.engine.loading.exporting import compare, write_graphs
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.students.folder import copy_rest, finite
from mamtra_cli.errors import UsageError
from mamtra_cli.events import Report, Stage, ignore
from mamtra_cli.families.folder import Model
from mamtra_cli.recipes.export import ExportRecipe, ExportResult


def export(recipe: ExportRecipe, report: Report = ignore) -> ExportResult:
    """Copy a model folder and write its graphs beside the weights, checked against its modules.

    Raises:
        UsageError: no output, or an unknown format.
        PlanError: the model has no graphs.
        CheckpointError: graphs and modules differ.
    """
    if recipe.output is None:
        raise UsageError("no output", "name a folder: `-o DIR`")
    if recipe.to != "onnx":
        raise UsageError(f"unknown format `{recipe.to}`", "it is onnx")
    if recipe.quant not in QUANTISATIONS:
        known = ", ".join(QUANTISATIONS)
        raise UsageError(f"unknown precision `{recipe.quant}`", f"it is one of {known}")
    engine = Engine.load(recipe.model, device="cpu", dtype="float32", report=report)
    assert engine.model is not None
    with FolderWriter(recipe.output, force=recipe.force) as writer:
        if engine.model.published:
            write_in_our_format(engine.model, writer)
        else:
            folder = read_model_folder(engine.folder)
            for name, path in folder.files().items():
                if path.suffix != GRAPH:
                    writer.copy(path, name)
            if folder.shares is not None:  # what it shared is its own now
                writer.write_config(folder.family, folder.config)
        report(Stage(name="exporting", detail=engine.name))
        graphs = write_graphs(engine, writer.path, recipe.quant)
        parity = compare(engine, writer.path, recipe.quant)
        sizes = {path.name: path.stat().st_size for path in graphs}
        total = sum(entry.bytes for entry in list_files(writer.path))
    return ExportResult(
        output=str(recipe.output),
        model=engine.name,
        graphs=sizes,
        bytes=total,
        quant=recipe.quant,
        scores=parity.scores,
        kl=parity.kl,
        top1=parity.top1,
        samples=parity.samples,
    )


def write_in_our_format(model: Model, writer: FolderWriter) -> None:
    """A folder of its authors' format in ours, where graphs can name the bytes of its weights."""
    part, card = model.conversion.part, model.folder / README
    writer.write_config(model.family.name, to_dict(model.config))
    writer.write_tensors(f"{part}{SUFFIX}", finite(model.open(part).stream(dtype=None)))
    copy_rest(model, writer)
    if card.is_file():
        writer.copy(card, README)
