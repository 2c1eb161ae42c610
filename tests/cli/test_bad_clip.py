"""Recordings that cannot be a voice, and places that can take none: each told before any work."""

from pathlib import Path

import numpy as np
import pytest
from tests.cli.saying import said
from tests.sounds import speech, write
from tests.tiny_model import write_tiny_model

NO_CLIPS: dict[str, tuple[np.ndarray | None, str, str]] = {
    "missing": (None, "Hello there.", "there is no audio file"),
    "0-seconds": (np.zeros(0, np.float32), "Hello there.", "holds no samples"),
    "short": (speech(0.5), "Hello there.", "at least 1 s"),
    "long": (speech(31.0), "Hello there.", "at most 30 s"),
    "clipped": (np.clip(20 * speech(), -1, 1), "Hello there.", "is clipped"),
    "text-of-another-clip": (speech(), "Hello there. " * 30, "too much text for the clip"),
    "half-of-the-text": (speech(12.0), "Hello there.", "too little text for the clip"),
}


@pytest.mark.parametrize(("samples", "text", "words"), NO_CLIPS.values(), ids=NO_CLIPS)
@pytest.mark.parametrize("command", ["synth", "voice"])
def test_bad_clip_exits_1_with_a_hint_and_leaves_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    samples: np.ndarray | None,
    text: str,
    words: str,
) -> None:
    """Judged before a model is looked for."""
    clip, model = tmp_path / "clip.wav", ("-m", tmp_path / "no-such-model")
    if samples is not None:
        write(clip, samples)
    before = sorted(path.name for path in tmp_path.iterdir())
    line: dict[str, list[str | Path]] = {
        "synth": ["synth", "Hi.", "--clip", clip, "--clip-text", text, "-o", tmp_path / "o.wav"],
        "voice": ["voice", "add", "zoe", clip, "--text", text, "--consent", "Zoe agreed."],
    }
    voices = ("--voices", tmp_path / "voices")
    got = said(capsys, *line[command], *model, *voices)
    assert got["rc"] == 1, got
    assert words in got["error"]
    assert got["hint"] or "there is no" in words or "no samples" in words
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_output_that_is_the_clip_itself_is_refused_in_spite_of_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_model(tmp_path / "tiny")
    clip = write(tmp_path / "clip.wav", speech())
    kept = clip.read_bytes()
    got = said(capsys, "synth", "Hi.", "-m", model, "--clip", clip, "-o", clip, "--force")
    assert (got["rc"], got["code"]) == (1, "output")
    assert clip.read_bytes() == kept


def test_home_that_is_a_file_cannot_take_a_voice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").touch()
    monkeypatch.setenv("MAMTRA_HOME", str(tmp_path / "home"))
    clip = write(tmp_path / "clip.wav", speech())
    got = said(capsys, "voice", "add", "zoe", clip, "--consent", "Zoe agreed.")
    assert (got["rc"], got["code"]) == (1, "output"), got
