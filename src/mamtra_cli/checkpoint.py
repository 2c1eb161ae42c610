"""A model folder on disk: reader with format upgrades, and a writer that makes all or nothing.

A folder holds `config.json` (`format_version`, `family`, `config`), one safetensors file a part
(`lm.safetensors`, ...), text files, `voices/`, `mamtra.json` (how it was made) and `README.md`.
Knows files and format numbers; nothing of what a part means. Tensor files are in `tensors.py`,
imported on use: reading what a folder says of itself needs no torch.
"""

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mamtra_cli.config import dump_json, from_dict, parse_json, read_small, reason, to_dict
from mamtra_cli.errors import (
    CheckpointError,
    FormatVersionError,
    MamtraError,
    ModelNotFoundError,
)
from mamtra_cli.ownership import Kind, entries
from mamtra_cli.publish import NewFolder, output_errors, standing
from mamtra_cli.recipes.shared import FileEntry

if TYPE_CHECKING:
    import torch

    from mamtra_cli.tensors import TensorFile

FORMAT_VERSION = 1
CONFIG = "config.json"
PROVENANCE = "mamtra.json"
README = "README.md"
SUFFIX = ".safetensors"
GRAPH = ".onnx"
OLDER = re.compile(  # files of a model folder that its own list of hashes may leave out
    r"config\.json|mamtra\.json|README\.md|(lm|flow|hift)\.safetensors|curves\.png"
    r"|metrics(-align|-own)?\.jsonl|tensorboard/.*/events\.out\.tfevents\.[^/]*"
    r"|report/(report\.md|result\.json|records\.jsonl|plots/[\w-]+\.png)"
    r"|report/audio/\d\d-(student|teacher)\.(flac|opus|wav)"
)
BARE = re.compile(r"\w[\w.-]*")
LINK_FROM = 64_000_000  # bytes from which an unchanged file is hard-linked, not copied

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
UPGRADES: tuple[Upgrade, ...] = ()  # UPGRADES[n - 1] turns format n into n + 1


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Files that a model has in common with the one in the folder beside it.

    Attributes:
        model: name of that folder.
        files: their names, and the SHA-256 that they had when this model was made.
    """

    model: str
    files: dict[str, str]

    def __post_init__(self) -> None:
        for name in (self.model, *self.files):
            if BARE.fullmatch(name) is None:
                raise CheckpointError(f"`{name}` names no file or folder beside a model")


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """What a model folder says of itself; tensors are opened part by part."""

    path: Path
    family: str
    config: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)
    shares: Shared | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that are there, sorted."""
        names = {file.name for file in self.path.glob(f"*{SUFFIX}")}
        names |= set() if self.shares is None else set(self.shares.files)
        return tuple(sorted(Path(name).stem for name in names if name.endswith(SUFFIX)))

    def part(self, name: str) -> "TensorFile":
        """Open the tensors of a part."""
        from mamtra_cli.tensors import TensorFile

        return TensorFile(self.file(f"{name}{SUFFIX}"))

    def files(self) -> dict[str, Path]:
        """What goes along with a copy of the folder, by name: no code, nothing hidden; with what it
        shares.

        Raises:
            CheckpointError: a file that is no weights is a link that leads out of the folder.
        """
        found = {}
        for path in sorted(self.path.rglob("*")):
            name = path.relative_to(self.path).as_posix()
            hidden = any(part.startswith((".", "__")) for part in name.split("/"))
            if hidden or path.suffix == ".py" or not path.is_file():
                continue
            if path.suffix != SUFFIX and not _inside(path, self.path):
                raise CheckpointError(
                    f"`{name}` is a link that leads out of `{self.path}`",
                    "put the file itself there, or delete the link",
                )
            found[name] = path
        shared = () if self.shares is None else self.shares.files
        return found | {name: self.file(name) for name in shared}

    def file(self, name: str) -> Path:
        """Where a file is that may be a shared one.

        Raises:
            CheckpointError: the shared one is not there, or not what this model was made with.
        """
        path = self.path / name
        if path.is_file() or self.shares is None or name not in self.shares.files:
            return path
        path = self.path.with_name(self.shares.model) / name
        if not path.is_file():
            raise CheckpointError(
                f"model `{self.path.name}` needs `{name}` of `{self.shares.model}`, which is not "
                "beside it",
                f"put the folder `{self.shares.model}` into `{self.path.parent}`",
            )
        if sha256_once(path) != self.shares.files[name]:
            raise CheckpointError(
                f"`{name}` of `{self.shares.model}` is not the file that `{self.path.name}` was "
                "made with",
                "train the model again for the new one",
            )
        return path


