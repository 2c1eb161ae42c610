"""`eval`: what is heard is counted, the teacher stands beside, limits are kept."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.tiny_model import write_tiny_model

from mamtra_cli.cli.app import run
from mamtra_cli.engine.sentences import closed
from mamtra_cli.errors import DataError, UsageError
from mamtra_cli.recipes import ConvertRecipe, EvalRecipe
from mamtra_cli.tasks import evaluate as task
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tasks.evaluate import TEST_SEED, evaluate, missed, recogniser, sentences


class Parrot:
    """Ears that hear the expected sentences, and the last word of every second one wrong."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.heard = 0

    def transcribe(self, wave: NDArray[np.float32], rate: int) -> str:
        assert rate == 24_000
        assert wave.ndim == 1
        text = self.texts[self.heard % len(self.texts)]
        self.heard += 1
        return text if self.heard % 2 else " ".join(text.split()[:-1])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eval")
    write_tiny_model(folder / "teacher")
    convert(
        ConvertRecipe(
            teacher=str(folder / "teacher"),
            output=folder / "student",
            calibrate="none",
            check_tokens=0,
            device="cpu",
        )
    )
    return folder


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "recogniser", lambda texts, engine, built_in: Parrot(list(texts)))
    monkeypatch.setattr(task, "RETRIES", 60)


@pytest.mark.usefixtures("parrot")
def test_student_is_scored_beside_its_own_teacher(models: Path) -> None:
    pytest.importorskip("jiwer")
    recipe = EvalRecipe(model=str(models / "student"), sentences=4, device="cpu")
    result = evaluate(recipe)
    words = sum(len(text.split()) for text in closed(TEST_SEED, 4))
    assert result.scores["wer"] == pytest.approx(2 / words, rel=0.2)
    assert result.environment["teacher"] == str(models / "teacher")
    assert result.teacher_scores["wer"] == result.scores["wer"]
    assert result.scores["kl"] > 0
    assert result.scores["ce"] > 0
    assert 0 <= result.scores["agreement"] <= 1
    assert result.scores["length_ratio"] > 0
    assert result.scores["rtf"] > 0
    assert result.scores["refused"] == 0


@pytest.mark.usefixtures("parrot")
def test_seeds_say_every_sentence_again(models: Path) -> None:
    pytest.importorskip("jiwer")
    recipe = EvalRecipe(model=str(models / "teacher"), sentences=2, seeds=2, device="cpu")
    result = evaluate(recipe)
    assert result.sentences == 2
    once = evaluate(replace(recipe, seeds=1))
    assert result.scores["words"] == 2 * once.scores["words"]
    assert result.teacher_scores == {}


@pytest.mark.usefixtures("parrot")
def test_missed_limit_is_told(models: Path) -> None:
    pytest.importorskip("jiwer")
    recipe = EvalRecipe(model=str(models / "teacher"), sentences=2, device="cpu")
    result = evaluate(recipe)
    assert missed(recipe, result) is None
    assert missed(replace(recipe, max_wer=99.0), result) is None
    error = missed(replace(recipe, max_wer=0.0), result)
    assert error is not None
    assert error.exit_code == 3


def test_sentences_come_from_lines_or_json(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text('Hello there.\n\n{"text": "Good night."}\n...\nOne more.\n')
    recipe = EvalRecipe(data=path, sentences=2)
    assert sentences(recipe) == ["Hello there.", "Good night."]
    assert sentences(EvalRecipe(sentences=3)) == closed(TEST_SEED, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read"), ("\n", "no sentences"), ("{", "not JSON"), ('{"a": 1}', "no `text`")],
    ids=["missing", "empty", "not-json", "no-text"],
)
def test_bad_sentences_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        sentences(EvalRecipe(data=path))


def test_no_sentences_are_refused() -> None:
    with pytest.raises(UsageError):
        evaluate(EvalRecipe(sentences=0))


def test_recogniser_knows_words_that_no_dictionary_has(models: Path) -> None:
    pytest.importorskip("pocketsphinx")
    from mamtra_cli.engine.runtime import Engine

    engine = Engine.load(str(models / "teacher"), device="cpu")
    ears = recogniser(["The zorblatt hummed."], engine, built_in=False)
    assert ears.transcribe(np.zeros(8000, np.float32), 16_000) == ""


@pytest.mark.usefixtures("parrot")
def test_command_prints_scores_and_exits_3_above_the_limit(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("jiwer")
    args = ["eval", str(models / "teacher"), "--sentences", "2", "--device", "cpu"]
    assert run([*args, "--max-wer", "0"]) == 3
    captured = capsys.readouterr()
    assert "word errors" in captured.out
    assert "--max-wer 0" in captured.err
    assert run([*args, "--max-wer", "0", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["scores"]["wer"] > 0
