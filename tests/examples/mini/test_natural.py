"""What is held out of natural speech stays out, and a rendered batch is kept."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "mini"))

import natural
import sources
from dataset import Corpus
from kokoro import Spoken, Style

VOICES = ("n1", "n2", "x000", "x001", "h000")
WHO = {name: Style(timbre=(name,), prosody=(name,)) for name in VOICES}
KEPT = [f"Kept {i}." for i in range(8)]
TEXTS = [f"Known {i}." for i in range(7)]
SAMPLES = 24_000


def spoken(text: str, style: Style, *, sound: bool) -> Spoken:
    return Spoken(
        audio=np.zeros(SAMPLES, np.float32) if sound else None,
        pitch=np.zeros(80, np.float32),
        phones=[("pau", 0, 0.5), ("ae", 1, 1.0)],
        words=[("a", ["ae"])],
    )


def broken(text: str, style: Style, *, sound: bool) -> Spoken:
    raise AssertionError("a finished batch was spoken again")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (tmp_path / "natural.json").write_text(json.dumps({"speakers": dict.fromkeys(VOICES)}))
    for speak in (spoken, broken):
        monkeypatch.setattr(natural, "_speak", None)
        render = natural.Renderer(folder, lambda speak=speak: speak)
        told = natural.tales(WHO, TEXTS, ["Made up."], 2)
        for batch in [*natural.plan(WHO, KEPT, TEXTS, 0.0, size=4), *told]:
            assert render(batch) == len(batch.texts)
    return Corpus(tmp_path)


def test_lessons_read_no_held_out_sentence_and_no_held_out_speaker(corpus: Corpus) -> None:
    source = sources.natural(corpus)
    learned = [*source.main, *source.others]
    assert {s.voice for s in source.main} == {"n1", "n2"}
    assert {s.voice for s in source.others} == {"x000", "x001"}
    assert all(s.kind == "natural" for s in learned)
    assert {s.text for s in learned} <= set(TEXTS)
    assert {s.text for s in source.tested} == set(KEPT)
    assert {s.voice for s in source.unheard} == {"h000"}


def test_the_language_model_reads_one_speaker_alone_and_the_others_after_a_clip(
    corpus: Corpus,
) -> None:
    source = sources.natural(corpus)
    assert [s.text for s in source.read] == [*TEXTS, "Made up."]
    assert {s.voice for s in source.read} == {"n1"}
    assert {s.voice for s in source.lent} == {"n1", "n2", "x000", "x001"}
    assert {s.id for s in source.main} < {s.id for s in source.lent}
    assert {s.text for s in source.lent} <= set(TEXTS)


def test_what_is_only_told_has_pitch_and_no_sound(corpus: Corpus) -> None:
    told = corpus.select("told")
    assert {len(corpus.pitch(s)) for s in told} == {2 * told[0].tokens}
    assert not any(s.batch.with_suffix(".npy").exists() for s in told)


def test_held_out_speakers_share_a_row_that_no_other_has(corpus: Corpus) -> None:
    rows = sources.natural(corpus).rows
    assert rows.pop("h000") == 0
    assert len(set(rows.values()) - {0}) == len(rows) == 4


def test_first_tested_sentences_are_of_all_speakers(corpus: Corpus) -> None:
    assert [s.voice for s in sources.natural(corpus).tested[:4]] == ["n1", "n2", "n1", "n2"]