def _inside(path: Path, root: Path) -> bool:
    """Whether a file lies in a folder, or in the cache of a hub where the folder is a snapshot."""
    real, home = path.resolve(), root.resolve()
    cached = home.parent.name == "snapshots" and real.is_relative_to(home.parents[1] / "blobs")
    return cached or real.is_relative_to(home)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model folder."""
    try:
        data = parse_json(read_small(path))
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
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
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
    shares = data.get("shares")
    known = path / PROVENANCE
    return ModelFolder(
        path=path,
        family=family,
        config=config,
        provenance=read_json(known) if known.is_file() else {},
        shares=None if shares is None else from_dict(Shared, shares, f"`{path / CONFIG}`"),
    )


def find_file(folder: Path, name: str) -> Path:
    """Where a file of a model folder is, or of the one that it shares it with."""
    path = folder / name
    return path if path.is_file() else read_model_folder(folder).file(name)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: Path) -> str:
    """Return the same of a file asked for often: it is read once, and again when it changes."""
    stat = path.stat()
    return _sha256_once(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256_once(path: Path, size: int, changed: int) -> str:
    del size, changed  # parts of the key
    return sha256(path)


def list_files(folder: Path, known: Iterable[FileEntry] = ()) -> tuple[FileEntry, ...]:
    """Return every file of a folder with size and hash, by name; `known` ones as they are."""
    listed = {entry.name: entry for entry in known}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in listed:
            listed[name] = FileEntry(name=name, bytes=path.stat().st_size, sha256=sha256(path))
    return tuple(listed[name] for name in sorted(listed))


def linkable(source: Path, target: Path) -> bool:
    """Whether a file goes into a folder to be made as a link, which takes no space."""
    told = source.resolve().stat()
    return told.st_size >= LINK_FROM and told.st_dev == standing(target).stat().st_dev


def older_files(folder: Path) -> set[str] | None:
    """Names that a version without marks wrote into a model folder: what it lists, and what every
    one may hold. `None` where the folder is none."""
    try:
        told = read_model_folder(folder)
    except MamtraError:
        return None
    names = {name for name in entries(folder) if OLDER.fullmatch(name)}
    record: Any = told.provenance
    while isinstance(record, dict):
        hashes = record.get("sha256")
        names |= set(hashes) if isinstance(hashes, dict) else set()
        record = record.get("made_from")
    return names


MODEL = Kind(name="model", words="a model", older=older_files)


class FolderWriter(NewFolder):
    """Writes a whole model folder, or one of another kind, or nothing; see `NewFolder`."""

    def __init__(self, target: Path, *, kind: Kind = MODEL, force: bool = False) -> None:
        super().__init__(target, kind=kind, force=force)

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
        with output_errors(self.target / name):
            path.touch()
            mode = path.stat().st_mode
            write_file(path, entries(), {"format": "pt", **(metadata or {})})
            # safetensors writes files that only their owner may read, whatever the umask says.
            path.chmod(mode)
        return path

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file."""
        path = self._file(name)
        with output_errors(self.target / name):
            path.write_text(text, encoding="utf-8")
        return path

    def write_config(self, family: str, config: Any, shares: Shared | None = None) -> Path:
        """Write `config.json` with the format number."""
        data = {"format_version": FORMAT_VERSION, "family": family, "config": config}
        if shares is not None:
            data["shares"] = to_dict(shares)
        return self.write_text(CONFIG, dump_json(data))

    def copy(self, source: Path, name: str) -> Path:
        """Copy a file; a large one is hard-linked where the file system can."""
        path = self._file(name)
        with output_errors(self.target / name):
            real = source.resolve()
            if real.stat().st_size >= LINK_FROM:
                with contextlib.suppress(OSError):
                    os.link(real, path)
                    return path
            shutil.copyfile(real, path)
        return path

    def _file(self, name: str) -> Path:
        path = self.path / name
        with output_errors(self.target / name):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path


def gather(folder: ModelFolder, target: Path) -> ModelFolder:
    """Copy a model folder with the files that it shares, so that it needs no other."""
    shutil.copytree(folder.path, target)
    for name in {} if folder.shares is None else folder.shares.files:
        shutil.copyfile(folder.file(name), target / name)
    data = read_json(target / CONFIG)
    data.pop("shares", None)
    (target / CONFIG).write_text(dump_json(data), encoding="utf-8")
    return read_model_folder(target)
