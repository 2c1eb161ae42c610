"""`benchmarks/experiments.py`: studies are read, done once, and counted as they should be."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from mamtra_cli.errors import UsageError
from mamtra_cli.ops.sampling import Sampling

ROOT = Path(__file__).parents[2]
NAMES = ("placements", "initialisation", "data", "ablation", "mixers")


@pytest.fixture(scope="module")
def experiments() -> Iterator[ModuleType]:
    """The program as a module, with its neighbours importable."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location(
        "experiments", ROOT / "benchmarks" / "experiments.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def pretended_ears(experiments: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whisper and its rules are not for tests: always the same is heard, and counted plainly."""
    from study import hear

    class Ears:
        def __init__(self, name: str) -> None: ...

        def transcribe(self, wave: np.ndarray, rate: int) -> str:
            return "The kettle is on."

    monkeypatch.setattr(hear, "FasterWhisper", Ears)
    monkeypatch.setattr(hear, "RULES", "plain")


def all_runs(experiments: ModuleType, name: str, *, smoke: bool = False) -> list:
    study = experiments.read_study(experiments.STUDIES / f"{name}.toml", smoke=smoke)
    return list(experiments.runs(study, 8, "abc"))


@pytest.mark.parametrize("name", NAMES)
def test_each_study_reads_and_its_smoke_version_is_two_short_rows(
    experiments: ModuleType, name: str
) -> None:
    whole, short = all_runs(experiments, name), all_runs(experiments, name, smoke=True)
    assert len(whole) > len(short) == 2
    assert all(run.distill.steps <= 4 for run in short)
    assert len({run.digest for run in short}) == 2


def test_rows_of_the_same_layers_have_one_digest_and_other_seeds_have_others(
    experiments: ModuleType,
) -> None:
    runs = {run.name: run for run in all_runs(experiments, "placements")}
    chosen, begin = runs["1:1 auto:swap seed 0"], runs["1:1 block-begin seed 0"]
    assert chosen.kinds == begin.kinds == "TMTMTMTM"
    assert chosen.digest == begin.digest
    assert runs["1:1 front seed 0"].digest != begin.digest
    seeds = [run for run in all_runs(experiments, "ablation") if run.row.name == "all of it"]
    assert len({run.digest for run in seeds}) == len(seeds) == 3


def test_sizes_of_a_study_can_be_set(experiments: ModuleType) -> None:
    path = experiments.STUDIES / "mixers.toml"
    changes = ["distill.steps=300", "listening.seeds=3", "data.training-tokens=100_000"]
    study = experiments.read_study(path, changes=changes)
    assert study.data.training_tokens == 100_000
    assert study.listening.seeds == 3
    runs = {run.name: run for run in experiments.runs(study, 8, "abc")}
    assert {run.distill.steps for run in runs.values()} == {300}
    windowed = runs["swa+ssm, 16, kv state seed 0"].mixer
    assert (windowed.window, windowed.state, windowed.gate) == (16, "kv", "none")
    with pytest.raises(UsageError, match="unknown key `stepz`"):
        list(experiments.runs(experiments.read_study(path, changes=["distill.stepz=1"]), 8, "abc"))


def test_first_seeds_of_all_rows_come_before_second_ones(experiments: ModuleType) -> None:
    seeds = [run.seed for run in all_runs(experiments, "initialisation")]
    assert seeds == sorted(seeds)


