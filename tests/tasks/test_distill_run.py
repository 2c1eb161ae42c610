"""The folder of a distillation under way: whose it is, and with what a run goes on."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import filelock
import pytest
import torch
from matplotlib.axes import Axes
from safetensors.torch import load_file, save_file
from tests.tiny_model import CODES, SYMBOLS, write_tiny_model

from mamtra_cli.cli.app import run
from mamtra_cli.engine.lessons.examples import write_examples
from mamtra_cli.engine.training.curves import draw_curves
from mamtra_cli.engine.training.parallel import World
from mamtra_cli.engine.training.trainer import Trainer
from mamtra_cli.errors import CheckpointError, OutputError, PlanError, TrainingError, UsageError
from mamtra_cli.families.lessons import Example
from mamtra_cli.recipes import ConvertRecipe, DistillRecipe, DistillResult
from mamtra_cli.tasks import distill as task
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tasks.distill import distill


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A teacher, its 1:1 student, and pairs."""
    torch.manual_seed(0)
    write_tiny_model(tmp_path / "teacher", layers=2)
    convert(
        ConvertRecipe(
            placement="block-begin",
            teacher=str(tmp_path / "teacher"),
            output=tmp_path / "student",
            calibrate="none",
            check_tokens=0,
            device="cpu",
        )
    )
    write_pairs(tmp_path / "pairs.jsonl", 12)
    return tmp_path


def write_pairs(path: Path, count: int) -> None:
    generator = torch.Generator().manual_seed(0)
    write_examples(
        path,
        [
            Example(
                id=f"e{i}",
                text_ids=tuple(torch.randint(SYMBOLS, (4,), generator=generator).tolist()),
                tokens=tuple(torch.randint(CODES, (9,), generator=generator).tolist()),
            )
            for i in range(count)
        ],
    )


def recipe(models: Path, **changes: object) -> DistillRecipe:
    given = {
        "student": str(models / "student"),
        "data": models / "pairs.jsonl",
        "output": models / "tuned",
        "steps": 4,
        "batch_tokens": 36,
        "save_every": 1,
        "check_tokens": 9,
        "report": False,
        "plot": False,
        "device": "cpu",
        **changes,
    }
    return DistillRecipe(**given)  # type: ignore[arg-type]


def cut(
    models: Path, monkeypatch: pytest.MonkeyPatch, after: int = 2, **changes: object
) -> DistillRecipe:
    """A run that was interrupted, and the recipe to go on with it."""
    plain, calls = Trainer._update, iter(range(100))

    def interrupted(self: Trainer, batches: object) -> dict[str, float]:
        if next(calls) == after:
            raise KeyboardInterrupt
        return plain(self, batches)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            distill(recipe(models, **changes))
    return DistillRecipe(resume=models / "tuned.run", device="cpu")


def test_folder_that_no_run_wrote_is_never_cleared(models: Path) -> None:
    precious = models / "tuned.run" / "precious.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    for force in (False, True):
        with pytest.raises(OutputError, match="is not a run"):
            distill(recipe(models, force=force))
    assert precious.read_text() == "mine"


