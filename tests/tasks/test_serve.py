"""`serve` from the command line: what is refused before a model is loaded, and a served request."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")

from mamtra_cli.errors import OutputError, UsageError
from mamtra_cli.recipes.serve import ServeRecipe
from mamtra_cli.tasks.serve import serve


def test_other_machines_need_a_key() -> None:
    with pytest.raises(UsageError, match="there is no key"):
        serve(ServeRecipe(host="0.0.0.0"))


def test_a_taken_port_is_told_before_anything_is_loaded() -> None:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        line.listen()
        port = line.getsockname()[1]
        with pytest.raises(OutputError, match=f"127.0.0.1:{port}"):
            serve(ServeRecipe(model="nowhere", port=port))


@pytest.mark.skipif(os.name == "nt", reason="signals differ on Windows")
def test_a_request_is_spoken_and_ctrl_c_ends_the_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mamtra_cli", "serve", "mini", "--port", "0"]
    command += ["--voices", str(tmp_path), "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://[\d.:]+", line)
        assert found, line
        body = json.dumps({"input": "Hello.", "response_format": "pcm"}).encode()
        request = urllib.request.Request(f"{found[0]}/v1/audio/speech", body)
        with urllib.request.urlopen(request, timeout=120) as answer:
            assert len(answer.read()) > 24_000 * 0.4 * 2
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert found[0] in out
    finally:
        process.kill()
        process.communicate()
