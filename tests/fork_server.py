"""Forks for those who would start `python` anew: what tests run was imported once, before.

A client (tests/fork_client.py) hands over its command line, environment, folder and standard
streams. A keeper, forked for it, forks the program, tells its process and then how it ended, and
kills it where the client is gone. Nothing is imported that reads the environment when it is
imported, and every child is waited for, so that its time counts as that of the tests. POSIX only.

    python tests/fork_server.py NUMBER

NUMBER is the open file of a socket that listens. Ends where its standard input does.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
import threading
from typing import Any

HEAD = 4  # bytes that say how long a request is
OUTSIDE = ("torch._dynamo", "pydantic", "scipy.signal", "soundfile", "uvicorn", "yaml")
"""What commands import in the midst of their work. Not `onnxruntime`: it starts a thread."""


def import_all() -> None:
    """Import every module of `mamtra`, and what it imports late, as far as they are installed."""
    import mamtra_cli

    found = pkgutil.walk_packages(mamtra_cli.__path__, "mamtra_cli.", onerror=lambda name: None)
    for name in (*(module.name for module in found if module.name[-8:] != "__main__"), *OUTSIDE):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert "huggingface_hub" not in sys.modules


def serve(number: int) -> tuple[dict[str, Any], list[int]] | None:
    """Answer clients; returns in each forked program, with what it shall be, and at the end."""
    with socket.socket(fileno=number) as listener, selectors.DefaultSelector() as watch:
        watch.register(listener, selectors.EVENT_READ)
        watch.register(sys.stdin, selectors.EVENT_READ)
        while all(key.fileobj is listener for key, _ in watch.select()):
            link = listener.accept()[0]
            if not os.fork():
                listener.close()
                return keep(link)
            link.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    return None


def keep(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork the program and wait for its end; returns in the program."""
    head, streams, _, _ = socket.recv_fds(link, HEAD, 3)
    with link.makefile("rb") as file:
        asked = json.loads(file.read(int.from_bytes(head, "big")))
    program = os.fork()
    if not program:
        link.close()
        return asked, streams
    for stream in streams:
        os.close(stream)

    def tell(number: int) -> None:
        with contextlib.suppress(ConnectionError):
            link.sendall(b"%d\n" % number)

    def kill_with_the_client() -> None:
        with contextlib.suppress(ConnectionError):
            link.recv(1)
        with contextlib.suppress(ProcessLookupError):
            os.kill(program, signal.SIGKILL)

    threading.Thread(target=kill_with_the_client, daemon=True).start()
    tell(program)
    tell(os.waitstatus_to_exitcode(os.waitpid(program, 0)[1]))
    os._exit(0)


def become(asked: dict[str, Any], streams: list[int]) -> None:
    """Do as `python` with this command line would, in this process."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    for number in asked["ignored"]:
        signal.signal(number, signal.SIG_IGN)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        how: dict[str, Any] = {"buffering": 1, "errors": "backslashreplace"} if number == 2 else {}
        stream = open(number, "w" if number else "r", closefd=False, **how)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    kind, *rest = asked["words"]
    if kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind in ("-c", "-"):
        source = sys.stdin.read() if kind == "-" else rest.pop(0)
        sys.argv = [kind, *rest]
        exec(compile(source, "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [kind, *rest]
        sys.path.insert(0, os.path.dirname(os.path.abspath(kind)))
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file, which has a `text`
    import_all()
    gc.freeze()
    given = serve(int(sys.argv[1]))
    if given is not None:
        become(*given)
