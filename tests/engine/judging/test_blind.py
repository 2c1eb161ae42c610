"""The blind comparison: what is in the folder, equal loudness, and a person at the page."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tests.browser import browser

from mamtra_cli.engine.judging import blind
from mamtra_cli.engine.judging.seed_tts import Sentence
from mamtra_cli.engine.speaking.lines import Line, LineSound
from mamtra_cli.errors import OutputError

SAID = [Sentence(id=f"s{i}", text=text) for i, text in enumerate(("One.", "Two </script> words."))]


class Hummer:
    """A model that hums, each at a loudness of its own."""

    sample_rate = 24_000

    def __init__(self, name: str, loudness: float) -> None:
        self.name, self.loudness = name, loudness

    def voice(self, name: str) -> None:
        assert name == ""


def humming(engine: Hummer, lines: Iterable[Line], options: Any) -> Iterator[LineSound]:
    for line in lines:
        wave = engine.loudness * torch.sin(torch.arange(9600) / 10)
        yield LineSound(line=line, audio=wave)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("blind") / "page"
    engines: Any = (Hummer("old", 0.02), Hummer("new", 0.7))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blind, "speak_lines", humming)
        assert blind.write_blind(target, engines, SAID, audio_format="wav") == 2
        with pytest.raises(OutputError):
            blind.write_blind(target, engines, SAID)
    return target


def test_both_sounds_of_a_sentence_are_equally_loud(folder: Path) -> None:
    key = json.loads((folder / "key.json").read_text())
    assert key["models"] == ["old", "new"]
    for pair in key["pairs"]:
        one, two = (soundfile.read(folder / name)[0] for name in pair["files"])
        heard = [np.sqrt(np.mean(np.square(w[np.abs(w) > 0.01]))) for w in (one, two)]
        assert heard[0] == pytest.approx(heard[1], rel=0.2)
    page = (folder / "index.html").read_text()
    assert '"old"' not in page
    assert "Two </script>" not in page


def test_silence_stays_silence() -> None:
    assert not blind.loud(np.zeros(10, np.float32)).any()


def test_a_person_chooses_by_keys_and_hears_the_outcome(folder: Path, tmp_path: Path) -> None:
    with browser(tmp_path) as page:
        page.open((folder / "index.html").as_uri())
        assert page.js("document.getElementById('one').disabled") is True
        page.press("1")  # nothing was heard yet
        assert "Sentence 1 of 2" in page.js("document.getElementById('place').textContent")
        for key in ("a", "b", "1", "a", "b", "0"):
            page.press(key)
        assert page.js("document.getElementById('result').hidden") is False
        counts = page.js("[...document.querySelectorAll('td')].map((cell) => cell.textContent)")
        assert counts[4:] == ["no difference", "1"]
        assert sorted(counts[1:4:2]) == ["0", "1"]
        assert "Wilson" in page.js("document.getElementById('interval').textContent")
