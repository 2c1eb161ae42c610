"""Speech corpora as they are found: which kind an input is, and its clips one after the other.

One file a kind; each yields `Clip`s and, for what cannot be used, `Bad` entries with the cause.
Nothing is unpacked, converted or run. Knows no model.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from mamtra_cli.config import nearest
from mamtra_cli.engine.corpora import arrow, folders, jsonl, lhotse, webdataset
from mamtra_cli.engine.corpora.clip import SUFFIXES, Bad, Clip, Entries, writable
from mamtra_cli.errors import DataError, UsageError
from mamtra_cli.part import Part
from mamtra_cli.recipes.prepare import FORMATS

TARS = (".tar", ".tar.gz", ".tgz")
ARROW = (".parquet", ".arrow")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus that was found.

    Attributes:
        format: one of `FORMATS`.
        path: its folder or file.
        files: what it is read from, where that is a list of files.
        clips: how many audio files a folder holds; `None` where they are inside others.
        title: what to call it; "" is the name of its file or folder.
    """

    format: str
    path: Path
    files: tuple[Path, ...] = ()
    clips: int | None = None
    title: str = ""

    @property
    def name(self) -> str:
        """What to call it: no path of this machine."""
        return writable(self.title or self.path.resolve().name)

    def entries(
        self, part: Part | None = None, *, text_key: str = "", audio_key: str = ""
    ) -> Entries:
        """Yield the clips of a part, and what cannot be used."""
        part = part or Part()
        files, by_id = list(self.files), part
        root = self.path if self.path.is_dir() else self.path.parent
        if self.format in ("hf", "webdataset") and len(files) >= part.count > 1:
            # Whole files for each part: none is read twice.
            files, by_id = files[part.index - 1 :: part.count], Part()
        readers: dict[str, Callable[[], Entries]] = {
            "jsonl": lambda: _each(jsonl.entries, files, text_key),
            "csv": lambda: _each(folders.table, files, text_key),
            "libritts": lambda: folders.libritts(self.path, text_key=text_key),
            "ljspeech": lambda: folders.ljspeech(self.path, text_key=text_key),
            "folder": lambda: folders.plain(self.path),
            "hf": lambda: arrow.entries(
                root, files, part=by_id, text_key=text_key, audio_key=audio_key
            ),
            "lhotse": lambda: lhotse.entries(files),
            "webdataset": lambda: webdataset.entries(root, files, part=by_id, text_key=text_key),
        }
        found = readers[self.format]()
        return (_named(entry) for entry in found if by_id.takes(entry.id))


def find(path: Path, *, format: str = "", pattern: str = "", without: Path | None = None) -> Corpus:
    """Find out what a corpus is.

    Args:
        path: a file or a folder.
        format: one of `FORMATS`; "" looks.
        pattern: which files of a folder of tars, Parquet files, lists or manifests to read,
            as `*dev*`; "" is all.
        without: a folder that is not looked into, though it may lie inside.

    Raises:
        UsageError: there is no such format.
        DataError: there is nothing there, or nothing that is known.
    """
    if format and format not in FORMATS:
        near = nearest(format, FORMATS)
        hint = f"did you mean `{near}`?" if near else f"one of: {', '.join(FORMATS)}"
        raise UsageError(f"unknown corpus format `{format}`", hint)
    if not path.exists():
        raise DataError(f"there is no corpus `{path}`", hint="name a file, a folder or org/name")
    files = [path] if path.is_file() else _files(path, pattern, without)
    kind = format or (_kind_of_file(path) if path.is_file() else _kind_of_folder(path, files))
    wanted = {
        "jsonl": [path] if path.is_file() else [f for f in files if _is_list(f)],
        "csv": [f for f in files if f.suffix in (".csv", ".tsv")],
        "hf": [f for f in files if f.suffix in ARROW],
        "lhotse": [f for f in files if lhotse.kind(f) in ("cuts", "supervisions")],
        "webdataset": [f for f in files if f.name.endswith(TARS)],
    }
    if kind not in wanted:
        if path.is_file():
            raise DataError(f"`{path}` is a file; the format `{kind}` is a folder")
        clips = sum(file.suffix.lower() in SUFFIXES for file in files)
        return Corpus(format=kind, path=path, clips=clips)
    if kind == "jsonl" and path.is_dir() and not pattern:
        named = [f for f in wanted["jsonl"] if f.name == "metadata.jsonl"]
        wanted["jsonl"] = named or wanted["jsonl"]
    if not wanted[kind]:
        what = f" that match `{pattern}`" if pattern else ""
        raise DataError(f"`{path}` holds no files of the format `{kind}`{what}")
    return Corpus(format=kind, path=path, files=tuple(wanted[kind]))


def _named(entry: Clip | Bad) -> Clip | Bad:
    """Return an entry whose names can be written."""
    return replace(entry, id=writable(entry.id), source=writable(entry.source))


def _is_list(path: Path) -> bool:
    return path.name.endswith((".jsonl", ".jsonl.gz")) and not lhotse.kind(path)


def _each(read: Callable[..., Entries], files: Sequence[Path], text_key: str) -> Entries:
    for path in files:
        yield from read(path, text_key=text_key)


def _files(folder: Path, pattern: str, without: Path | None) -> list[Path]:
    """Return the visible files under a folder whose relative name fits, sorted."""
    found = []
    left_out = without.resolve() if without is not None else None
    for home, folders_, names in os.walk(folder):
        folders_[:] = sorted(
            name
            for name in folders_
            if not name.startswith(".") and (Path(home) / name).resolve() != left_out
        )
        for name in sorted(names):
            path = Path(home) / name
            relative = path.relative_to(folder).as_posix()
            if not name.startswith(".") and (not pattern or fnmatch(relative, pattern)):
                found.append(path)
    return found


def _kind_of_file(path: Path) -> str:
    if lhotse.kind(path) in ("cuts", "supervisions"):
        return "lhotse"
    if path.name.endswith((".jsonl", ".jsonl.gz", ".json")):
        return "jsonl"
    if path.name.endswith(TARS):
        return "webdataset"
    if path.suffix in (".csv", ".tsv"):
        return "csv"
    if path.suffix in ARROW:
        return "hf"
    raise DataError(
        f"`{path}` is no corpus of a known kind", hint=f"force one: --format {'|'.join(FORMATS)}"
    )


def _kind_of_folder(folder: Path, files: list[Path]) -> str:
    names = {file.name for file in files}
    if any(lhotse.kind(file) in ("cuts", "supervisions") for file in files):
        return "lhotse"
    if folders.METADATA in names and (folder / folders.METADATA).is_file():
        with (folder / folders.METADATA).open(encoding="utf-8", errors="replace") as file:
            return "ljspeech" if "|" in file.readline() else "csv"
    if any(name.endswith(folders.NORMALIZED) for name in names):
        return "libritts"
    if "metadata.jsonl" in names:
        return "jsonl"
    if any(file.suffix in ARROW for file in files):
        return "hf"
    if any(name.endswith(TARS) for name in names):
        return "webdataset"
    suffixes = {file.suffix.lower() for file in files}
    if suffixes & set(SUFFIXES):
        return "folder"
    if any(_is_list(file) for file in files):
        return "jsonl"
    raise DataError(
        f"`{folder}` holds no audio, tars, Parquet files or lists",
        hint=f"name the folder that does, or force a kind: --format {'|'.join(FORMATS)}",
    )
