"""Recordings: read as they are or mixed down, foreign ones through ffmpeg or with its command."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mamtra_cli.audio import resample
from mamtra_cli.errors import AudioError
from mamtra_cli.recording import decode_file, read_audio

RATE = 24_000


def tone(seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * 440 / rate)).astype(
        np.float32
    )


def test_clip_is_read_as_mono_at_the_wanted_rate(tmp_path: Path) -> None:
    stereo = np.stack([tone(rate=48_000), 0.5 * tone(rate=48_000)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, 48_000)
    samples = read_audio(tmp_path / "a.wav", RATE)
    assert samples.shape == (RATE // 2,)
    np.testing.assert_allclose(samples[300:-300], tone()[300:-300] * 0.75, atol=2e-3)
    assert resample(tone(), RATE, RATE) is not None


@pytest.mark.parametrize("content", [None, b"no audio"], ids=["missing", "text"])
def test_unreadable_clip_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=r"a\.wav"):
        read_audio(path, RATE)


M4A = b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(64)


def test_sound_of_phones_is_told_with_its_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "my clip.m4a").write_bytes(M4A)
    with pytest.raises(AudioError, match="cannot read") as told:
        decode_file(tmp_path / "my clip.m4a")
    home = tmp_path / "my clip"
    assert told.value.hint == f"convert it first: ffmpeg -i '{home}.m4a' '{home}.wav'"


@pytest.mark.skipif(os.name == "nt", reason="a program of POSIX stands in")
@pytest.mark.parametrize("works", [True, False])
def test_sound_of_phones_is_read_through_ffmpeg_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    soundfile.write(tmp_path / "sound.wav", np.full(80, 0.5, np.float32), 8000, subtype="FLOAT")
    program = tmp_path / "ffmpeg"
    body = f'cp {tmp_path}/sound.wav "$last"' if works else "echo no such codec >&2; exit 1"
    program.write_text(f"#!/bin/sh\nfor last; do :; done\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "a.m4a").write_bytes(M4A)
    if works:
        samples, rate = decode_file(tmp_path / "a.m4a")
        assert (samples.shape, rate) == ((80, 1), 8000)
    else:
        with pytest.raises(AudioError, match="no such codec"):
            decode_file(tmp_path / "a.m4a")
