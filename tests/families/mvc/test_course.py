"""A conditioner learns from a model with tokens, and a stopped run goes on exactly."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tiny_model import write_tiny_model

from mamtra_cli.engine.training.trainer import Trainer
from mamtra_cli.errors import PlanError, UsageError
from mamtra_cli.families.mvc import config
from mamtra_cli.families.mvc.config import ConditionerConfig
from mamtra_cli.recipes import DistillRecipe, SynthRecipe
from mamtra_cli.tasks.distill import distill
from mamtra_cli.tasks.synth import synth
from mamtra_cli.tensors import TensorFile

SMALL = ConditionerConfig(
    width=32, state=8, text_layers=1, rhythm_layers=1, prosody_layers=1, style_width=8,
    style_channels=16,
)  # fmt: skip


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny", copies=True)


@pytest.fixture
def recipe(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DistillRecipe:
    monkeypatch.setitem(config.PRESETS, "mini", SMALL)
    return DistillRecipe(
        family="mvc", teacher=str(teacher), output=tmp_path / "made", synthetic=240, steps=6,
        batch_tokens=80, check_tokens=60, lr=3e-3, save_every=2, device="cpu", report=False,
        plot=False,
    )  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(TensorFile(folder / "conditioner.safetensors").stream())


def test_a_student_learns_and_speaks(recipe: DistillRecipe, tmp_path: Path) -> None:
    done = distill(replace(recipe, steps=20))
    assert done.checks["after_mu"] < done.checks["before_mu"]
    assert not (tmp_path / "made.run").exists()
    said = synth(SynthRecipe(text="One.", model=str(recipe.output), output=str(tmp_path / "a.wav")))
    assert said.seconds > 0
    assert "not the authors' model" in (tmp_path / "made" / "README.md").read_text()
    again = distill(replace(recipe, family="", student=str(recipe.output), output=tmp_path / "b"))
    assert again.checks["before_mu"] == pytest.approx(done.checks["after_mu"], rel=0.2)


def test_a_stopped_run_goes_on_to_the_same_weights(
    recipe: DistillRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distill(recipe)
    other = replace(recipe, output=tmp_path / "other")
    update = Trainer._update

    def stops(self: Trainer, batches: object) -> dict[str, float]:
        if self.step == 3:
            raise KeyboardInterrupt
        return update(self, batches)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", stops)
        with pytest.raises(KeyboardInterrupt):
            distill(other)
    distill(DistillRecipe(resume=tmp_path / "other.run", device="cpu"))
    one, two = weights(tmp_path / "made"), weights(tmp_path / "other")
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_larger_size_is_named_with_the_family(
    recipe: DistillRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(config.PRESETS, "default", replace(SMALL, width=48))
    with pytest.raises(UsageError, match="no size `huge`"):
        distill(replace(recipe, family="mvc:huge"))
    planned = distill(replace(recipe, family="mvc:default", dry_run=True))
    distill(replace(recipe, family="mvc:default", steps=1))
    made = weights(tmp_path / "made")
    assert made["embedding.weight"].shape[1] == 48
    assert planned.trainable == sum(value.numel() for value in made.values())


def test_a_teacher_needs_a_language_model(recipe: DistillRecipe, tmp_path: Path) -> None:
    distill(replace(recipe, steps=1))
    with pytest.raises(PlanError, match="no language model to learn from"):
        distill(replace(recipe, teacher=str(recipe.output), output=tmp_path / "b"))
