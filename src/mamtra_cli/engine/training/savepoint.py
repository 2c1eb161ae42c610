"""Saved runs: whole or not there, checked when read, and the one before kept.

A save is a safetensors file whose metadata hold a checksum of the tensors. It is written under
another name, made durable and renamed; the save before it stays as `trainer.previous.safetensors`.
Killed at any moment, or out of space, a run has a sound save; a damaged newest one is passed over
with a warning. Knows files and tensors, not what they mean.
"""

import contextlib
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mamtra_cli.errors import OutputError, TrainingError
from mamtra_cli.events import Note, Report, ignore
from mamtra_cli.publish import flush, output_errors

STATE_FILE = "trainer.safetensors"
PREVIOUS_FILE = "trainer.previous.safetensors"
STATE_VERSION = 2
CHECKSUM = "checksum"

State = tuple[dict[str, Tensor], dict[str, str]]


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of names and bytes, in the order of names."""
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(name.encode(), value)
        flat = tensors[name].detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            value = zlib.crc32(flat.view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def write_state(folder: Path, tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Save a run into its folder; the last save becomes the previous one.

    Raises:
        OutputError: there is no space; the last save is as it was.
    """
    told = {**metadata, "format": str(STATE_VERSION), CHECKSUM: checksum(tensors)}
    remove_partial(folder)
    temporary = folder / f".{STATE_FILE}.{os.getpid()}"
    try:
        with output_errors(folder / STATE_FILE):
            save_file(tensors, temporary, told)
            flush(temporary)
            if (folder / STATE_FILE).exists():
                os.replace(folder / STATE_FILE, folder / PREVIOUS_FILE)
            os.replace(temporary, folder / STATE_FILE)
            flush(folder)
    except OutputError as error:
        raise OutputError(
            error.message, f"make room and go on with `--resume {folder}`; the last save is kept"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_partial(folder: Path) -> None:
    """Remove what a killed process left half-written."""
    for path in folder.glob(f".{STATE_FILE}.*"):
        with contextlib.suppress(OSError):
            path.unlink()


def has_state(folder: Path) -> bool:
    """Whether a folder holds a save."""
    return any((folder / name).is_file() for name in (STATE_FILE, PREVIOUS_FILE))


def read_state(folder: Path, report: Report = ignore) -> State:
    """Read the newest sound save.

    Args:
        folder: of the run.
        report: is warned where the newest save is damaged and the one before is used.

    Raises:
        TrainingError: there is none.
    """
    paths = [folder / name for name in (STATE_FILE, PREVIOUS_FILE) if (folder / name).is_file()]
    if not paths:
        raise TrainingError(f"no saved run in `{folder}`", hint="start one without `--resume`")
    failure: TrainingError | None = None
    for path in paths:
        try:
            state = read_file(path)
        except TrainingError as error:
            failure = failure or error
            continue
        if failure is not None:
            text = f"{failure.message}; going on from the save before it"
            report(Note(text=text, warning=True))
        return state
    assert failure is not None
    raise failure


def read_file(path: Path) -> State:
    """Read one save and check its bytes."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise TrainingError(f"`{path}` is damaged: {error}") from error
    if metadata.get("format") != str(STATE_VERSION):
        raise TrainingError(f"`{path}` was written by another version of mamtra")
    if metadata.get(CHECKSUM) != checksum(tensors):
        raise TrainingError(f"`{path}` is damaged: its checksum does not fit")
    return tensors, metadata
