"""`serve` from the command line: what is refused before a model is loaded, and a served request."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.command import python

pytest.importorskip("uvicorn")

from mamtra_cli.errors import AudioError, ModelNotFoundError, OutputError, UsageError
from mamtra_cli.recipes.serve import ServeRecipe
from mamtra_cli.recipes.voice import VoiceAddRecipe
from mamtra_cli.tasks.serve import _new_voice, serve


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


def test_a_refused_recording_is_not_called_by_its_place_on_the_server() -> None:
    def refuse(asked: VoiceAddRecipe) -> Any:
        assert asked.clip.read_bytes() == b"bytes"
        raise AudioError(f"`{asked.clip}` is clipped")

    with pytest.raises(AudioError, match=r"^the recording is clipped"):
        _new_voice(refuse, ServeRecipe(), "ann", b"bytes", "", "Ann agreed.")


def test_a_model_that_cannot_speak_first_ends_the_server_with_its_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        serve(ServeRecipe(model="./nowhere", port=0, warmup=True))
    assert "Traceback" not in capfd.readouterr().err


@contextlib.contextmanager
def server(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`mamtra serve mini` and its address."""
    command = [*python(), "-m", "mamtra_cli", "serve", "mini", "--port", "0", "--json"]
    command += ["--voices", str(folder), "--threads", "1", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        begun = json.loads(process.stdout.readline())
        assert (begun["command"], begun["model"]) == ("serve", "mini")
        yield process, begun["address"]
    finally:
        process.kill()
        process.communicate()


def speech(address: str, text: str) -> Any:
    body = json.dumps({"input": text, "response_format": "pcm"}).encode()
    return urllib.request.urlopen(
        urllib.request.Request(f"{address}/v1/audio/speech", body), timeout=120
    )


def await_closed_door(address: str) -> None:
    """Wait until a server takes no more callers, as it does once it has heard of its end."""
    host, port = address.removeprefix("http://").split(":")
    until = time.monotonic() + 60
    with contextlib.suppress(ConnectionError):
        while True:
            socket.create_connection((host, int(port)), timeout=60).close()
            assert time.monotonic() < until
            time.sleep(0.01)


@pytest.mark.skipif(os.name == "nt", reason="signals differ on Windows")
def test_json_tells_the_address_at_once_and_ctrl_c_ends_well(tmp_path: Path) -> None:
    with server(tmp_path) as (process, address):
        with speech(address, "Hello.") as answer:
            assert len(answer.read()) > 24_000 * 0.4 * 2
        maps = Path(f"/proc/{process.pid}/maps")
        assert not maps.exists() or "libtorch" not in maps.read_text()  # mini needs none
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        ended = json.loads(out)
        assert (ended["address"], ended["model"]) == (address, "mini")


@pytest.mark.skipif(os.name == "nt", reason="signals differ on Windows")
def test_a_second_ctrl_c_cuts_callers_off(tmp_path: Path) -> None:
    with server(tmp_path) as (process, address):
        with speech(address, "It still talks, and it will talk for a while. " * 60) as answer:
            assert answer.read(1000)
            process.send_signal(signal.SIGINT)
            await_closed_door(address)  # two signals that come before it are taken as one
            process.send_signal(signal.SIGINT)
            out, told = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in told
        assert json.loads(out)["code"] == "interrupted"
