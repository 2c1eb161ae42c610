"""Commands in forks of one process that has imported everything, and what they leave.

Each runs in a folder of its own, may be killed or limited, and is watched: exit code, output, time
and memory. A fork is killed by time, or by its own hand at one of the moments in which it touches
a file: those are few, and most moments of a command are none. POSIX only.
"""

import hashlib
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

LIMIT = 30.0  # seconds of processor time until a command counts as hung
PATIENCE = 10  # so many times as long it may wait for a busy machine
TALK = 5000  # characters of a message
CODES = (0, 1, 2, 3, 130)
PRECIOUS = "precious.txt"
CHANGES = ("rename", "remove", "link", "symlink", "mkdir", "rmdir", "truncate")  # of `os`
QUICK = ("--calibrate", "none", "--check-tokens", "0")  # of a conversion


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a command ended: its exit code (negative for a signal), what it said, seconds, growth.

    `verbose`: it was asked for tracebacks.
    """

    code: int
    said: str
    seconds: float
    grown: int
    hung: bool
    verbose: bool = False

    @property
    def fault(self) -> str:
        """What is wrong with this end, whatever the command was; "" for nothing."""
        if "bug in mamtra" in self.said or (not self.verbose and "Traceback" in self.said):
            return "traceback"
        if self.code and len(self.said) > TALK:
            return "long message"
        if not self.hung and self.code not in CODES:
            return f"exit code {self.code}"
        return ""


@dataclass
class Tally:
    """What was tried under a heading, and what went wrong."""

    name: str
    tried: int = 0
    wrong: dict[str, int] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)

    def add(self, what: str, where: str = "") -> None:
        """Count a try; `what` is what went wrong with it, "" for nothing."""
        self.tried += 1
        if what:
            self.wrong[what] = self.wrong.get(what, 0) + 1
            self.shown.append(f"{what}: {where}"[:300])


def mamtra(
    args: Sequence[str],
    folder: Path,
    *,
    kill_after: float | None = None,
    kill_at: int | None = None,
    alone: bool = False,
    limits: dict[int, int] | None = None,
    limit: float = LIMIT,
) -> Ran:
    """Run one command line in a fork, in a folder, and wait for its end or bring it about.

    Args:
        args: the command line.
        folder: where it runs.
        kill_after: seconds after which it is killed.
        kill_at: how many times it may touch a file until it is killed.
        alone: in a process of its own, not in a fork.
        limits: resource limits, by number.
        limit: seconds of processor time until it counts as hung.
    """
    output = folder.parent / f"{folder.name}.said"
    output.write_text("")  # a fork may be killed before it writes
    began = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = os.fork()
    if not child:
        start(args, folder, output, limits or {}, kill_at=kill_at, alone=alone)
    hung = False
    while not (ended := os.wait4(child, os.WNOHANG))[0]:
        seconds = time.monotonic() - began
        hung = kill_after is None and (seconds > PATIENCE * limit or _spent(child) > limit)
        if hung or (kill_after is not None and seconds >= kill_after):
            os.kill(child, signal.SIGKILL)
            ended = os.wait4(child, 0)
            break
        time.sleep(0.002 if seconds < 1 else 0.02)
    _, status, usage = ended
    seconds = time.monotonic() - began
    return Ran(
        code=os.waitstatus_to_exitcode(status),
        said=output.read_text(errors="replace"),
        seconds=seconds,
        grown=max(0, usage.ru_maxrss - before) << 10,
        hung=hung,
        verbose="-v" in args or "--verbose" in args,
    )


def _spent(process: int) -> float:
    """Seconds of processor time that a process has had."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def warm(lines: Sequence[Sequence[str]], folder: Path) -> None:
    """Run command lines in this process, so that its forks have what they load and build."""
    from mamtra_cli.cli.app import run

    here = Path.cwd()
    with open(os.devnull, "w") as null, redirect_stdout(null), redirect_stderr(null):
        for args in lines:
            os.chdir(fresh(folder, "warm"))
            run(list(args))
    os.chdir(here)


def touches(args: Sequence[str], folder: Path) -> int:
    """Run a command to its end, and return how often it touched a file."""
    told = folder.parent / f"{folder.name}.touches"
    child = os.fork()
    if not child:
        seen = _counting(lambda count: None)
        start(args, folder, told, {}, ended=lambda: told.write_text(str(seen[0])))
    os.waitpid(child, 0)
    return int(told.read_text() or 0)


def _counting(heard: Callable[[int], object]) -> list[int]:
    """Count what changes files in this process from here on; `heard` is called with the count."""
    seen = [0]

    def hook(event: str, values: tuple[object, ...]) -> None:
        if event == "open":
            flags = values[2]
            changes = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))
        else:
            changes = event.startswith("os.") and event[3:] in CHANGES
        if changes:
            seen[0] += 1
            heard(seen[0])

    sys.addaudithook(hook)
    return seen


def start(
    args: Sequence[str],
    folder: Path,
    output: Path,
    limits: dict[int, int],
    *,
    kill_at: int | None = None,
    alone: bool = False,
    ended: Callable[[], object] = lambda: None,
) -> None:
    """Be the fork that runs a command line; never returns."""
    code = 99
    try:
        os.chdir(folder)
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(file, 1)
        os.dup2(file, 2)
        if alone:
            os.execv(sys.executable, [sys.executable, "-m", "mamtra_cli", *args])
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has none
        for number, value in limits.items():
            resource.setrlimit(number, (value, value))
        from mamtra_cli.cli.app import run

        if kill_at is not None:
            _counting(lambda count: count >= kill_at and os.kill(os.getpid(), signal.SIGKILL))
        code = run(list(args))
        sys.stdout.flush()
        sys.stderr.flush()
        ended()
    except BaseException as error:
        os.write(2, f"Traceback: {error!r}"[:300].encode(errors="replace"))
    finally:
        os._exit(code)


def digest(path: Path) -> str:
    """A hash over names and bytes below a path; "" where there is nothing."""
    if not os.path.lexists(path):
        return ""
    total = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file() and not file.name.startswith("metrics"):  # these tell of the time
            total.update(f"{file.relative_to(path.parent)}\0".encode())
            total.update(file.read_bytes())
    return total.hexdigest()


def leftovers(folder: Path) -> list[str]:
    """Hidden names that a command of ours may leave in a folder."""
    ends = (".partial", ".old", ".swap")
    return [path.name for path in folder.rglob(".*") if path.name.endswith(ends)]


def fresh(folder: Path, name: str) -> Path:
    """A folder with something in it that is nobody's to touch."""
    home = folder / name
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    (home / PRECIOUS).write_text("mine")
    return home
