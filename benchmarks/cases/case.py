"""What a case is, where it runs, and how its end is judged."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from faults.forks import PRECIOUS, Ran, fresh, mamtra, start

TRIES = ("--retries", "40")  # a random model's speech is often refused


@dataclass(frozen=True, kw_only=True)
class Place:
    """A new folder to run in, and what every case may use.

    Attributes:
        home: where commands run; a file of the user's lies there.
        model: a tiny model of ours.
        published: a tiny one in the published layout.
        clip: a recording of speech, 16 kHz.
        words: what is said in it.
        work: what all folders are in.
    """

    home: Path
    model: Path
    published: Path
    clip: Path
    words: str
    work: Path

    def run(self, *args: str | Path, **options: Any) -> Ran:
        """Run a command line to its end."""
        return mamtra([str(arg) for arg in args], self.home, **options)

    def begin(self, *args: str | Path, name: str) -> Callable[[], Ran]:
        """Begin a command line; what is returned waits for its end."""
        said = self.work / f"{name}.said"
        child = os.fork()
        if not child:
            start([str(arg) for arg in args], self.home, said, {})

        def end() -> Ran:
            _, status = os.waitpid(child, 0)
            code = os.waitstatus_to_exitcode(status)
            return Ran(code=code, said=said.read_text(), seconds=0, grown=0, hung=False)

        return end

    def shell(self, line: str) -> Ran:
        """Run a line of a shell in which `mamtra` is the command."""
        program = f"mamtra() {{ '{sys.executable}' -m mamtra_cli \"$@\"; }}\n{line}"
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        ran = subprocess.run(["bash", "-c", program], cwd=self.home, env=env, capture_output=True)
        said = (ran.stdout + ran.stderr).decode(errors="replace")
        return Ran(code=ran.returncode, said=said, seconds=0, grown=0, hung=False)

    def copy(self, source: Path, name: str = "m") -> Path:
        """A copy of a folder here."""
        return Path(shutil.copytree(source, self.home / name))

    def file(self, name: str, data: str | bytes) -> Path:
        """A file here."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path


Check = Callable[[Place], str]
CASES: dict[str, Check] = {}
ARGUED: dict[str, str] = {}


def case(*ids: str) -> Callable[[Check], Check]:
    """Register what shows cases: a function that says what is wrong, or ""."""

    def register(check: Check) -> Check:
        for id in ids:
            CASES[id] = check
        return check

    return register


def told(ran: Ran, *words: str, code: int | Sequence[int] = 1) -> str:
    """What is wrong with the end of a command that should tell something; "" for nothing."""
    codes = (code,) if isinstance(code, int) else code
    if ran.fault or ran.hung:
        return ran.fault or "hung"
    missing = [word for word in words if word.lower() not in ran.said.lower()]
    if ran.code not in codes or missing:
        return f"exit {ran.code}, not said: {missing}: {' '.join(ran.said.split())[-300:]}"
    return ""


def first(*found: str) -> str:
    """The first thing that is wrong."""
    return next((what for what in found if what), "")


def untouched(place: Place, *paths: Path) -> str:
    """Whether files of the user's are there still."""
    for path in (place.home / PRECIOUS, *paths):
        if not path.is_file() or path.read_text() != "mine":
            return f"lost {path.name}"
    return ""


def small(ran: Ran, megabytes: int = 300) -> str:
    """Whether a refusal took little memory."""
    return f"took {ran.grown >> 20} MB" if ran.grown > megabytes << 20 else ""


@contextmanager
def settings(**values: str) -> Iterator[None]:
    """Variables of the environment for a while."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def place_for(id: str, common: Place) -> Place:
    """A new folder for a case."""
    return replace(common, home=fresh(common.work, "case-" + id.lower()))
