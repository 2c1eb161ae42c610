"""The files of a student, from its teacher's folder: what changed, what stays, what goes along.

Unchanged tensors stream from the teacher's file to the student's, so writing costs a window of the
file and not a second model. Knows folders and tensor names; nothing of how a student was made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mamtra_cli.checkpoint import CONFIG, PROVENANCE, SUFFIX, FolderWriter, ModelFolder, sha256
from mamtra_cli.families.folder import Model
from mamtra_cli.tensors import TensorFile, check_shapes, encode

README = "README.md"
STAYS = {CONFIG, PROVENANCE, README, "trainer.safetensors", "metrics.jsonl"}
REDUCED = {torch.int8: "float16", torch.float16: "float16", torch.bfloat16: "bfloat16"}


def check_published(teacher: Model) -> None:
    """Fail where a file of a published folder is damaged or of another model, before long work.

    Names and shapes come from the files' tables; no weights are read.

    Raises:
        CheckpointError: naming the file and the tensors.
    """
    if not teacher.published:
        return
    teacher.front_end()
    for part in teacher.source.parts:
        with torch.device("meta"):
            module = teacher.family.build_part(teacher.config, part)
        expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
        file = teacher.open(part)
        check_shapes(expected, file.shapes(), file.path.name)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """A student beside its teacher: names of the tensors that both have, and the new tensors."""

    kept: tuple[str, ...]
    fresh: Mapping[str, torch.Tensor]


def changes_of(teacher: Model, student: nn.Module) -> Changes:
    """What a student's language model changed; it holds nothing else of either model."""
    file, state = teacher.open(teacher.conversion.part), student.state_dict()
    return Changes(
        kept=tuple(name for name in file if name in state),
        fresh={name: value for name, value in state.items() if name not in file},
    )


def stored_tensors(
    teacher: Model, changes: Changes, storage: str
) -> Iterator[tuple[str, torch.Tensor]]:
    """A student's tensors as they go to disk; with `keep`, unchanged ones bit by bit.

    Args:
        teacher: the model it was made from.
        changes: what it has of its own.
        storage: one of `tensors.STORAGES`.
    """
    file, kept = teacher.open(teacher.conversion.part), changes.kept
    if storage != "keep":
        for name, value in file.stream(kept):
            yield from encode(name, value, storage)
    elif isinstance(file, TensorFile):
        yield from file.stored(kept)
    else:
        yield from file.stream(kept, None)
    fresh = storage
    if storage == "keep":
        fresh = "float32"
        if isinstance(file, TensorFile):
            fresh = REDUCED.get(file.infos[queries(teacher)].dtype, "float32")
    for name, value in changes.fresh.items():
        yield from encode(name, value, fresh)


def queries(teacher: Model) -> str:
    """Name of the teacher's first query matrix: its stored type stands for the others."""
    return f"{teacher.conversion.names(teacher.stack.plan.attention[0]).q}.weight"


def companions(teacher: Model) -> dict[str, Path]:
    """Files beside the language model that go along as they are, by name."""
    if not isinstance(teacher.source, ModelFolder):
        return dict(teacher.source.companions)
    skip = STAYS | {f"{teacher.conversion.part}{SUFFIX}"}
    found = {}
    for path in sorted(teacher.folder.rglob("*")):
        name = path.relative_to(teacher.folder).as_posix()
        hidden = any(part.startswith((".", "__")) for part in name.split("/"))
        if path.is_file() and not hidden and name not in skip and path.suffix != ".py":
            found[name] = path
    return found


def copy_rest(teacher: Model, writer: FolderWriter) -> None:
    """Copy what is not rewritten; parts of a published folder are put into our format."""
    for name, path in companions(teacher).items():
        writer.copy(path, name)
    if not isinstance(teacher.source, ModelFolder):
        for part in teacher.source.parts:
            if part != teacher.conversion.part:
                writer.write_tensors(f"{part}{SUFFIX}", teacher.open(part).stream(dtype=None))


def source_hashes(teacher: Model) -> dict[str, str]:
    """SHA-256 of the weights files that a student is made from, by name."""
    source, part = teacher.source, teacher.conversion.part
    if isinstance(source, ModelFolder):
        name = f"{part}{SUFFIX}"
        return {name: sha256(source.path / name)}
    return {path.name: sha256(path) for path in source.parts.values()}
