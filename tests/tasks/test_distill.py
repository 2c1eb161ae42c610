"""`distill`: a student comes closer to its teacher, can be stopped, and is a model folder."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tiny_model import CODES, SYMBOLS, write_tiny_model

from mamtra_cli.checkpoint import read_model_folder
from mamtra_cli.cli.app import run
from mamtra_cli.config import read_data
from mamtra_cli.engine.lessons.examples import write_examples
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.training.trainer import Trainer
from mamtra_cli.errors import DataError, MamtraError, OutputError, PlanError, UsageError
from mamtra_cli.events import Event, Metrics, Note
from mamtra_cli.families.lessons import Example
from mamtra_cli.recipes import ConvertRecipe, DistillRecipe
from mamtra_cli.recipes.distill import PRESETS
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tasks.distill import distill


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, its 1:1 student, and pairs that the teacher did not make."""
    folder = tmp_path_factory.mktemp("distill")
    torch.manual_seed(0)
    write_tiny_model(folder / "teacher")
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
    generator = torch.Generator().manual_seed(0)
    examples = [
        Example(
            id=f"e{i}",
            text_ids=tuple(torch.randint(SYMBOLS, (6,), generator=generator).tolist()),
            tokens=tuple(torch.randint(CODES, (14,), generator=generator).tolist()),
        )
        for i in range(40)
    ]
    write_examples(folder / "pairs.jsonl", examples)
    return folder


def recipe(models: Path, output: Path, **changes: object) -> DistillRecipe:
    given = {
        "student": str(models / "student"),
        "data": models / "pairs.jsonl",
        "output": output,
        "steps": 30,
        "batch_tokens": 140,
        "warmup": 3,
        "save_every": 10,
        "check_tokens": 60,
        "report": False,
        "plot": False,
        "device": "cpu",
        **changes,
    }
    return DistillRecipe(**given)  # type: ignore[arg-type]


def test_training_brings_the_student_closer(models: Path, tmp_path: Path) -> None:
    result = distill(recipe(models, tmp_path / "tuned", lr=3e-3))
    assert result.before is not None
    assert result.after is not None
    assert result.after.kl < 0.8 * result.before.kl
    assert result.after.ce_teacher == pytest.approx(result.before.ce_teacher)
    assert (result.steps, result.tokens > 0) == (30, True)
    assert not (tmp_path / "tuned.run").exists()
    lines = (tmp_path / "tuned" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 31))
    assert {"ce", "skew_forward", "hidden_nmse"} <= json.loads(lines[0]).keys()


def test_output_is_a_model_folder_that_keeps_frozen_weights(models: Path, tmp_path: Path) -> None:
    student = tmp_path / "student"
    shutil.copytree(models / "student", student)
    graphs = {"lm.onnx": False, "flow_encoder.onnx": True}
    for name in graphs:
        (student / name).write_bytes(b"of the weights that it names")
    distill(recipe(models, tmp_path / "tuned", steps=3, student=str(student)))
    # A graph goes along with its weights, and only where they stay what they are.
    assert {name: (tmp_path / "tuned" / name).is_file() for name in graphs} == graphs
    before, after = (read_model_folder(path) for path in (student, tmp_path / "tuned"))
    assert after.config == before.config
    assert after.provenance["task"] == "distill"
    assert after.provenance["recipe"]["teacher"] == str(models / "teacher")
    assert (tmp_path / "tuned" / "voices" / "ann.safetensors").is_file()
    assert "license" in (tmp_path / "tuned" / "README.md").read_text()
    old, new = (dict(folder.part("lm").stored()) for folder in (before, after))
    assert old.keys() == new.keys()
    changed = {name for name in old if not torch.equal(old[name].float(), new[name].float())}
    assert changed
    assert all(".mixer." in name for name in changed)
    Engine.load(str(tmp_path / "tuned"), device="cpu").ready("lm", "flow", "hift")


def test_everything_learns_where_the_rest_has_a_rate(models: Path, tmp_path: Path) -> None:
    result = distill(recipe(models, tmp_path / "tuned", steps=2, lr_rest=1e-3))
    assert result.frozen == 0
    old, new = (
        dict(read_model_folder(path).part("lm").stored())
        for path in (models / "student", tmp_path / "tuned")
    )
    assert not torch.equal(old["speech_embedding.weight"], new["speech_embedding.weight"])


