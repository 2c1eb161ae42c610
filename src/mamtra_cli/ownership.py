"""Whose files are in a folder: the mark that mamtra leaves in what it writes, and what it lists.

A folder that is written as a whole holds `.mamtra`: its kind, and the name of every file. `--force`
replaces what such a list names and nothing else; one more file in the folder, and nothing is
touched. Folders of older versions have no mark and are known by what they hold. Links are never
followed. Knows names and files, not what they mean.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from mamtra_cli.errors import OutputError

MARK = ".mamtra"
SHOWN = 3  # names of foreign files in a message


def nothing(folder: Path) -> Set[str] | None:
    """Names that an older version wrote into a folder of this kind: it had no such folders."""
    return None


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of folder that mamtra writes.

    Attributes:
        name: in the mark.
        words: in messages.
        older: names of the files that a version without marks wrote into a folder; `None` where
            it is no folder of this kind.
    """

    name: str
    words: str
    older: Callable[[Path], Set[str] | None] = nothing


def entries(folder: Path) -> Iterator[str]:
    """Names of everything in a folder, `/` between them: files, links, and `name/` for a folder
    that is empty."""
    for at, folders, files in os.walk(folder):
        here = Path(at).relative_to(folder)
        links = [name for name in folders if (Path(at) / name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in links)
        for name in sorted(files + links):
            yield (here / name).as_posix()
        if not folders and not files and not links and here.parts:
            yield f"{here.as_posix()}/"


def read_mark(folder: Path) -> dict[str, Any] | None:
    """What a folder's mark says; `None` where it has none that can be read."""
    path = folder / MARK
    if path.is_symlink() or not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(told, dict) and isinstance(told.get("files"), list | None)
    return told if known else None


def write_mark(folder: Path, kind: Kind, files: Sequence[str] | None) -> None:
    """Mark a folder as ours.

    Args:
        folder: to be marked.
        kind: of it.
        files: names of what is ours in it; `None` while it is being written and everything is.
    """
    text = json.dumps({"kind": kind.name, "files": files}, indent=1)
    (folder / MARK).write_text(text + "\n", encoding="utf-8")


def owned(folder: Path, kind: Kind | None = None) -> Set[str] | None:
    """Names in a folder that mamtra wrote; `None` where it is no folder of ours, or of this kind.

    A folder inside with a mark of its own says what is ours in it.
    """
    told = read_mark(folder)
    names: set[str]
    if told is None:
        older = kind.older(folder) if kind is not None else None
        if older is None:
            return None
        names = set(older)
    elif kind is not None and told.get("kind") != kind.name:
        return None
    else:
        listed = told.get("files")
        found = entries(folder) if listed is None else listed
        names = {MARK, *(name for name in found if isinstance(name, str))}
    for name in entries(folder):
        inner, _, last = name.rpartition("/")
        if last == MARK and inner:
            names |= {f"{inner}/{other}" for other in owned(folder / inner) or ()}
    return names


def foreign(folder: Path, ours: Iterable[str]) -> list[str]:
    """Names in a folder that are not among ours: the first few, for the folder may be huge."""
    known = set(ours)
    return list(islice((name for name in entries(folder) if name not in known), SHOWN + 1))


def check_replaceable(folder: Path, kind: Kind) -> None:
    """Fail where replacing a folder would take anything that mamtra did not write.

    Raises:
        OutputError: the folder is not of this kind, or holds other files: it names them.
    """
    ours = owned(folder, kind)
    others = foreign(folder, ours or ())
    if not others:
        return
    if ours is None:
        raise OutputError(
            f"`{folder}` is not {kind.words} that mamtra wrote (it holds {listed(others)}), and "
            "`--force` replaces nothing else",
            "name another folder",
        )
    raise OutputError(
        f"`{folder}` holds {listed(others)}, which mamtra did not write: it is not replaced",
        "move that elsewhere, or name another folder",
    )


def listed(names: list[str]) -> str:
    """The first of some names, and whether there are more."""
    shown = ", ".join(f"`{name}`" for name in names[:SHOWN])
    return f"{shown} and more" if len(names) > SHOWN else shown


def check_place(folder: Path) -> None:
    """Fail where a folder is one that no program may replace, whatever its user says.

    Raises:
        OutputError: it is a root, a home, a working tree, or holds one or the current folder.
    """
    real = folder.resolve()
    if real.parent == real or os.path.ismount(real):
        what = "the root of a disk"
    elif any(home.is_relative_to(real) for home in homes()):
        what = "a home folder, or holds one"
    elif current().is_relative_to(real):
        what = "the current folder, or holds it"
    elif os.path.lexists(real / ".git"):
        what = "a working tree of git"
    else:
        return
    raise OutputError(f"output `{folder}` is {what}", "name a new folder")


def homes() -> list[Path]:
    """Homes of the user: what the environment says, and what the system says."""
    found = []
    with contextlib.suppress(RuntimeError, OSError):
        found.append(Path.home().resolve())
    with contextlib.suppress(ImportError, KeyError, OSError, AttributeError):
        import pwd

        found.append(Path(pwd.getpwuid(os.getuid()).pw_dir).resolve())
    return [home for home in found if home != home.parent]


def current() -> Path:
    """The current folder; one that is gone is below nothing."""
    try:
        return Path.cwd().resolve()
    except OSError:
        return Path(os.devnull)


def remove_owned(folder: Path, ours: Iterable[str]) -> None:
    """Remove files of ours from a folder, and folders that are then empty; what fails stays."""
    known = set(ours)
    for name in list(entries(folder)):
        if name in known and name != MARK:
            with contextlib.suppress(OSError):
                path = folder / name
                path.rmdir() if name.endswith("/") else path.unlink()
    # The mark goes last: interrupted before, what is left is still known as ours.
    if MARK in known and not foreign(folder, {MARK, *empty(folder)}):
        with contextlib.suppress(OSError):
            (folder / MARK).unlink()
    for at, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(at).rmdir()


def empty(folder: Path) -> list[str]:
    """Names of the folders in a folder that hold nothing."""
    return [name for name in entries(folder) if name.endswith("/")]
