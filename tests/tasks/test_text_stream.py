"""`synth --text-stream`: sound leaves before the text has ended."""

import io
import subprocess
import threading
from pathlib import Path

import pytest
from tests.command import environment, python
from tests.tiny_model import write_tiny_model

from mamtra_cli.cli.app import run

TOKEN = 1920  # bytes: 40 ms of 16-bit samples at 24 kHz


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("arrival") / "tiny")


def test_sound_of_the_first_sentence_comes_while_stdin_stays_open(model: Path) -> None:
    command = [*python(), "-m", "mamtra_cli", "synth", "-m", str(model), "--retries", "60"]
    command += ["--text-stream", "--raw", "-o", "-", "-q"]
    process = subprocess.Popen(
        command,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    watchdog = threading.Timer(300, process.kill)
    watchdog.start()
    try:
        process.stdin.write(b"The clock was slow. And")
        process.stdin.flush()
        # Nothing more is written and nothing closed: without streaming this would wait forever.
        first = process.stdout.read(TOKEN)
        assert len(first) == TOKEN
        assert process.poll() is None
        process.stdin.write(b" nobody noticed.")
        process.stdin.close()
        rest = process.stdout.read()
        assert process.wait() == 0, process.stderr.read() if process.stderr else ""
        assert len(rest) > 2000
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None and not pipe.closed:
                pipe.close()


@pytest.mark.parametrize("args", [["hello"], ["-i", "a.txt"]], ids=["text", "file"])
def test_text_stream_reads_stdin_only(
    args: list[str], capsys: pytest.CaptureFixture[str], model: Path, tmp_path: Path
) -> None:
    output = str(tmp_path / "a.wav")
    assert run(["synth", *args, "--text-stream", "-m", str(model), "-o", output]) == 2
    assert "reads stdin" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "message"), [(b"", "empty"), (b"good. \xff\xfe", "UTF-8")], ids=["empty", "binary"]
)
def test_text_that_is_none_is_refused(
    data: bytes,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    model: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))
    output = str(tmp_path / "a.wav")
    assert run(["synth", "--text-stream", "-m", str(model), "-o", output]) != 0
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