def test_an_unknown_option_of_a_row_is_named(experiments: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text('title = "x"\nquestion = "y"\n[[row]]\nname = "a"\ndistill = { stepz = 3 }\n')
    study = experiments.read_study(path)
    with pytest.raises(UsageError, match="unknown key `stepz` in row `a`"):
        list(experiments.runs(study, 8, "abc"))


def test_a_ledger_keeps_first_entries_and_drops_a_line_cut_off(
    experiments: ModuleType, tmp_path: Path
) -> None:
    from study.ledger import Ledger

    path = tmp_path / "results.jsonl"
    Ledger(path).put("train", "a", value=1)
    with path.open("a") as file:
        file.write('{"kind": "train", "key": "b", "val')
    again = Ledger(path)
    assert again.get("train", "b") is None
    again.put("train", "b", value=2)
    values = [json.loads(line)["value"] for line in path.read_text().splitlines()]
    assert values == [1, 2]


def test_other_sound_voices_or_ears_are_heard_anew_but_not_trained_anew(
    experiments: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from study import hear
    from study.hear import hearing_key
    from study.recipe import Listening
    from study.train import Lab

    def keys(**changed: bytes) -> tuple[str, str]:
        folder = tmp_path / ("-".join(changed) or "as-it-was")
        (folder / "voices").mkdir(parents=True)
        for part in ("lm", "flow", "hift", "voices/f1"):
            (folder / f"{part}.safetensors").write_bytes(changed.get(part[-2:], b"old"))
        lab = Lab.__new__(Lab)
        plain = Sampling()
        lab.teacher = SimpleNamespace(
            folder=folder,
            voices=lambda: ["f1"],
            sampling=plain,
            lesson_sampling=plain,
            speech_parts=("lm", "flow", "hift"),
        )
        return lab.lessons, hearing_key(lab, "abc", Listening())

    before = keys()
    for part in ("ow", "ft", "f1"):
        after = keys(**{part: b"new"})
        assert after[0] == before[0]
        assert after[1] != before[1]
    monkeypatch.setattr(hear, "RECOGNISER", "whisper-tiny.en")
    after = keys(other=b"")
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_no_more_sentences_are_heard_than_there_are(experiments: ModuleType) -> None:
    from study.hear import sentences

    assert sentences(2)[1] == "Could you pass me the salt, please?"
    assert len(sentences(40)) == 40
    with pytest.raises(UsageError, match="has 40 sentences, not 41"):
        sentences(41)


def test_spearman_is_one_for_any_rising_relation_and_its_interval_holds_zero_for_noise(
    experiments: ModuleType,
) -> None:
    from study.statistics import spearman

    x = np.arange(1.0, 13.0)
    assert spearman(x, x**5).value == pytest.approx(1.0)
    assert spearman(x, -np.exp(x)).value == pytest.approx(-1.0)
    noise = spearman(x, np.random.default_rng(3).normal(size=12))
    assert noise.low < 0 < noise.high


def test_tied_values_share_their_mean_rank(experiments: ModuleType) -> None:
    from study.statistics import ranks

    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_interval_of_a_rate_covers_the_truth_about_as_often_as_it_says(
    experiments: ModuleType,
) -> None:
    from study.statistics import rate

    generator = np.random.default_rng(0)
    sizes = np.full(80, 10)
    inside = 0
    for trial in range(100):
        found = rate(generator.binomial(10, 0.2, 80), sizes, seed=trial)
        inside += found.low <= 0.2 <= found.high
    assert 87 <= inside <= 100


def test_a_paired_difference_is_narrower_than_its_two_rates(experiments: ModuleType) -> None:
    from study.statistics import rate, rate_difference

    generator = np.random.default_rng(1)
    theirs = generator.integers(0, 6, 60)
    ours, sizes = theirs + (generator.random(60) < 0.1), np.full(60, 8)
    gap, alone = rate_difference(ours, theirs, sizes), rate(ours, sizes)
    assert gap.high - gap.low < 0.5 * (alone.high - alone.low)
    assert gap.low >= 0


@pytest.mark.usefixtures("pretended_ears")
def test_mixers_are_told_by_what_they_cost_and_by_their_sentences(
    experiments: ModuleType,
) -> None:
    from study.report import Result, layers_table

    runs = [run for run in all_runs(experiments, "mixers") if run.seed == 0]
    assert {run.mixer.mixer for run in runs} == {"mamba2", "gdn", "swa", "swa+ssm"}
    assert {str(run.mixer.gate) for run in runs} >= {"none", "16", "64"}
    assert len({run.digest for run in runs}) == len(runs)
    said = ["one two", "three four", "five six"]
    teacher = {"said": said, "heard": ["one two", "three for", "five six"]}
    heard = {"said": said, "heard": ["one too", "three four", "five six"]}
    rows = [Result(name=run.row.name, runs=(run,), trained=(), heard=(heard,)) for run in runs]
    times = {run.row.name: {"256": 12.0} for run in runs} | {"attention": {"256": 10.0}}
    text = layers_table(rows, teacher, times)
    assert "| mamba2-gqa | 33 / 33 / 33 | 466 | +0.13 | 910 |" in text
    assert "step, us at 256" in text


def test_steps_of_mixers_are_timed_in_one_run(experiments: ModuleType) -> None:
    from study.layers import step_times

    (run,) = [run for run in all_runs(experiments, "mixers", smoke=True)][:1]
    found = step_times({"it": run.mixer}, 1, contexts=(8,))
    assert list(found) == ["attention", "it"]
    assert all(times["8"] > 0 for times in found.values())


@pytest.mark.slow
@pytest.mark.usefixtures("pretended_ears")
@pytest.mark.filterwarnings("default")
def test_smoke_study_trains_hears_reports_and_does_nothing_twice(
    experiments: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["initialisation", "--smoke", "--out", str(tmp_path)]
    assert experiments.main(arguments) == 0
    first = capsys.readouterr()
    folder = tmp_path / "initialisation-smoke"
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["train", "train", "heard", "heard", "heard"]
    ours, other = lines[:2]
    assert ours["kinds"] == other["kinds"] == "TMTMTMTM"
    assert sorted(map(int, ours["curve"])) == [0, 2, 4]
    assert ours["start"]["kl"] != ours["end"]["kl"]
    assert sum(ours["start"]["kl"]) < sum(other["start"]["kl"])
    assert "| teacher | TTTTTTTT |" in first.out
    svg = (folder / "initialisation.svg").read_bytes()
    assert b"<svg" in svg
    assert experiments.main(arguments) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert again.err == ""
    assert (folder / "initialisation.svg").read_bytes() == svg


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_smoke_study_of_mixers_tells_what_layers_cost(
    experiments: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["mixers", "--smoke", "--out", str(tmp_path), "--phase", "train,report"]
    arguments += ["--rows", "64"]
    assert experiments.main(arguments) == 0
    first = capsys.readouterr().out
    lines = (tmp_path / "mixers-smoke" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["train", "steps"]
    assert "| swa+ssm, 64, kv state | - | 107 |" in first
    assert experiments.main(arguments) == 0
    assert capsys.readouterr().out == first
