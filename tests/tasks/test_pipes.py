"""Sound on a pipe, to the programs that others have: ffmpeg, sox and curl, where they are."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from tests.command import environment, python
from tests.serving.fake_studio import RATE, FakeStudio

MAMTRA = [*python(), "-m", "mamtra_cli"]
SPEAK = [*MAMTRA, "synth", "Good evening to you.", "-o", "-", "-q"]
READERS = {
    "ffmpeg": ["-loglevel", "error", "-i", "-", "out.wav"],
    "ffmpeg, raw": ["-loglevel", "error", "-f", "s16le", "-ar", "24000", "-i", "-", "out.wav"],
    "sox": ["-t", "wav", "-", "out.wav"],
    "sox, raw": ["-t", "raw", "-r", "24000", "-e", "signed", "-b", "16", "-c", "1", "-", "out.wav"],
}


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} here")
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Samples of the sentence as a file of ours."""
    path = tmp_path_factory.mktemp("alone") / "alone.wav"
    command = [*SPEAK[:-2], str(path), "-q"]
    subprocess.run(command, env=environment(), check=True, capture_output=True, timeout=300)
    return soundfile.info(path).frames


@pytest.mark.parametrize("reader", READERS)
def test_a_program_reads_the_whole_sound_from_a_pipe(
    reader: str, alone: int, tmp_path: Path
) -> None:
    name, _, raw = reader.partition(", ")
    command = [program(name), *READERS[reader]]
    speaking = subprocess.Popen(
        [*SPEAK, "--stream", *(["--raw"] if raw else [])],
        env=environment(),
        stdout=subprocess.PIPE,
    )
    assert speaking.stdout is not None
    with speaking.stdout:
        reading = subprocess.run(
            command, stdin=speaking.stdout, cwd=tmp_path, capture_output=True, timeout=300
        )
    assert (speaking.wait(60), reading.returncode) == (0, 0)
    # Whoever reads what streams cannot know its length; sox says so, and reads it all.
    assert not reading.stderr or b"Premature EOF" in reading.stderr
    info = soundfile.info(tmp_path / "out.wav")
    assert (info.samplerate, info.frames) == (24_000, alone)


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    pytest.importorskip("starlette")
    server = pytest.importorskip("tests.serving.server")
    with server.served(FakeStudio()) as address:
        yield address


@pytest.mark.parametrize("format", ["wav", "mp3", "flac", "opus", "pcm", "aac"])
def test_curl_speaks_and_ffmpeg_reads_every_format(host: str, format: str, tmp_path: Path) -> None:
    curl = program("curl")
    if format == "aac":
        program("ffmpeg")
    body = f'{{"input": "Ten signs.", "response_format": "{format}"}}'
    path = tmp_path / f"a.{format}"
    asked = [curl, "-sSf", f"http://{host}/v1/audio/speech", "-d", body, "-o", str(path)]
    subprocess.run(asked, check=True, timeout=60)
    assert path.stat().st_size > 1000
    raw = ["-f", "s16le", "-ar", str(RATE)] if format == "pcm" else []
    command = [program("ffmpeg"), "-loglevel", "error", *raw, "-i", str(path), "out.wav"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    info = soundfile.info(tmp_path / "out.wav")
    assert info.frames / info.samplerate == pytest.approx(1.0, abs=0.15)
