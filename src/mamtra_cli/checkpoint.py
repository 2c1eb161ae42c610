"""A model folder on disk: reader with format upgrades, and a writer that makes all or nothing.

A folder holds `config.json` (`format_version`, `family`, `config`), one safetensors file a part
(`lm.safetensors`, ...), text files, `voices/`, `mamtra.json` (how it was made) and `README.md`.
Knows files and format numbers; nothing of what a part means. Tensor files are in `tensors.py`,
imported on use: reading what a folder says of itself needs no torch.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from safetensors import SafetensorError

from mamtra_cli.config import dump_json, reason
from mamtra_cli.errors import (
    CheckpointError,
    FormatVersionError,
    ModelNotFoundError,
    OutputError,
)
from mamtra_cli.recipes import FileEntry

if TYPE_CHECKING:
    import torch

    from mamtra_cli.tensors import TensorFile

FORMAT_VERSION = 1
CONFIG = "config.json"
PROVENANCE = "mamtra.json"
SUFFIX = ".safetensors"
LINK_FROM = 64_000_000  # bytes from which an unchanged file is hard-linked, not copied

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
UPGRADES: tuple[Upgrade, ...] = ()  # UPGRADES[n - 1] turns format n into n + 1


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """What a model folder says of itself; tensors are opened part by part."""

    path: Path
    family: str
    config: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that are there, sorted."""
        return tuple(sorted(file.stem for file in self.path.glob(f"*{SUFFIX}")))

    def part(self, name: str) -> "TensorFile":
        """Open the tensors of a part."""
        from mamtra_cli.tensors import TensorFile

        return TensorFile(self.path / f"{name}{SUFFIX}")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model folder."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"`{path.name}` is missing from `{path.parent}`") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read `{path}`: {reason(error)}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"`{path}` does not hold a JSON object")
    return data


def read_model_folder(path: Path) -> ModelFolder:
    """Read `config.json` and `mamtra.json`, upgrading older formats.

    Raises:
        ModelNotFoundError: there is no such folder.
        FormatVersionError: the folder is of a newer format.
        CheckpointError: a file is missing or says something else.
    """
    if not path.is_dir():
        raise ModelNotFoundError(
            f"there is no model folder `{path}`",
            "name one that `mamtra convert` or `mamtra distill` wrote",
        )
    data = read_json(path / CONFIG)
    version = data.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise CheckpointError(
            f"`{path / CONFIG}` has no `format_version`: this is no mamtra model folder"
        )
    if version > FORMAT_VERSION:
        raise FormatVersionError(
            f"model folder `{path}` was written by format {version}; this version reads up to "
            f"{FORMAT_VERSION}",
            "upgrade with `pip install -U mamtra-cli`",
        )
    for upgrade in UPGRADES[version - 1 :]:
        data = upgrade(data)
    family, config = data.get("family"), data.get("config")
    if not isinstance(family, str) or not isinstance(config, dict):
        raise CheckpointError(f"`{path / CONFIG}` names no `family` or no `config`")
    known = path / PROVENANCE
    provenance = read_json(known) if known.is_file() else {}
    return ModelFolder(path=path, family=family, config=config, provenance=provenance)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(folder: Path, known: Iterable[FileEntry] = ()) -> tuple[FileEntry, ...]:
    """Return every file of a folder with size and hash, by name; `known` ones as they are."""
    listed = {entry.name: entry for entry in known}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in listed:
            listed[name] = FileEntry(name=name, bytes=path.stat().st_size, sha256=sha256(path))
    return tuple(listed[name] for name in sorted(listed))


class FolderWriter:
    """Writes a whole folder or nothing: everything goes to a hidden folder beside the target,
    which takes the target's name at the end. Interrupted or failed, it is removed.

    Args:
        target: the folder to make.
        force: replace a folder that is there and not empty.

    Raises:
        OutputError: the target exists, or cannot be written.
    """

    def __init__(self, target: Path, *, force: bool = False) -> None:
        self.target = target
        self.force = force
        check_free(target, force=force)
        self.path = target.parent / f".{target.name}.{os.getpid()}.partial"

    def __enter__(self) -> Self:
        with output_errors(self.target):
            self.target.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                with output_errors(self.target):
                    self._publish()
        finally:
            shutil.rmtree(self.path, ignore_errors=True)

    def _publish(self) -> None:
        for file in sorted(self.path.rglob("*")):
            flush(file)
        flush(self.path)
        old = self.path.with_suffix(".old")
        if self.target.is_dir():
            self.target.rename(old)
        try:
            self.path.rename(self.target)
        except BaseException:
            if old.is_dir():
                old.rename(self.target)
            raise
        flush(self.target.parent)
        shutil.rmtree(old, ignore_errors=True)

    def write_tensors(
        self,
        name: str,
        tensors: "Iterable[tuple[str, torch.Tensor]]",
        *,
        storage: str = "keep",
        metadata: Mapping[str, str] | None = None,
    ) -> Path:
        """Write a part file; what shares storage is written out in full.

        Tensors are written as they come: of a large part, few are in memory at a time.
        """
        from mamtra_cli.tensors import encode, write_file

        def entries() -> "Iterator[tuple[str, torch.Tensor]]":
            for key, value in tensors:
                yield from encode(key, value, storage)

        path = self._file(name)
        with output_errors(path):
            path.touch()
            mode = path.stat().st_mode
            write_file(path, entries(), {"format": "pt", **(metadata or {})})
            # safetensors writes files that only their owner may read, whatever the umask says.
            path.chmod(mode)
        return path

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file."""
        path = self._file(name)
        with output_errors(path):
            path.write_text(text, encoding="utf-8")
        return path

    def write_config(self, family: str, config: Any) -> Path:
        """Write `config.json` with the format number."""
        data = {"format_version": FORMAT_VERSION, "family": family, "config": config}
        return self.write_text(CONFIG, dump_json(data))

    def copy(self, source: Path, name: str) -> Path:
        """Copy a file; a large one is hard-linked where the file system can."""
        path = self._file(name)
        with output_errors(path):
            real = source.resolve()
            if real.stat().st_size >= LINK_FROM:
                with contextlib.suppress(OSError):
                    os.link(real, path)
                    return path
            shutil.copyfile(real, path)
        return path

    def _file(self, name: str) -> Path:
        path = self.path / name
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path


def check_free(target: Path, *, force: bool) -> None:
    """Fail where writing `target` would replace something and `force` is not given."""
    if target.is_file() or target.is_symlink():
        raise OutputError(f"output `{target}` is not a folder", "name a new folder")
    if target.is_dir() and any(target.iterdir()) and not force:
        raise OutputError(
            f"output folder `{target}` is not empty", "name another one, or add `--force`"
        )


def check_space(target: Path, wanted: int) -> None:
    """Fail where the disk of `target` has no room for so many bytes."""
    folder = target.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise OutputError(
            f"`{target}` needs {wanted / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free there",
            "choose a folder on another disk, or a smaller `--dtype`",
        )


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an operating-system error into an `OutputError` that names the path."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(
            f"cannot write `{path}`: {reason(error)}", "choose a folder with space that you own"
        ) from error


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a file beside `path` to write, which takes its name if all goes well and goes if not.

    Raises:
        OutputError: no space, or the like; what was at `path` is as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with output_errors(path):
            yield partial
            flush(partial)
            partial.replace(path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; see `written_whole`."""
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def flush(path: Path) -> None:
    """Make a file, or the names in a folder, durable where the system allows."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
