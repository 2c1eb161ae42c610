"""Files and folders that appear whole or not at all, and never in place of what nobody named.

What is written stands beside its target as `.NAME.PID-HOST.partial` and takes the name at the end:
without leave to replace only if the name is free then, with leave in one exchange. What a killed
process left is removed by the next one that writes there. Knows names and bytes, not what they
mean; which files are ours is in `ownership.py`.
"""

import contextlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from safetensors import SafetensorError

from mamtra_cli.atomic import exchanged, take_folder_name, take_name
from mamtra_cli.config import reason
from mamtra_cli.errors import OutputError
from mamtra_cli.ownership import (
    MARK,
    Kind,
    check_place,
    check_replaceable,
    entries,
    foreign,
    listed,
    owned,
    read_mark,
    remove_owned,
    write_mark,
)

PARTIAL, OLD = "partial", "old"
OWN = "choose a folder with space that you own"
HOST = re.sub(r"[^A-Za-z0-9_]", "-", socket.gethostname()) or "here"
_open: set[Path] = set()  # partial names in use by this process


def beside(target: Path, state: str = PARTIAL) -> Path:
    """The name under which this process keeps what is to be, or was, at `target`."""
    return target.with_name(f".{target.name}.{os.getpid()}-{HOST}.{state}")


def left_behind(target: Path, state: str = PARTIAL) -> list[Path]:
    """What dead processes of this machine left beside `target`."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.(\d+)(?:-(.*))?\.{state}")
    found = []
    with contextlib.suppress(OSError), os.scandir(target.parent) as there:
        for entry in there:
            match = pattern.fullmatch(entry.name)
            path = target.parent / entry.name
            if match and match[2] in (None, HOST) and path not in _open and dead(int(match[1])):
                found.append(path)
    return sorted(found)


def dead(number: int) -> bool:
    """Whether a process of this machine has ended; this one did not write what it has not open."""
    if number == os.getpid():
        return True
    if os.name == "nt" or not 0 < number < 1 << 31:
        return False  # asking there would end it
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def tidy(target: Path) -> None:
    """Remove what killed processes left beside `target`, and bring back what one moved away."""
    heal(target)
    for path in left_behind(target):
        if path.is_dir() and not path.is_symlink():
            remove_partial(path)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


def heal(target: Path) -> None:
    """Bring back the folder that a process killed between two renames took from its name."""
    for path in left_behind(target, OLD):
        ours = owned(path)
        with contextlib.suppress(OSError):
            if not os.path.lexists(target):
                path.rename(target)
            elif ours is not None:
                remove_owned(path, ours)


def remove_partial(folder: Path) -> None:
    """Remove a folder that was being written, or replaced: all of it, or what is ours in it."""
    told = read_mark(folder)
    if told is None:
        # An older version's, or nothing yet: only where it cannot be anything else.
        if (folder / "config.json").is_file() or not any(entries(folder)):
            shutil.rmtree(folder, ignore_errors=True)
    elif told.get("files") is None:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        remove_owned(folder, owned(folder) or ())


class NewFolder:
    """Writes a whole folder or nothing: everything goes to a hidden folder beside the target,
    which takes the target's name at the end. Interrupted or failed, it is removed.

    Args:
        target: the folder to make.
        kind: what it is.
        force: replace a folder of this kind that mamtra wrote.

    Raises:
        OutputError: the target holds something, cannot be written, or was filled or replaced while
            this one was made: then what was made stays beside it, and the message says where.
    """

    def __init__(self, target: Path, *, kind: Kind, force: bool = False) -> None:
        self.target = target
        self.kind = kind
        check_free(target, force=force, kind=kind)
        self.real = target.resolve()
        self.path = beside(self.real)
        # Leave to replace is for what was there when it was given.
        self.replaces = identity(self.real) if force and self.real.exists() else None

    def __enter__(self) -> Self:
        with output_errors(self.target):
            self.real.parent.mkdir(parents=True, exist_ok=True)
            tidy(self.real)
            self.path.mkdir()
            _open.add(self.path)
            write_mark(self.path, self.kind, None)
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
            _open.discard(self.path)
            if self.path.is_dir():
                remove_partial(self.path)

    def _publish(self) -> None:
        write_mark(self.path, self.kind, [name for name in entries(self.path) if name != MARK])
        for name in entries(self.path):
            flush(self.path / name)
        flush(self.path)
        try:
            if self.replaces is None or not any(entries(self.real)):
                take_folder_name(self.path, self.real)
            else:
                self._replace(self.replaces)
        except FileExistsError:
            self._keep(f"output folder `{self.target}` is not empty: it was filled meanwhile")
        except OutputError as error:
            self._keep(error.message)
        except OSError as error:
            self._keep(f"cannot write `{self.target}`: {reason(error)}")
        flush(self.real.parent)

    def _replace(self, before: tuple[int, int]) -> None:
        """Change places with the folder that was there before; it goes, and nothing else."""
        if identity(self.real) != before:
            raise OutputError(f"`{self.target}` was replaced while this one was made")
        check_replaceable(self.real, self.kind)
        old = self.path
        if not exchanged(self.path, self.real):
            old = beside(self.real, OLD)
            self.real.rename(old)
            try:
                self.path.rename(self.real)
            except BaseException:
                old.rename(self.real)
                raise
        ours = owned(old, self.kind)
        others = foreign(old, ours or ())
        if others:  # added since they were looked at
            swap(old, self.real)
            if old != self.path:
                old.rename(self.path)
            raise OutputError(f"`{self.target}` holds {listed(others)}, which mamtra did not write")
        remove_owned(old, ours or ())

    def _keep(self, why: str) -> None:
        """Keep what was made under a name that is told."""
        kept = spare_name(self.real)
        take_folder_name(self.path, kept)
        shown = self.target.with_name(kept.name)
        raise OutputError(
            f"{why}; nothing there was touched, and what was made is in `{shown}`",
            f"move it where you want it: mv {shown} ANOTHER",
        )


def swap(one: Path, other: Path) -> None:
    """Exchange two names, by a third where the system has no better way."""
    if not exchanged(one, other):
        third = beside(other, "swap")
        other.rename(third)
        one.rename(other)
        third.rename(one)


def spare_name(target: Path) -> Path:
    """A name beside `target` that nothing has."""
    number = 1
    while os.path.lexists(path := target.with_name(f"{target.name}.new{number}")):
        number += 1
    return path


def identity(folder: Path) -> tuple[int, int]:
    """What tells a folder from another one of its name."""
    told = folder.lstat()
    return told.st_dev, told.st_ino


def check_free(target: Path, *, force: bool, kind: Kind) -> None:
    """Fail where writing `target` would replace something and `force` is not given, or something
    that is not ours and of this kind although it is.

    Raises:
        OutputError: naming what is in the way.
    """
    with output_errors(target):
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            raise OutputError(f"output `{target}` is not a folder", "name a new folder")
        heal(target.resolve())
        above = standing(target.absolute().parent)
        if not os.access(above, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write `{target}`: folder `{above}` takes no new files", OWN)
        if not target.is_dir():
            return
        check_place(target)
        if not any(target.iterdir()):
            return
        if not force:
            raise OutputError(
                f"output folder `{target}` is not empty", "name another one, or add `--force`"
            )
        check_replaceable(target, kind)


def check_space(target: Path, wanted: int) -> None:
    """Fail where the disk of `target` has no room for so many bytes."""
    free = shutil.disk_usage(standing(target)).free
    if wanted > free:
        needed, there = apart(wanted, free)
        raise OutputError(
            f"`{target}` needs {needed}, and {there} are free there",
            "choose a folder on another disk, or a smaller `--dtype`",
        )


def apart(more: int, less: int) -> tuple[str, str]:
    """Two numbers of bytes in words that differ, `12.31 GB` and `12.30 GB`."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        words = [f"{count / unit:.2f} {name}" for count in (more, less)]
        if more >= unit and words[0] != words[1]:
            return words[0], words[1]
    return f"{more:,} bytes", f"{less:,}"


