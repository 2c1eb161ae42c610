"""`mamtra serve --ray`: two replicas on a real Ray speak as one server, also when one is killed."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.command import environment
from tests.ray_cluster import kill_one, workers
from tests.tiny_model import write_tiny_model

REPLICA = "ServeReplica"


def speech(port: int, patience: float) -> bytes:
    """The samples of a sentence, asked for until they come."""
    body = {"input": "Hello there.", "response_format": "pcm", "seed": 3}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/audio/speech", json.dumps(body).encode()
    )
    end = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


@contextmanager
def server(model: Path, port: int, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server of a model, stopped as a person stops it."""
    line = ["serve", str(model), "--port", str(port), *more]
    running = subprocess.Popen([sys.executable, "-m", "mamtra_cli", *line], env=environment())
    try:
        yield running
    finally:
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=300) == 0


@pytest.mark.ray
def test_two_replicas_one_killed_speak_as_one_server(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "tiny")
    with server(model, 8941):
        alone = speech(8941, 300)
    assert len(alone) > 1000
    before = workers(REPLICA)
    with server(model, 8942, "--ray", "local", "--replicas", "2"):
        assert all(speech(8942, 600) == alone for _ in range(4))
        assert len(set(workers(REPLICA)) - set(before)) == 2
        kill_one(REPLICA, before)
        assert all(speech(8942, 300) == alone for _ in range(6))
