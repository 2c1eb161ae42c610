"""`profile`: every stage measured, estimates apart, limits kept."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tiny_model import write_tiny_model

from mamtra_cli.cli.app import run
from mamtra_cli.engine.loading.loaded import LoadedModel
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import MamtraError, UsageError
from mamtra_cli.recipes import ProfileRecipe, ProfileResult
from mamtra_cli.tasks import profile as task
from mamtra_cli.tasks.profile import check, converted, missed, profile

SOUND = ("flow", "vocoder", "speech", "process")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("profile") / "tiny")


@pytest.fixture(scope="module")
def result(model: Path) -> ProfileResult:
    return profile(ProfileRecipe(model=str(model), seq=64, runs=1, warmup=0, device="cpu"))


def test_every_stage_is_measured(result: ProfileResult) -> None:
    stages = [row.stage for row in result.rows if row.measured]
    expected = ["weights", "prefill", "cache", "step", "floor", *SOUND]
    assert stages == expected
    for row in result.rows:
        assert row.values
        assert all(value >= 0 for value in row.values.values()), row


def test_context_is_as_long_as_asked_for(result: ProfileResult) -> None:
    rows = {row.stage: row.values for row in result.rows if row.measured}
    assert rows["prefill"]["positions"] == rows["step"]["context"] == 64
    assert rows["step"]["rtf"] == pytest.approx(25 * rows["step"]["ms"] / 1e3)


def test_estimates_stand_apart(result: ProfileResult) -> None:
    estimated = [row for row in result.rows if not row.measured]
    assert [row.stage for row in estimated] == ["weights", "cache", "decode", "break_even"]
    assert result.environment["torch"] == torch.__version__


def test_estimate_runs_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoadedModel, "part", lambda self, name: pytest.fail(f"loaded {name}"))
    result = profile(ProfileRecipe(model=str(model), estimate=True, device="cpu"))
    assert not any(row.measured for row in result.rows)


def test_without_a_model_the_hybrid_stands_beside(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "BUILT_IN", str(model))
    result = profile(ProfileRecipe(seq=64, runs=1, warmup=0, device="cpu"))
    measured = list(dict.fromkeys(row.model for row in result.rows if row.measured))
    assert measured == [str(model), f"{model} 1:1"]
    published = [row for row in result.rows if row.model.startswith("CosyVoice2-0.5B")]
    assert not any(row.measured for row in published)
    cache = {row.model[-4:].strip(): row.values for row in published if row.stage == "cache"}
    assert [cache[r]["bytes_per_token"] for r in ("1:0", "1:1", "1:3", "1:11")] == [
        12_288,
        6144,
        3072,
        1024,
    ]
    assert {row.model for row in published if row.stage == "break_even"} == {
        f"CosyVoice2-0.5B {ratio}" for ratio in ("1:0", "1:1", "1:3", "1:11")
    }


def test_hybrid_in_memory_shares_what_it_keeps(model: Path) -> None:
    teacher = Engine.load(str(model), device="cpu")
    hybrid = converted(teacher, "1:1")
    assert hybrid.config.lm.hybrid.layer_kinds == "TMTM"
    ours = dict(hybrid.lessons.lm.named_parameters())
    theirs = dict(teacher.part("lm").named_parameters())
    kept = [name for name in ours if ".mixer." not in name]
    assert all(ours[name].data_ptr() == theirs[name].data_ptr() for name in kept)
    assert any(".mixer." in name for name in ours)


def test_missed_speed_is_told(model: Path, result: ProfileResult) -> None:
    wanted = ProfileRecipe(model=str(model))
    assert missed(wanted, result) is None
    assert missed(replace(wanted, min_speed=1e-6), result) is None
    error = missed(replace(wanted, min_speed=1e6), result)
    assert error is not None
    assert error.exit_code == 3


def test_limit_without_measuring_is_refused(model: Path) -> None:
    recipe = ProfileRecipe(model=str(model), estimate=True, min_speed=1.0, device="cpu")
    with pytest.raises(UsageError, match="needs a measured model"):
        missed(recipe, profile(recipe))


@pytest.mark.parametrize("change", [{"seq": 8}, {"batch": 0}, {"runs": 0}], ids=str)
def test_sizes_that_cannot_be_are_refused(model: Path, change: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        profile(ProfileRecipe(model=str(model), **change))  # type: ignore[arg-type]


def test_command_prints_both_tables_and_exits_3_below_the_limit(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["profile", str(model), "--seq", "64", "--runs", "1", "--warmup", "0"]
    assert run([*args, "--min-speed", "1000000"]) == 3
    captured = capsys.readouterr()
    assert "measured here" in captured.out
    assert "estimated by formulas" in captured.out
    assert "expect no cache saving" in captured.out
    assert "--min-speed" in captured.err
    assert run([*args, "--estimate", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["measured"] for row in told["rows"]} == {False}


def test_savings_go_from_official_to_ours_with_the_hybrid_last(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoadedModel, "part", lambda self, name: pytest.fail(f"loaded {name}"))
    assert run(["profile", "--savings", "--json", "--device", "cpu"]) == 0
    told = json.loads(capsys.readouterr().out)
    rows = told["savings"]
    assert told["rows"] == []
    assert [row["hybrid"] for row in rows] == [False] * 6 + [True] * 3
    assert rows[5]["peak"] < 0.5 * rows[0]["peak"]
    assert run(["profile", "--savings", "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    assert "without a hybrid 65.0 % less than official" in text
    assert "30 s of speech" in text


def test_the_official_program_stands_beside_the_formulas(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["profile", "--savings", "--device", "cpu"]) == 0
    text = capsys.readouterr().out
    assert "5.48 GB while it loads, 3.47 GB once loaded" in text
    assert "official pipeline" in text


def test_a_step_is_told_beside_a_read_of_its_bytes(result: ProfileResult) -> None:
    rows = {row.stage: row.values for row in result.rows if row.measured}
    floor = rows["floor"]
    assert floor["share"] == pytest.approx(floor["ms"] / rows["step"]["ms"])
    assert floor["bandwidth"] == pytest.approx(1e3 * floor["bytes"] / floor["ms"])


def test_a_budget_without_a_model_is_of_the_published_one_and_runs_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoadedModel, "part", lambda self, name: pytest.fail(f"loaded {name}"))
    asked = ["profile", "--budget", "24GB", "--reserve", "stt=6GB,llm=14GB", "--json"]
    assert run([*asked, "--streams", "auto"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["measured"] for row in told["rows"]} == {False}
    plans = [row["values"] for row in told["rows"] if row["stage"] == "plan"]
    assert len(plans) == len(told["verdict"]) == 4
    for plan in plans:
        assert plan["room_bytes"] == 4e9
        assert plan["total_bytes"] <= 4e9 < plan["total_bytes"] + plan["stream_bytes"]
    assert run([*asked, "--streams", "100000"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert len(told["missed"]) == 4
    assert all(". What would fit: " in sentence for sentence in told["missed"])


def test_a_plan_here_is_measured_and_estimated_apart(model: Path) -> None:
    recipe = ProfileRecipe(
        model=str(model),
        budget="1GB",
        streams="auto",
        seconds=2,
        prompt_seconds=1,
        seq=64,
        runs=1,
        warmup=0,
        device="cpu",
    )
    found = profile(recipe)
    plans = {row.measured: row.values for row in found.rows if row.stage == "plan"}
    assert set(plans) == {True, False}
    assert "streams_in_time" in plans[True]
    assert "streams_in_time" not in plans[False]
    assert plans[True]["stream_bytes"] == pytest.approx(plans[False]["stream_bytes"], rel=0.05)
    assert len(found.verdict) == 2


def test_a_student_is_told_beside_its_teacher_part_by_part(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["profile", "--compare", str(model), str(model), "--estimate"]
    assert run(args) == 0
    text = capsys.readouterr().out
    assert "keys, values and states" in text
    assert "by formulas; of it" in text


def test_a_budget_is_kept_by_the_model_that_was_named_else_by_any(model: Path) -> None:
    asked = ProfileRecipe(budget="4GB", streams="64", seq=4096, device="auto")
    found = profile(asked)
    fit = [sentence for sentence in found.verdict if ": yes, " in sentence]
    assert 0 < len(fit) < len(found.verdict)
    assert missed(asked, found) is None
    named = ProfileRecipe(model=str(model), budget="241MB", streams="900", estimate=True)
    error = missed(named, profile(named))
    assert error is not None
    assert error.exit_code == 3


def test_a_card_that_is_not_here_is_counted_in_its_type(model: Path) -> None:
    rows = {
        device: {row.stage: row.values for row in profile(recipe).rows}
        for device in ("cpu", "cuda")
        for recipe in [ProfileRecipe(model=str(model), estimate=True, device=device)]
    }
    assert rows["cuda"]["weights"]["bytes"] * 2 == rows["cpu"]["weights"]["bytes"]


@pytest.mark.parametrize(
    "change",
    [
        {"reserve": "llm=1GB"},
        {"solve": "seq"},
        {"streams": "auto"},
        {"streams": "many", "budget": "1GB"},
        {"solve": "love", "budget": "1GB"},
        {"budget": "much"},
    ],
    ids=str,
)
def test_wishes_that_cannot_be_are_refused(change: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        profile(ProfileRecipe(estimate=True, **change))  # type: ignore[arg-type]


def test_a_plan_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    profile(ProfileRecipe(budget="4GB", plot=tmp_path / "plan.svg"))
    assert b"<svg" in (tmp_path / "plan.svg").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["plan.svg"]


@pytest.mark.parametrize(("name", "fact"), [("plan.xyz", "no picture"), ("mine.svg", "exists")])
def test_a_plan_that_cannot_be_drawn_is_refused_at_once(
    tmp_path: Path, name: str, fact: str
) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "mine.svg").write_text("mine")
    with pytest.raises(MamtraError, match=fact):
        check(ProfileRecipe(budget="4GB", plot=tmp_path / name))
    assert (tmp_path / "mine.svg").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_imitating_without_a_model_measures_the_built_in_one_and_its_hybrid() -> None:
    found = profile(ProfileRecipe(imitate_official=True, seconds=1, device="cpu"))
    assert len({row.model for row in found.rows}) == 2


def test_imitating_by_formulas_is_a_contradiction() -> None:
    with pytest.raises(UsageError, match="measures nothing"):
        profile(ProfileRecipe(imitate_official=True, estimate=True))


def test_imitated_official_pipeline_stands_beside_ours(model: Path) -> None:
    recipe = ProfileRecipe(model=str(model), imitate_official=True, seconds=5, device="cpu")
    rows = {row.stage: row.values for row in profile(recipe).rows}
    assert list(rows) == ["official_memory", "memory"]
    official, ours = rows["official_memory"], rows["memory"]
    for values in rows.values():
        stages = max(values["language_model_bytes"], values["token_to_wave_bytes"])
        assert values["peak_bytes"] == values["weights_bytes"] + stages
    assert ours["token_to_wave_bytes"] < official["token_to_wave_bytes"]
    assert ours["share_of_official"] == ours["peak_bytes"] / official["peak_bytes"] < 1


def test_speech_of_no_length_is_refused(model: Path) -> None:
    with pytest.raises(UsageError, match="--seconds"):
        profile(ProfileRecipe(model=str(model), savings=True, seconds=0))
