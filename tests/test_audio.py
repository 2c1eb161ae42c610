"""Sound files: what is written is read back, whole or not at all."""

import errno
import io
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from mamtra_cli.audio import (
    RATES,
    AudioWriter,
    check_output,
    choose_format,
    pcm16,
)
from mamtra_cli.errors import AudioError, OutputError, UsageError
from mamtra_cli.recording import decode_file

RATE = 24_000


def tone(seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * 440 / rate)).astype(
        np.float32
    )


def write(target: Path | io.BytesIO, samples: np.ndarray, **options: object) -> None:
    with AudioWriter(target, sample_rate=RATE, **options) as writer:  # type: ignore[arg-type]
        for chunk in np.array_split(samples, 7):
            writer.write(chunk)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "opus"])
def test_chunks_come_back_as_one_clip(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    write(path, tone(), format=kind)
    samples, rate = soundfile.read(path)
    assert rate == RATE
    assert abs(len(samples) - len(tone())) <= (0 if kind in ("wav", "flac") else 2 * 1152)
    if kind in ("wav", "flac"):
        np.testing.assert_allclose(samples, tone(), atol=1 / 32_000)


def test_wav_carries_its_tags(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(), tags={"ISFT": "mamtra", "ICMT": "synthetic speech, seed 3"})
    with soundfile.SoundFile(tmp_path / "a.wav") as file:
        assert file.software == "mamtra"
        assert file.comment == "synthetic speech, seed 3"
        assert file.frames == len(tone())


def test_raw_is_headerless(tmp_path: Path) -> None:
    write(tmp_path / "a.raw", tone(), format="raw")
    assert (tmp_path / "a.raw").read_bytes() == pcm16(tone())


def test_pipe_gets_an_open_ended_header_at_once() -> None:
    source, sink = os.pipe()
    got: list[bytes] = []
    with os.fdopen(source, "rb") as reader, os.fdopen(sink, "wb") as writer:
        thread = threading.Thread(target=lambda: got.append(reader.read()))
        thread.start()
        write(writer, tone())  # type: ignore[arg-type]
        writer.close()
        thread.join()
    assert got[0][:4] == b"RIFF"
    assert got[0][40:44] == b"\xff\xff\xff\xff"
    assert got[0][44:] == pcm16(tone())


def test_seekable_stream_gets_the_true_length() -> None:
    stream = io.BytesIO()
    write(stream, tone())
    stream.seek(0)
    samples, _ = soundfile.read(stream)
    assert len(samples) == len(tone())


def test_output_rate_is_resampled_across_chunks(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(), output_rate=16_000)
    samples, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == 16_000
    np.testing.assert_allclose(
        samples[200:-200], tone(rate=16_000)[200 : len(samples) - 200], atol=2e-3
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf], ids=["nan", "inf"])
def test_not_finite_leaves_no_file(tmp_path: Path, bad: float) -> None:
    with pytest.raises(AudioError, match="not finite"):
        write(tmp_path / "a.wav", np.append(tone(), np.float32(bad)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_interruption_leaves_the_old_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    write(path, tone(), format=kind)
    before = path.read_bytes()

    def interrupted() -> None:
        with AudioWriter(path, sample_rate=RATE, format=kind, force=True) as writer:
            writer.write(tone())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_existing_file_needs_force(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    write(path, tone())
    with pytest.raises(OutputError, match="exists"):
        write(path, tone())
    write(path, tone(0.1), force=True)
    assert soundfile.info(path).frames == 2400


@pytest.mark.parametrize(
    ("name", "message"),
    [(".", "is a folder"), ("missing/a.wav", "no folder")],
    ids=["folder", "no-folder"],
)
def test_impossible_output_is_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        write(tmp_path / name, tone())


def test_device_file_is_written_through() -> None:
    write(Path(os.devnull), tone())


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("", "a.wav", "wav"),
        ("", "a.FLAC", "flac"),
        ("", "a.ogg", "opus"),
        ("", "-", "wav"),
        ("", "a", "wav"),
        ("mp3", "a.wav", "mp3"),
        ("", "a.pcm", "raw"),
        ("MP3", "a.wav", "mp3"),
        ("ogg", "-", "opus"),
    ],
)
def test_format_is_the_given_one_or_that_of_the_name(name: str, path: str, expected: str) -> None:
    assert choose_format(name, path) == expected


def test_unknown_format_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown audio format `flacc`") as caught:
        choose_format("flacc", "a.wav")
    assert caught.value.hint == "did you mean `flac`?"


def test_unknown_file_ending_says_which_option_names_the_format() -> None:
    with pytest.raises(UsageError, match="unknown audio format `xyz`") as caught:
        choose_format("", "a.xyz")
    assert "`--format`" in (caught.value.hint or "")


@pytest.mark.parametrize(("kind", "rate"), [("opus", 44_100), ("mp3", 96_000)])
def test_format_refuses_a_rate_it_lacks(tmp_path: Path, kind: str, rate: int) -> None:
    with pytest.raises(UsageError, match=f"{kind} has no sample rate of {rate}"):
        write(tmp_path / f"a.{kind}", tone(), format=kind, output_rate=rate)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rate", RATES["mp3"])
def test_mp3_is_written_at_every_rate_it_has(tmp_path: Path, rate: int) -> None:
    write(tmp_path / "a.mp3", tone(), format="mp3", output_rate=rate)
    assert soundfile.info(tmp_path / "a.mp3").samplerate == rate


def test_folder_that_takes_no_files_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="takes no new files"):
        check_output(tmp_path / "a.wav", force=False)
    (tmp_path / "a.wav").touch()
    check_output(tmp_path / "a.wav", force=True)


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs /dev/fd")
@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_a_number_of_an_open_file_is_written_to(tmp_path: Path, name: str) -> None:
    with (tmp_path / "a.wav").open("wb") as file:
        path = Path(name.format(file.fileno()))
        check_output(path, force=False)
        with AudioWriter(path, sample_rate=8000) as writer:
            writer.write(np.full(80, 0.5, np.float32))
    samples, rate = decode_file(tmp_path / "a.wav")
    assert (samples.shape, rate) == ((80, 1), 8000)
    with pytest.raises(OutputError, match="bad file descriptor"):
        check_output(Path("/dev/fd/999"), force=False)


@pytest.mark.parametrize("kind", ["mp3", "flac", "opus"])
def test_full_folder_for_temporary_files_is_one_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            super().close()
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    path = tmp_path / f"a.{kind}"
    with pytest.raises(OutputError, match=r"cannot write .*a\."):  # noqa: SIM117
        with AudioWriter(path, sample_rate=RATE, format=kind) as writer:
            writer.write(tone(30.0))
    assert list(tmp_path.iterdir()) == []
