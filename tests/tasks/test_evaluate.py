"""`eval`: what is heard is counted, the teacher stands beside, limits are kept."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tests.tiny_model import CODES, write_tiny_model

from mamtra_cli.audio import AudioWriter
from mamtra_cli.cli.app import run
from mamtra_cli.engine import seeds
from mamtra_cli.engine.judging import evaluation
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.errors import DataError, ModelNotFoundError, UsageError
from mamtra_cli.events import Advance, Event, Note, Stage
from mamtra_cli.recipes import ConvertRecipe, EvalRecipe
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tasks.evaluate import evaluate, missed, sentences
from mamtra_cli.text.sentences import closed


class Parrot:
    """Ears that hear the expected sentences, and the last word of every second one wrong."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.about = {"name": "parrot"}
        self.texts = texts
        self.heard = 0

    def transcribe(self, wave: NDArray[np.float32], rate: int) -> str:
        assert rate == 24_000
        assert wave.ndim == 1
        text = self.texts[self.heard % len(self.texts)]
        self.heard += 1
        return text if self.heard % 2 else " ".join(text.split()[:-1])


def stop_early(path: Path) -> None:
    """Let a random model end its speech as soon as it may, as a trained one would in time."""
    tensors = load_file(path)
    tensors["llm_decoder.bias"][CODES] += 8
    save_file(tensors, path, {"format": "pt"})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eval")
    write_tiny_model(folder / "teacher", source_filter=True)
    stop_early(folder / "teacher" / "lm.safetensors")
    convert(
        ConvertRecipe(
            placement="block-begin",
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
    pytest.importorskip("jiwer")

    def ears(spec: str, texts: Sequence[str], engine: Engine, language: str) -> Parrot:
        assert spec == "pocketsphinx"
        return Parrot(texts)

    monkeypatch.setattr(evaluation, "open_recogniser", ears)


RECIPE = EvalRecipe(model="mini", device="cpu", sentences=2, retries=20, rounds=50)


@pytest.mark.usefixtures("parrot")
def test_student_is_scored_beside_its_own_teacher(models: Path) -> None:
    events: list[Event] = []
    recipe = replace(RECIPE, model=str(models / "student"), sentences=4)
    result = evaluate(recipe, events.append)
    stages = [event.name for event in events if isinstance(event, Stage)]
    assert stages[-5:] == ["speaking", "hearing", "speaking", "hearing", "reading"]
    assert sum(isinstance(event, Advance) for event in events) == 5 * 4
    words = sum(len(text.split()) for text in closed(seeds.TEST, 4))
    values = result.scores.values
    assert result.teacher is not None
    assert result.difference is not None
    assert values["wer"] == pytest.approx(2 / words, rel=0.2)
    assert result.teacher_model == str(models / "teacher")
    assert result.teacher.values["wer"] == values["wer"]
    assert result.difference.values["wer"] == 0
    assert result.difference.intervals["wer"] == (0, 0)
    direct = result.difference.values
    assert direct["kl"] > 0
    assert direct["ce"] > 0
    assert 0 <= direct["agreement"] <= 1
    assert direct["length_to_teacher"] > 0
    assert values["length_ratio"] > 0
    assert values["rtf"] > 0
    assert values["cache_bytes"] < result.teacher.values["cache_bytes"] * 4
    assert values["refused"] == 0
    assert values["first_refused"] >= values["run_on"]
    low, high = result.scores.intervals["wer"]
    assert low <= values["wer"] <= high


@pytest.mark.usefixtures("parrot")
def test_seeds_say_every_sentence_again(models: Path) -> None:
    recipe = replace(RECIPE, model=str(models / "teacher"), seeds=2)
    result = evaluate(recipe)
    assert result.sentences == 2
    once = evaluate(replace(recipe, seeds=1))
    assert result.scores.values["words"] == 2 * once.scores.values["words"]
    assert len(result.scores.by_seed) == 2
    assert result.scores.spread is not None
    assert once.scores.spread is None
    assert result.teacher is None


@pytest.mark.usefixtures("parrot")
def test_further_opinions_are_named_and_scored(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Loudness:
        about: ClassVar[dict[str, str]] = {"name": "ears", "identity": "sha256:1"}
        measures = ("dnsmos_ovrl",)

        def score(self, wave: NDArray[np.float32], rate: int) -> dict[str, float]:
            assert rate == 24_000
            return {"dnsmos_ovrl": 1.0 + float(np.abs(wave).max())}

    asked: list[str] = []
    monkeypatch.setattr(
        evaluation, "open_opinions", lambda spec: (asked.append(spec), [Loudness()])[1]
    )
    result = evaluate(replace(RECIPE, model=str(models / "student"), mos="dnsmos"))
    assert asked == ["dnsmos"]
    assert result.mos == {"ears identity": "sha256:1"}
    assert result.difference is not None
    for scores in (result.scores, result.teacher, result.difference):
        assert scores is not None
        assert "dnsmos_ovrl" in scores.values
        assert "dnsmos_ovrl" in scores.intervals
    assert 1.0 < result.scores.values["dnsmos_ovrl"] < 2.0


@pytest.mark.usefixtures("parrot")
def test_equal_seeds_give_equal_scores(models: Path) -> None:
    recipe = replace(RECIPE, model=str(models / "teacher"))
    first, again = (evaluate(recipe).scores for _ in range(2))
    timed = {"rtf", "rtf_tokens"}
    assert {k: v for k, v in first.values.items() if k not in timed} == {
        k: v for k, v in again.values.items() if k not in timed
    }
    assert first.intervals == again.intervals


@pytest.mark.usefixtures("parrot")
def test_missed_limits_are_all_named(models: Path) -> None:
    recipe = replace(RECIPE, model=str(models / "student"), max_wer=99.0, max_wer_increase=0.0)
    good = evaluate(recipe)
    assert [check.missed for check in good.limits] == [False, False]
    assert missed(good) is None
    strict = replace(recipe, max_wer=0.0, max_failures=-1.0, max_wer_increase=None)
    error = missed(evaluate(strict))
    assert error is not None
    assert error.exit_code == 3
    assert "--max-wer 0" in error.message
    assert "--max-failures -1" in error.message


@pytest.mark.usefixtures("parrot")
def test_limit_on_what_was_not_measured_is_refused(models: Path) -> None:
    recipe = replace(RECIPE, model=str(models / "teacher"), min_similarity=0.5)
    with pytest.raises(UsageError, match=r"--min-similarity.*no speaker encoder"):
        evaluate(recipe)


@pytest.mark.usefixtures("parrot")
def test_lost_teacher_is_told_and_a_named_one_is_an_error(models: Path, tmp_path: Path) -> None:
    student = tmp_path / "student"
    student.symlink_to(models / "student")
    recipe = replace(RECIPE, model=str(student))
    away = models / "away"
    (models / "teacher").rename(away)
    try:
        result = evaluate(recipe)
        assert "teacher" in result.absent
        assert result.teacher is None
        with pytest.raises(ModelNotFoundError):
            evaluate(replace(recipe, teacher=str(models / "teacher")))
    finally:
        away.rename(models / "teacher")
    assert evaluate(replace(recipe, teacher="none")).absent.keys() == {"similarity", "utmos"}


@pytest.mark.usefixtures("parrot")
def test_report_and_records_hold_every_utterance(models: Path, tmp_path: Path) -> None:
    recipe = replace(
        RECIPE,
        model=str(models / "student"),
        seeds=2,
        report=tmp_path / "report",
        records=tmp_path / "records.jsonl",
        samples=1,
    )
    result = evaluate(recipe)
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert len(found) == 2 * 2 * 2
    assert {record["model"] for record in found} == {result.model, result.teacher_model}
    assert found[0]["heard"]
    assert found[0]["errors"] / found[0]["words"] == found[0]["wer"]
    assert (tmp_path / "report" / "records.jsonl").read_text().splitlines() == lines
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## Closeness" in text
    assert "parrot" in text
    assert "utmos: " in text
    audio = sorted(path.name for path in (tmp_path / "report" / "audio").iterdir())
    assert audio == ["01-student.flac", "01-teacher.flac"]
    summary = json.loads((tmp_path / "report" / "result.json").read_text())
    assert math.isclose(summary["scores"]["values"]["wer"], result.scores.values["wer"])


def test_sentences_come_from_lines_or_json(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text('Hello there.\n\n{"text": "Good night."}\n  \nOne more.\n')
    found = sentences(EvalRecipe(data=path, sentences=2))
    assert [sentence.text for sentence in found] == ["Hello there.", "Good night."]
    path.write_bytes(path.read_text().encode("utf-16"))
    assert sentences(EvalRecipe(data=path, sentences=2)) == found
    assert [one.text for one in sentences(EvalRecipe(sentences=3))] == closed(seeds.TEST, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read"),
        ("\n", "no sentences"),
        ("{", "not JSON"),
        ('{"a": 1}', "no `text`"),
        ("Hello.\n...\n", "line 2 of .* has no words"),
        ('{"text": ""}\n', "line 1 of .* has no words"),
    ],
    ids=["missing", "empty", "not-json", "no-text", "no-words", "empty-text"],
)
def test_bad_sentences_are_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        sentences(EvalRecipe(data=path))


@pytest.mark.parametrize(
    "wrong",
    [
        {"sentences": 0},
        {"seeds": 0},
        {"retries": -1},
        {"data": Path("a"), "list_file": Path("b")},
        {"language": "fr"},
        {"audio_format": "aac"},
        {"teacher": "none", "max_wer_increase": 1.0},
        {"teacher": "", "max_wer_increase": 1.0, "asr": "command:true"},
        {"similarity": "none", "min_similarity": 0.5},
        {"asr": "ears"},
        {"asr": "command:no-such-program-here"},
        {"similarity": "eyes"},
        {"utmos": "none", "similarity": "own"},
    ],
    ids=lambda wrong: "-".join(wrong),
)
def test_what_cannot_be_is_refused(models: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        evaluate(EvalRecipe(model=str(models / "teacher"), **wrong))  # type: ignore[arg-type]


@pytest.mark.usefixtures("parrot")
def test_command_prints_scores_and_exits_3_above_the_limit(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["eval", str(models / "student"), "--sentences", "2", "--device", "cpu"]
    args += ["--rounds", "50", "--max-wer", "0"]
    assert run(args) == 3
    captured = capsys.readouterr()
    assert "word errors (corpus)" in captured.out
    assert "KL to the teacher" in captured.out
    assert "--max-wer 0" in captured.err
    assert run([*args, "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["scores"]["values"]["wer"] > 0
    assert found["limits"][0]["missed"] is True


@pytest.mark.slow
def test_list_is_spoken_in_copied_voices_under_its_own_rules(tmp_path: Path) -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("pocketsphinx")
    said = Engine.load("mini", device="cpu")
    chunks = [chunk.audio for chunk in speak(said, "The dog found a bird.", said.voice())]
    wave = torch.cat(chunks).numpy()
    for name, samples in (("good", np.concatenate([wave] * 3)), ("short", wave[:2400])):
        with AudioWriter(tmp_path / f"{name}.wav", sample_rate=24_000) as writer:
            writer.write(samples)
    path = tmp_path / "meta.lst"
    heard = "The dog found a bird. The dog found a bird. The dog found a bird."
    path.write_text(
        f"a|{heard}|good.wav|The cat saw a tree!\nb|The|short.wav|The cat saw a tree!\n", "utf-8"
    )
    recipe = EvalRecipe(
        model="mini",
        list_file=path,
        device="cpu",
        records=tmp_path / "records.jsonl",
        rounds=50,
        threads=1,
    )
    notes: list[Event] = []
    result = evaluate(recipe, notes.append)
    assert result.headline == "wer_mean"
    assert result.rules == "seed-tts-en"
    good, short = map(json.loads, (tmp_path / "records.jsonl").read_text().splitlines())
    assert not good["refused"]
    assert -1 <= good["similarity"] <= 1
    assert good["words"] == 5
    assert short["causes"] == ["prompt"]
    assert short["wer"] == 1.0
    assert any(isinstance(note, Note) and "`b` has no voice" in note.text for note in notes)
    assert result.scores.values["failed"] >= 0.5