def test_interrupted_run_goes_on_to_the_same_weights(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distill(recipe(models, tmp_path / "whole", steps=8))
    with monkeypatch.context() as patch:
        plain = Trainer._update

        def interrupted(self: Trainer, batches: object) -> dict[str, float]:
            if self.step == 5:
                self.save()
                raise KeyboardInterrupt
            return plain(self, batches)  # type: ignore[arg-type]

        patch.setattr(Trainer, "_update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            distill(recipe(models, tmp_path / "cut", steps=8))
    assert not (tmp_path / "cut").exists()
    with pytest.raises(OutputError, match="unfinished run"):
        distill(recipe(models, tmp_path / "cut", steps=8))
    heard: list[Event] = []
    result = distill(DistillRecipe(resume=tmp_path / "cut.run", device="cpu"), heard.append)
    assert any(isinstance(event, Note) and "step 5 of 8" in event.text for event in heard)
    assert result.output == tmp_path / "cut"
    one, two = (
        dict(read_model_folder(tmp_path / name).part("lm").stored()) for name in ("whole", "cut")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_aligning_each_layer_alone_comes_first(models: Path, tmp_path: Path) -> None:
    heard: list[Event] = []
    changes = {"align_steps": 30, "steps": 1, "lr": 3e-3, "kl_weight": 0.0, "ce_weight": 0.0}
    result = distill(recipe(models, tmp_path / "tuned", **changes), heard.append)
    measured = [event.values for event in heard if isinstance(event, Metrics)]
    aligned = [values for values in measured if "layer_1" in values]
    assert aligned[-1]["loss"] < 0.9 * aligned[0]["loss"]
    assert result.before is not None
    assert result.after is not None
    assert result.after.kl < result.before.kl


def test_teacher_speaks_where_no_data_are_given(models: Path, tmp_path: Path) -> None:
    result = distill(
        recipe(models, tmp_path / "tuned", data=None, synthetic=600, steps=5, check_tokens=100)
    )
    assert result.before is not None
    assert result.before.tokens >= 100


def test_dry_run_counts_and_writes_nothing(models: Path, tmp_path: Path) -> None:
    result = distill(recipe(models, tmp_path / "tuned", dry_run=True))
    lm = Engine.load(str(models / "student"), device="cpu").part("lm")
    counts = {name: p.numel() for name, p in lm.named_parameters()}
    assert result.trainable == sum(n for name, n in counts.items() if ".mixer." in name)
    assert result.trainable + result.frozen == sum(counts.values())
    assert result.tokens == 30 * 140
    assert "MB" in result.plan["memory"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"student": ""}, UsageError, "no student"),
        ({"output": None}, UsageError, "no output"),
        ({"student": "teacher"}, MamtraError, "converted from|no new layers"),
        ({"data": Path("none.jsonl")}, DataError, "cannot read"),
        ({"batch_tokens": 1, "check_tokens": 100_000}, DataError, ""),
        ({"resume": Path("nowhere.run")}, UsageError, "no run to resume"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_is_refused(
    models: Path, tmp_path: Path, changes: dict[str, object], kind: type[MamtraError], message: str
) -> None:
    if changes.get("student") == "teacher":
        changes = {"student": str(models / "teacher"), "teacher": str(models / "teacher")}
        kind, message = PlanError, "no new layers"
    if "check_tokens" in changes:
        few = tmp_path / "few.jsonl"
        few.write_text("".join((models / "pairs.jsonl").read_text().splitlines(True)[:3]))
        changes = {"data": few}
        message = "too few"
    with pytest.raises(kind, match=message):
        distill(replace(recipe(models, tmp_path / "tuned"), **changes))  # type: ignore[arg-type]
    assert not list(tmp_path.glob("tuned*"))


def test_teacher_of_other_sizes_is_refused(models: Path, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "deep", layers=6)
    with pytest.raises(PlanError, match="`n_layers` is 6 and 4"):
        distill(recipe(models, tmp_path / "tuned", teacher=str(tmp_path / "deep")))


def test_command_tells_what_it_would_train(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["distill", str(models / "student"), "-o", str(tmp_path / "tuned"), "--dry-run"]
    assert run([*args, "--device", "cpu"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("would train")
    assert "frozen" in captured.out
    assert "MB at once" in captured.out
    assert "MB" not in captured.err


def test_every_stage_can_follow_the_other(models: Path, tmp_path: Path) -> None:
    heard: list[Event] = []
    changes = {"calibrate": "ls", "align_steps": 3, "steps": 3, "own_steps": 4, "ema": 0.9}
    changes |= {"bistream": 0.5, "packing": True, "checkpoint_activations": True, "plot": True}
    result = distill(recipe(models, tmp_path / "tuned", **changes), heard.append)
    assert any(isinstance(event, Note) and "closed form" in event.text for event in heard)
    output = tmp_path / "tuned"
    for name, count in (("metrics-align", 3), ("metrics", 3), ("metrics-own", 4)):
        lines = [json.loads(line) for line in (output / f"{name}.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(1, count + 1)), name
    # Half of the last stage's updates read the student's own speech, which has no tokens to learn.
    named = [sorted(key for key in line if key.startswith("skew")) for line in lines]
    assert named.count(["skew_forward_and_skew_reverse"]) == 2
    assert named.count(["skew_forward"]) == 2
    assert result.curves == output / "curves.png"
    assert (output / "curves.png").stat().st_size > 5000


def test_stored_teacher_trains_as_the_live_one(models: Path, tmp_path: Path) -> None:
    live = distill(recipe(models, tmp_path / "live", steps=4))
    changes = {"teacher_cache": CODES + 20, "cache_hidden": True, "steps": 4}
    stored = distill(recipe(models, tmp_path / "stored", **changes))
    assert live.loss is not None
    assert stored.loss == pytest.approx(live.loss, abs=3e-3)
    with pytest.raises(UsageError, match="no hidden states"):
        distill(recipe(models, tmp_path / "x", teacher_cache=4))


STAGES = {"align_steps": 3, "steps": 3, "own_steps": 3, "save_every": 1, "ema": 0.5}


@pytest.fixture(scope="module")
def unbroken(models: Path) -> Path:
    """What the three stages make of the student in one go."""
    distill(recipe(models, models / "unbroken", **STAGES))
    return models / "unbroken"


@pytest.mark.parametrize("stage", ["align", "whole", "own"])
def test_stopped_in_any_stage_a_run_goes_on_to_the_same_weights(
    models: Path, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    with monkeypatch.context() as patch:
        plain, calls = Trainer._update, iter(range(1, 100))
        last = {"align": 2, "whole": 5, "own": 8}[stage]

        def interrupted(self: Trainer, batches: object) -> dict[str, float]:
            if next(calls) > last:
                raise KeyboardInterrupt
            return plain(self, batches)  # type: ignore[arg-type]

        patch.setattr(Trainer, "_update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            distill(recipe(models, tmp_path / "cut", **STAGES))
    distill(DistillRecipe(resume=tmp_path / "cut.run", device="cpu"))
    one, two = (
        dict(read_model_folder(path).part("lm").stored()) for path in (unbroken, tmp_path / "cut")
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_tensorboard_events_are_in_the_output(models: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    distill(recipe(models, tmp_path / "tuned", steps=2, tensorboard=True))
    (events,) = (tmp_path / "tuned" / "tensorboard" / "train").iterdir()
    assert events.stat().st_size > 200


def test_missing_matplotlib_is_said(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    heard: list[Event] = []
    result = distill(recipe(models, tmp_path / "tuned", steps=1, plot=True), heard.append)
    assert result.curves is None
    (note,) = [event for event in heard if isinstance(event, Note) and event.warning]
    assert "mamtra-cli[plot]" in note.text


def test_plan_names_stages_data_and_memory(models: Path, tmp_path: Path) -> None:
    changes = {"calibrate": "ls", "align_steps": 5, "own_steps": 7, "dry_run": True, "report": True}
    plan = distill(recipe(models, tmp_path / "tuned", **changes)).plan
    assert list(plan) == ["stage C", "stage 0", "stage 1", "stage 2", "data", "memory", "report"]
    assert plan["stage 1"].startswith("30 steps of 140 tokens")
    assert plan["data"].startswith("40 utterances, 560 tokens")


@pytest.mark.parametrize(
    "changes",
    [{"divergence": "kl"}, {"calibrate": "best"}, {"steps": 0}, {"hidden_layers": "first"}],
    ids=lambda changes: next(iter(changes)),
)
def test_unknown_choice_is_a_usage_error(
    models: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(UsageError):
        distill(recipe(models, tmp_path / "tuned", **changes))


def test_paper_preset_and_its_recipe_file_say_the_same() -> None:
    written = read_data(Path(__file__).parents[2] / "examples" / "distill-mamtra-paper.toml")
    values = {key.replace("-", "_"): value for key, value in written.items()}
    assert values == PRESETS["mamtra-paper"]
    assert DistillRecipe(**values).divergence == "skew_forward"
