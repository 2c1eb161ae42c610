"""Several processes that train together, as a launcher starts them, without its slow start.

One process imports everything once and forks the members of each group, which then have the
environment that `torchrun` gives and a free port of 127.0.0.1. A member that hangs ends itself.
"""

import json
import socket
import subprocess
from pathlib import Path
from typing import Any, Self

from tests.command import environment, python

SECONDS = 120  # until a member is taken for hung
SOURCE = """
import json, os, signal, sys
import accelerate, torch, torch._dynamo, torch.distributed.fsdp
from mamtra_cli.cli.app import run
from mamtra_cli.engine.training.trainer import Trainer
import mamtra_cli.tasks.distill

def stop_at(step):
    plain = Trainer._record
    def record(self, values):
        plain(self, values)
        if self.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
    Trainer._record = record

def member(asked, rank):
    signal.alarm(asked["seconds"])
    for number, name in ((1, "out"), (2, "err")):
        path = f"{asked['folder']}/{name}{rank}"
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if asked["size"] > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": asked["size"]}
        names |= {"LOCAL_WORLD_SIZE": asked["size"], "MASTER_PORT": asked["port"]}
        os.environ.update({key: str(value) for key, value in names.items()})
        os.environ["MASTER_ADDR"] = "127.0.0.1"
    if asked["stop"] and rank == asked["size"] - 1:
        stop_at(asked["stop"])
    code = run(asked["args"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

for line in sys.stdin:
    asked = json.loads(line)
    pids = []
    for rank in range(asked["size"]):
        pids.append(os.fork())
        if not pids[-1]:
            try:
                member(asked, rank)
            finally:
                os._exit(99)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    print(json.dumps(codes), flush=True)
"""


class Forks:
    """Starts groups of `mamtra` processes.

    Args:
        folder: where their output goes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [*python(), "-c", SOURCE],
            env=environment({"GLOO_SOCKET_IFNAME": "lo"}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, size: int, *args: str, stop: int = 0, code: int = 0) -> str:
        """Run one command line in a group; returns what the first member printed.

        Args:
            size: of the group.
            args: of `mamtra`.
            stop: the last member is sent SIGTERM after this update.
            code: with which every member must end.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        asked: dict[str, Any] = {"size": size, "args": args, "stop": stop, "port": port}
        asked |= {"folder": str(self.folder), "seconds": SECONDS}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        codes = json.loads(self.process.stdout.readline())
        said = [(self.folder / f"err{rank}").read_text()[-2000:] for rank in range(size)]
        assert codes == [code] * size, f"{codes}\n" + "\n---\n".join(said)
        return (self.folder / "out0").read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=SECONDS)
        self.process.stdout.close()
