"""A name taken in one step: only where it is free, or in exchange for what has it.

What the system offers for it (`renameat2` of Linux, `renamex_np` of macOS) is asked first; where a
file system has neither, a hard link or a name reserved for the blink of an eye stands in. Knows
names, no contents.
"""

import ctypes
import errno
import os
import sys
from pathlib import Path

HERE = -100  # AT_FDCWD of Linux: names are relative to the current folder
EXCLUSIVE = {"linux": 1, "darwin": 4}  # RENAME_NOREPLACE, RENAME_EXCL
EXCHANGE = {"linux": 2, "darwin": 2}  # RENAME_EXCHANGE, RENAME_SWAP
CANNOT = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.EXDEV}


def take_name(source: Path, target: Path) -> None:
    """Give a file a name that nothing has; of several that try, one succeeds.

    Raises:
        FileExistsError: something has it.
        OSError: it cannot be given.
    """
    if os.name == "nt":
        source.rename(target)
        return
    if renamed(source, target, EXCLUSIVE):
        return
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        # No links either: whoever makes the empty file may replace it.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        source.replace(target)
    else:
        source.unlink()


def take_folder_name(source: Path, target: Path) -> None:
    """Give a folder a name that nothing has, or an empty folder.

    Raises:
        FileExistsError: something is there.
        OSError: the name cannot be given.
    """
    if os.name == "nt" and target.is_dir():
        target.rmdir()
    try:
        source.rename(target)
    except (FileExistsError, NotADirectoryError) as error:
        raise FileExistsError(errno.EEXIST, "it exists", str(target)) from error
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        raise FileExistsError(errno.EEXIST, "it exists", str(target)) from error


def exchanged(one: Path, other: Path) -> bool:
    """Exchange the names of two files or folders; False where this system cannot."""
    return renamed(one, other, EXCHANGE)


def renamed(source: Path, target: Path, flags: dict[str, int]) -> bool:
    """Rename as the flag says; False where the system or the file system does not know it."""
    flag = flags.get(sys.platform)
    if flag is None:
        return False
    names = os.fsencode(source), os.fsencode(target)
    try:
        system = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            failed = system.renamex_np(*names, flag)
        else:
            failed = system.renameat2(HERE, names[0], HERE, names[1], flag)
    except (AttributeError, OSError):
        return False  # an older C library
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(target))
