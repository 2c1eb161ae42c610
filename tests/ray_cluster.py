"""A Ray of two workers on this machine for the time of a test run, and the killing of one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOKEN = {"RAY_AUTH_MODE": "token"}  # which Ray asks for by default, on loopback too
START = """
import sys
from mamtra_cli import ray_pool
ray_pool.OWN.update(num_cpus=2, object_store_memory=100_000_000)
with ray_pool.connected("local") as ray:
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
"""


@contextmanager
def cluster() -> Iterator[str]:
    """Start a Ray of two cores; gives its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **TOKEN, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()


def workers(title: str) -> list[int]:
    """Ids of the processes that Ray calls so."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(f"ray::{title}".encode()):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return sorted(found)


def kill_one(title: str, before: list[int], patience: float = 600) -> int:
    """Kill -9 the first process of that title that was not there before."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        for pid in workers(title):
            if pid not in before:
                os.kill(pid, signal.SIGKILL)
                return pid
        time.sleep(0.1)
    raise AssertionError(f"no process `{title}` came")
