"""The files of a student, from its teacher's folder: what changed, what stays, what goes along.

Unchanged tensors stream from the teacher's file to the student's, so writing costs a window of the
file and not a second model. Knows folders and tensor names; nothing of how a student was made.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mamtra_cli.checkpoint import SUFFIX, FolderWriter
from mamtra_cli.errors import CheckpointError
from mamtra_cli.families.folder import Model
from mamtra_cli.tensors import check_shapes, encode
from mamtra_cli.voices.speaker_table import file_name, read_table
from mamtra_cli.voices.voice import save_voice

QUERIES = ".q_proj.weight"
REDUCED = {torch.int8: "float16", torch.float16: "float16", torch.bfloat16: "bfloat16"}
"""What new tensors are stored in beside others; float32 beside any other type."""


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

    Raises:
        CheckpointError: a weight is not finite.
    """
    source, part, fresh = teacher.source, teacher.conversion.part, storage
    if storage == "keep":
        yield from finite(source.stored(part, changes.kept))
        fresh = REDUCED.get(stored_type(source.kinds(part)), "float32")
    else:
        for name, value in finite(source.open(part).stream(changes.kept)):
            yield from encode(name, value, storage)
    for name, value in finite(changes.fresh.items()):
        yield from encode(name, value, fresh)


def finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Pass tensors on by name; one that holds NaN or infinity is a CheckpointError."""
    for name, value in tensors:
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError(
                f"`{name}` holds values that are not finite", "fetch or make the model again"
            )
        yield name, value


def stored_type(kinds: Mapping[str, torch.dtype]) -> torch.dtype:
    """What a model's matrices are stored in: the type of its first query matrix."""
    return next(kind for name, kind in kinds.items() if name.endswith(QUERIES))


def companions(teacher: Model) -> dict[str, Path]:
    """Files beside the language model that go along as they are, by name."""
    return teacher.source.companions(teacher.conversion.part)


def copy_rest(teacher: Model, writer: FolderWriter, part: str = "") -> None:
    """Copy what is not rewritten; parts and speakers of a published folder get our format.

    Args:
        teacher: the model.
        writer: of its student's folder.
        part: that is rewritten; "" for the language model.

    Raises:
        CheckpointError: the speakers cannot be read, or two of them cannot be told apart, or a
            weight is not finite.
    """
    part = part or teacher.conversion.part
    for name, path in teacher.source.companions(part).items():
        writer.copy(path, name)
    for name, voice in read_table(teacher.folder).items() if teacher.published else ():
        path = writer.path / file_name(name)
        if path.exists():
            raise CheckpointError(f"two speakers of `{teacher.folder}` become `{path.name}`")
        save_voice(voice, path)
    for other in teacher.source.rest(part):
        writer.write_tensors(f"{other}{SUFFIX}", finite(teacher.open(other).stream(dtype=None)))
