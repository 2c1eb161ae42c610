"""Word errors of a candidate: the teacher speaks with it, the recogniser's words are counted."""

from typing import Any

import numpy as np
import pytest
from tests.tiny_model import write_tiny_model

from mamtra_cli.engine import seeds
from mamtra_cli.engine.choosing import hearing as selection_hearing
from mamtra_cli.engine.choosing.hearing import word_errors
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.students.fitting import hybrid_of
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.text.sentences import closed


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = write_tiny_model(tmp_path_factory.mktemp("hearing") / "teacher")
    return Engine.load(str(folder), device="cpu", dtype="float32")


class Ears:
    """Hears nothing and keeps the sound."""

    def __init__(self) -> None:
        self.waves: list[np.ndarray] = []

    def transcribe(self, wave: np.ndarray, rate: int) -> str:
        assert rate == 24_000
        self.waves.append(wave)
        return ""


def test_candidate_is_spoken_and_what_is_not_heard_counts(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ears = Ears()
    monkeypatch.setattr(selection_hearing, "ears", lambda: ears)
    candidate = hybrid_of(engine.lessons, "TMTM", MixerConfig())
    assert word_errors(engine, candidate, sentences=2) == 1.0
    assert len(ears.waves) <= 2
    assert all(wave.ndim == 1 and len(wave) for wave in ears.waves)
    assert engine.lessons.lm is not candidate.lm


def test_refused_sentences_count_as_nothing_heard(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: Any, **__: Any) -> list[Any]:
        return []

    monkeypatch.setattr(selection_hearing, "ears", Ears)
    monkeypatch.setattr(selection_hearing, "decode", nothing)
    assert word_errors(engine, engine.lessons, sentences=3) == 1.0


def test_sentences_are_the_same_ones_every_time() -> None:
    assert closed(seeds.CHOICE, 3) == closed(seeds.CHOICE, 5)[:3]