def test_run_that_another_process_is_at_is_left_alone(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = cut(models, monkeypatch)
    before = {path: path.read_bytes() for path in (models / "tuned.run").iterdir()}
    with filelock.FileLock(models / "tuned.run" / ".lock"):
        for given in (again, recipe(models, force=True)):
            with pytest.raises(OutputError, match="another `mamtra distill` is at work"):
                distill(given)
    assert {path: path.read_bytes() for path in (models / "tuned.run").iterdir()} == before
    assert distill(again).steps == 4


def test_run_does_not_go_on_with_other_data(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again = cut(models, monkeypatch)
    write_pairs(models / "pairs.jsonl", 13)
    with pytest.raises(TrainingError, match=r"the data of .* changed"):
        distill(again)
    write_pairs(models / "pairs.jsonl", 12)
    assert distill(again).steps == 4


@pytest.mark.parametrize("which", ["teacher", "student"])
def test_run_does_not_go_on_with_another_model(
    models: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    again = cut(models, monkeypatch)
    path = models / which / "lm.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("norm.weight"))
    tensors[name] = tensors[name] + 1
    save_file(tensors, path)
    with pytest.raises(TrainingError, match=f"the {which} of .* changed"):
        distill(again)


def test_run_of_an_older_version_goes_on_without_hashes(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = cut(models, monkeypatch)
    path = models / "tuned.run" / "run.json"
    facts = json.loads(path.read_text())
    del facts["sources"]
    path.write_text(json.dumps(facts))
    assert distill(again).steps == 4


def test_dry_run_of_a_resumed_run_writes_nothing(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = cut(models, monkeypatch)
    before = {path: path.read_bytes() for path in (models / "tuned.run").iterdir()}
    assert distill(replace(again, dry_run=True)).dry_run
    assert {path: path.read_bytes() for path in (models / "tuned.run").iterdir()} == before
    assert not (models / "tuned").exists()


@pytest.mark.parametrize("text", ["", "[1]", '{"recipe": "mine"}', '{"recipe": {}, "before": 3}'])
def test_damaged_run_file_is_named(
    models: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    again = cut(models, monkeypatch)
    (models / "tuned.run" / "run.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"run\.json"):
        distill(again)


@pytest.mark.parametrize("after", [1, 3, 5])
def test_steps_and_tokens_are_those_of_all_stages_however_often_interrupted(
    models: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    stages = {"align_steps": 2, "steps": 2, "own_steps": 2, "own_share": 0.0}
    again = cut(models, monkeypatch, after, **stages)
    result = distill(again)
    assert result.steps == 6
    assert result.tokens == pytest.approx(6 * 36, rel=0.3)


@pytest.mark.parametrize("which", ["teacher", "student"])
def test_weights_that_are_not_finite_are_named_before_a_run_begins(
    models: Path, which: str
) -> None:
    path = models / which / "lm.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("down_proj.weight"))
    tensors[name][0, 0] = float("nan")
    save_file(tensors, path)
    with pytest.raises(TrainingError, match=f"{which}` holds values that are not finite, in `.*d"):
        distill(recipe(models))
    assert not list(models.glob("tuned*"))


def test_weights_that_the_last_update_broke_are_not_written(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Trainer.weights

    def broken(self: Trainer) -> dict[str, torch.Tensor]:
        return {name: value * float("nan") for name, value in plain(self).items()}

    monkeypatch.setattr(Trainer, "weights", broken)
    with pytest.raises(TrainingError, match="training ended with values that are not finite"):
        distill(recipe(models, steps=1))
    assert not (models / "tuned").exists()


@pytest.mark.parametrize("stage", [{"calibrate": "ls"}, {"align_steps": 2}])
def test_stage_for_new_layers_needs_some(models: Path, stage: dict[str, object]) -> None:
    teacher = str(models / "teacher")
    with pytest.raises(PlanError, match="no new layers"):
        distill(recipe(models, student=teacher, teacher=teacher, lr_rest=1e-4, **stage))


def test_clip_of_0_sets_no_limit(models: Path) -> None:
    def tuned(clip: float) -> DistillResult:
        return distill(recipe(models, output=models / f"clip{clip}", clip=clip, lr=1e-2))

    limited, free = tuned(1e9), tuned(0.0)
    assert free.loss == limited.loss
    assert free.after != free.before


def test_finished_run_cannot_be_taken_up_again(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    distill(recipe(models, steps=1))
    shutil.rmtree(models / "student")
    assert run(["distill", "--resume", str(models / "tuned.run"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["code"] == "usage"


def test_own_speech_of_a_divided_student_is_refused_before_anything_begins(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(rank=0, size=2, sharding="fsdp2")
    monkeypatch.setattr(task, "join", lambda *given, **named: world)
    monkeypatch.setattr(task, "leave", lambda world: None)
    with pytest.raises(UsageError, match="fsdp2 cannot speak"):
        distill(recipe(models, own_steps=1, sharding="fsdp2"))
    assert not list(models.glob("tuned*"))


def test_curves_show_the_losses_of_every_kind_of_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, list[float]] = {}

    def plot(
        self: Axes, steps: list[float], *rest: object, label: str = "", **named: object
    ) -> None:
        drawn[label] = steps

    monkeypatch.setattr(Axes, "plot", plot)
    rows = [
        {"step": 1, "loss": 2.0, "forward": 1.0, "gradient_norm": 1.0},
        {"step": 2, "loss": 1.0, "both": 1.0, "gradient_norm": 1.0},
        {"step": 3, "loss": 1.0, "forward": 1.0, "gradient_norm": 1.0},
    ]
    with warnings.catch_warnings(action="ignore"):  # nothing is there for a legend
        draw_curves(tmp_path / "curves.svg", {"own speech": rows})
    assert {name: steps for name, steps in drawn.items() if name} == {
        "loss": [1, 2, 3],
        "forward": [1, 3],
        "both": [2],
    }
