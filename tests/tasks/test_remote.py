"""`synth --server`: the file that the server's sound makes, and its refusals as our own."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.serving.fake_studio import RATE, FakeStudio
from tests.serving.server import served

from mamtra_cli.errors import (
    MamtraError,
    ModelNotFoundError,
    ServerError,
    TextError,
    UsageError,
)
from mamtra_cli.recipes.synth import SynthRecipe
from mamtra_cli.serving.app import Settings
from mamtra_cli.tasks.remote import synth_remote


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    with served(FakeStudio()) as address:
        yield address


def recipe(host: str, folder: Path, **changes: object) -> SynthRecipe:
    given = {"text": "Ten signs.", "output": str(folder / "a.wav"), "server": host, **changes}
    return SynthRecipe(**given)  # type: ignore[arg-type]


def test_the_sound_of_the_server_becomes_a_file_with_subtitles(host: str, tmp_path: Path) -> None:
    result = synth_remote(recipe(host, tmp_path, srt=tmp_path / "a.srt"))
    samples, rate = soundfile.read(tmp_path / "a.wav")
    assert (rate, len(samples)) == (RATE, RATE)
    assert np.abs(samples).max() == pytest.approx(0.3, rel=0.01)
    assert (result.model, result.voice, result.seconds, result.tokens) == ("fake", "f1", 1.0, 2)
    assert (tmp_path / "a.srt").read_text() == "1\n00:00:00,000 --> 00:00:01,000\nTen signs.\n\n"


def test_a_voice_that_stands_in_is_told(host: str, tmp_path: Path) -> None:
    assert synth_remote(recipe(host, tmp_path, voice="alloy")).voice == "f1"


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"text": " "}, TextError, "empty"),
        ({"text": "no \u2603"}, TextError, "no good speech"),
        ({"voice": "zz"}, ModelNotFoundError, "no voice"),
        ({"greedy": True}, UsageError, "--greedy"),
        ({"settings": ("pitch=1",)}, UsageError, "`--set`"),
        ({"server": "ftp://a"}, UsageError, "no address"),
        (
            {"server": "127.0.0.1:9"},
            ServerError,
            "no server answers at http://127.0.0.1:9: connection refused",
        ),
    ],
)
def test_what_cannot_be_is_told_as_here(
    host: str, tmp_path: Path, changes: dict[str, object], kind: type[MamtraError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        synth_remote(recipe(host, tmp_path, **changes))
    assert not (tmp_path / "a.wav").exists()


def test_the_key_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(FakeStudio(), settings=Settings(key="open", patience=2.0)) as host:
        with pytest.raises(MamtraError, match="key"):
            synth_remote(recipe(host, tmp_path))
        monkeypatch.setenv("MAMTRA_SERVE_KEY", "open")
        assert synth_remote(recipe(host, tmp_path)).seconds == 1.0