def standing(target: Path) -> Path:
    """The nearest folder above `target`, or itself, that is there."""
    folder = target.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an operating-system error into an `OutputError` that names the path."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(f"cannot write `{path}`: {reason(error)}", OWN) from error


@contextlib.contextmanager
def written_whole(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Give a file beside `path` to write, which takes its name if all goes well and goes if not.

    Args:
        path: the file to make.
        replace: also where there is one already.

    Raises:
        OutputError: no space, or the like, or the name is taken; what was at `path` is as it was.
    """
    with output_errors(path):
        partial = begin(path)
        try:
            yield partial
            flush(partial)
            settle(partial, path, replace=replace)
        finally:
            end(partial)


def begin(path: Path) -> Path:
    """Remove what killed processes left beside `path`; the name to write it under until `end`."""
    partial = beside(path)
    tidy(path)
    _open.add(partial)
    return partial


def end(partial: Path) -> None:
    """Remove what is still under a name of `begin`."""
    _open.discard(partial)
    with contextlib.suppress(OSError):
        partial.unlink(missing_ok=True)


def settle(partial: Path, path: Path, *, replace: bool) -> None:
    """Give a finished file its name.

    Raises:
        OutputError: the name is taken, and there is no leave to replace.
    """
    if replace:
        partial.replace(path)
        return
    try:
        take_name(partial, path)
    except FileExistsError as error:
        raise OutputError(
            f"output `{path}` exists: it was written meanwhile",
            "name another file, or add `--force`",
        ) from error


def write_whole(path: Path, text: str, *, replace: bool = True) -> None:
    """Write a text file in UTF-8, whole or not at all; see `written_whole`."""
    with written_whole(path, replace=replace) as partial:
        partial.write_text(text, encoding="utf-8")


def flush(path: Path) -> None:
    """Make a file, or the names in a folder, durable where the system allows."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
