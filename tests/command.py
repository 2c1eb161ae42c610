"""Running `mamtra` as a user does: in a process of its own, its output captured.

`mamtra` starts one process a call. `Worker` keeps one that answers many command lines, for
suites whose environment must be set before the first import (the hub client reads it once).
Both are forks of a `python` that has imported everything (tests/fork_server.py), where there are
forks: how a start without it goes is shown by tests/test_startup.py.
"""

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

LOOP = """
import contextlib, io, json, os, sys
from mamtra_cli.cli.app import run
channel = sys.stdout
for line in sys.stdin:
    asked = json.loads(line)
    for name, value in asked["env"].items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        rc = run(asked["args"])
    channel.write(json.dumps({"rc": rc, "out": out.getvalue(), "err": err.getvalue()}) + "\\n")
    channel.flush()
"""


HERE = Path(__file__).parent


class ForkServer:
    """Runs tests/fork_server.py until it is closed."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="mamtra-")
        self.socket = f"{self.folder.name}/socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.socket)
            listener.listen()
            number = listener.fileno()
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "fork_server.py"), str(number)],
                env=environment(),
                stdin=subprocess.PIPE,
                pass_fds=[number],
                start_new_session=True,
            )

    def close(self) -> None:
        """Wait until all that was started has ended."""
        self.process.communicate(timeout=60)
        self.folder.cleanup()


SHARED = "MAMTRA_FORK_SERVER"
"""Names, in the environment of a run's workers, the socket of the server that they share."""


@functools.cache
def fork_server() -> ForkServer:
    """The server of this process, started when it is first asked for."""
    return ForkServer()


def share_fork_server() -> None:
    """Let the processes that are started from here on have one server."""
    os.environ[SHARED] = fork_server().socket


def close_fork_server() -> None:
    """End the server of this process, if there is one."""
    if fork_server.cache_info().currsize:
        fork_server().close()
        fork_server.cache_clear()


def python() -> list[str]:
    """The words that start a `python` which has imported `torch` and `mamtra_cli` already."""
    if not hasattr(os, "fork"):
        return [sys.executable]
    socket = os.environ.get(SHARED) or fork_server().socket
    return [sys.executable, "-I", "-S", str(HERE / "fork_client.py"), socket]


def hear_ctrl_c() -> None:
    """Undo, in a child, that shells let background jobs ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True, kw_only=True)
class Done:
    """Exit code and output of a command."""

    rc: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        assert self.out.count("\n") == 1, self.out + self.err
        return json.loads(self.out)


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this environment without the models and the hub of this machine.

    What is cached is shared by the tests of a run; a test with a hub has it beside what it fetches.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "MAMTRA_"))}
    given = dict(env or {})
    cache = f"{given['HF_HOME']}/hub" if "HF_HOME" in given else os.environ["MAMTRA_CACHE"]
    own = {"OMP_NUM_THREADS": "1", "COLUMNS": "100", "HF_HUB_OFFLINE": "1", "MAMTRA_CACHE": cache}
    return kept | own | given


def mamtra(
    *args: str | Path,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = 300,
    cwd: Path | None = None,
    stdout_closed: bool = False,
) -> Done:
    """Run one command line in a new process, into a pipe that nobody reads if so asked."""
    if stdout_closed:
        return _into_closed_pipe(list(map(str, args)), environment(env), timeout)
    done = subprocess.run(
        [*python(), "-m", "mamtra_cli", *map(str, args)],
        env=environment(env),
        input=stdin or "",
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        check=False,
    )
    return Done(rc=done.returncode, out=done.stdout, err=done.stderr)


def _into_closed_pipe(args: list[str], env: dict[str, str], timeout: float) -> Done:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*python(), "-m", "mamtra_cli", *args],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=timeout,
        check=False,
    )
    os.close(writer)
    return Done(rc=done.returncode, out="", err=done.stderr)


class Worker:
    """A process that runs command lines one after the other."""

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [*python(), "-c", LOOP],
            env=environment(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *args: str | Path, env: Mapping[str, str | None] | None = None) -> Done:
        """Run one command line; `env` changes the environment from here on."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        asked = {"args": list(map(str, args)), "env": dict(env or {})}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the process died at {args}"
        return Done(**json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)
