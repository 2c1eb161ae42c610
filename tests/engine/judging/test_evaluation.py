"""Measures of hand-made records against figures worked out by hand; reports and plots of them."""

from pathlib import Path

import numpy as np
import pytest

from mamtra_cli.engine.judging import report as reports
from mamtra_cli.engine.judging.evaluation import Evaluation, Sample
from mamtra_cli.engine.judging.metrics import ErrorCount
from mamtra_cli.engine.judging.plots import length_bins, spectrogram
from mamtra_cli.engine.judging.report import write_report
from mamtra_cli.engine.judging.scoring import Record, Scored, difference_of, scores_of
from mamtra_cli.errors import MissingDependencyError, OutputError

SIZE = 2  # sentences, each with two seeds


def record(
    name: str,
    seed: int,
    errors: int,
    words: int,
    *,
    tokens: int = 20,
    causes: tuple[str, ...] = (),
    refused: bool = False,
) -> Record:
    return Record(
        id=name,
        text="a | b *c* <b>",
        seed=seed,
        heard="" if refused else "a",
        refused=refused,
        run_on="runaway" in causes,
        causes=causes,
        seconds=0.0 if refused else tokens / 25,
        tokens=0 if refused else tokens,
        expected=10.0,
        errors=ErrorCount(
            substitutions=errors,
            deletions=0,
            insertions=0,
            words=words,
            character_errors=errors,
            characters=5 * words,
        ),
        similarity=None if refused else 0.5,
    )


STUDENT = (
    record("one", 0, 1, 4),
    record("two", 0, 6, 10, causes=("runaway", "silence")),
    record("one", 1, 0, 4),
    record("two", 1, 10, 10, causes=("silence",) * 3, refused=True),
)
TEACHER = (
    record("one", 0, 0, 4, tokens=10),
    record("two", 0, 1, 10, tokens=40),
    record("one", 1, 0, 4, tokens=10),
    record("two", 1, 1, 10, tokens=40),
)


def scored(name: str, records: tuple[Record, ...]) -> Scored:
    scores = scores_of(records, SIZE)
    extra = {"words": 28.0, "audio_s": 2.4}
    return Scored(
        model=name,
        scores=type(scores)(
            values=scores.values | extra,
            intervals=scores.intervals,
            by_seed=scores.by_seed,
            spread=scores.spread,
        ),
        records=records,
    )


def evaluation(samples: int = 1) -> Evaluation:
    student, teacher = scored("student", STUDENT), scored("teacher", TEACHER)
    wave = np.sin(np.arange(4800, dtype=np.float32) / 20)
    sample = Sample(
        student=STUDENT[0], teacher=TEACHER[0], student_wave=wave, teacher_wave=wave[:100]
    )
    return Evaluation(
        student=student,
        teacher=teacher,
        difference=difference_of(student, teacher, SIZE),
        headline="wer",
        rules="plain",
        recogniser={"name": "ears"},
        similarity={"name": "eyes"},
        absent={"utmos": "no weights"},
        samples=(sample,) * samples,
        sample_rate=24_000,
        utmos={"name": "opinions"},
    )


def test_measures_are_those_of_their_definitions() -> None:
    scores = scores_of(STUDENT, SIZE)
    found = scores.values
    assert found["wer"] == pytest.approx(17 / 28)
    assert found["wer_mean"] == pytest.approx((0.25 + 0.6 + 0 + 1) / 4)
    assert found["cer"] == pytest.approx(17 / 140)
    assert found["failed"] == pytest.approx(2 / 4)
    assert found["refused"] == pytest.approx(1 / 4)
    assert found["first_refused"] == pytest.approx(2 / 4)
    assert found["run_on"] == pytest.approx(1 / 4)
    assert found["length_ratio"] == pytest.approx(60 / 30)
    assert found["similarity"] == pytest.approx(0.5)
    assert "utmos" not in found
    assert scores.by_seed == pytest.approx((7 / 14, 10 / 14))
    assert scores.spread == pytest.approx(np.std([7 / 14, 10 / 14], ddof=1))


def test_seeds_of_a_sentence_are_drawn_together() -> None:
    low, high = scores_of(STUDENT, SIZE).intervals["wer"]
    # Two sentences: a drawing holds one twice, or both.
    assert low == pytest.approx(1 / 8)
    assert high == pytest.approx(16 / 20)


def test_difference_pairs_sentences_and_skips_refused_lengths() -> None:
    student, teacher = scored("student", STUDENT), scored("teacher", TEACHER)
    found = difference_of(student, teacher, SIZE)
    assert found.values["wer"] == pytest.approx(17 / 28 - 2 / 28)
    assert found.intervals["wer"][0] == pytest.approx(1 / 8)
    assert found.values["length_to_teacher"] == pytest.approx(60 / 60)
    assert found.by_seed == pytest.approx((6 / 14, 9 / 14))


def test_report_tells_everything_and_escapes_tables(tmp_path: Path) -> None:
    path = write_report(
        tmp_path / "report",
        evaluation(),
        command="mamtra eval student",
        environment={"torch": "2"},
        extra={"Training": {"steps": 10}, "Words": "free text"},
        audio_format="opus",
    )
    text = path.read_text("utf-8")
    for part in (
        "# student against teacher",
        "| word errors (corpus) | 60.7 %",
        "+53.6",
        "- utmos: no weights",
        "(audio/01-student.opus)",
        "a \\| b",
        "\\*c\\* \\<b\\>",
        "- steps: 10",
        "free text",
        "```\nmamtra eval student\n```",
        "torch 2",
        "utmos: name opinions",
        "standard deviation",
    ):
        assert part in text
    assert (path.parent / "audio" / "01-teacher.opus").stat().st_size > 100
    with pytest.raises(OutputError, match="not empty"):
        write_report(tmp_path / "report", evaluation())
    write_report(tmp_path / "report", evaluation(0), force=True)
    assert not (tmp_path / "report" / "audio").exists()


def test_report_draws_plots_where_it_can(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = write_report(tmp_path / "report", evaluation(2))
    assert path.read_text("utf-8").count("](plots/") == 3
    for name in ("wer-by-length", "lengths", "spectrograms"):
        data = (path.parent / "plots" / f"{name}.png").read_bytes()
        assert data.startswith(b"\x89PNG")


def test_report_without_matplotlib_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> dict[str, str]:
        raise MissingDependencyError("plots need the package matplotlib", "install it")

    monkeypatch.setattr(reports, "draw_plots", missing)
    text = write_report(tmp_path / "report", evaluation()).read_text("utf-8")
    assert "No plots: plots need the package matplotlib (`install it`)." in text


def test_bins_hold_every_record_once_and_every_length_in_one() -> None:
    bins = length_bins(STUDENT)
    assert [(low, high) for low, high, _ in bins] == [(4, 4), (10, 10)]
    assert length_bins(STUDENT[:1]) == [(4, 4, 0.25)]


def test_spectrogram_has_its_peak_at_the_tone() -> None:
    wave = np.sin(2 * np.pi * 3000 * np.arange(24_000) / 24_000).astype(np.float32)
    power = spectrogram(wave)
    assert power.shape[0] == 513
    assert set(power.argmax(0)) == {128}
    assert power.max() == pytest.approx(0.0, abs=1e-6)
    assert spectrogram(np.zeros(10, np.float32)).shape == (513, 1)
