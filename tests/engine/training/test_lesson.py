"""A flow of few steps, from the command to a folder that speaks with it on every road."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tiny_model import write_tiny_model

from mamtra_cli.checkpoint import read_model_folder
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.engine.loading.light import opened
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.training.trainer import Trainer
from mamtra_cli.errors import PlanError, TrainingError, UsageError
from mamtra_cli.recipes import DistillRecipe, SynthRecipe
from mamtra_cli.recipes.export import ExportRecipe
from mamtra_cli.tasks.distill import distill
from mamtra_cli.tasks.export import export
from mamtra_cli.tasks.synth import synth
from mamtra_cli.tensors import TensorFile


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_model(tmp_path_factory.mktemp("models") / "tiny", source_filter=True)
    (folder / "lm.onnx").write_bytes(b"of the language model")
    (folder / "flow_encoder.onnx").write_bytes(b"of the flow")
    return folder


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> DistillRecipe:
    return DistillRecipe(
        student=str(model), flow_steps=2, output=tmp_path / "short", synthetic=300, steps=4,
        batch_tokens=60, check_tokens=30, lr=3e-3, save_every=2, device="cpu", report=False,
        plot=False,
    )  # fmt: skip


def weights(folder: Path, part: str = "flow") -> dict[str, torch.Tensor]:
    return dict(TensorFile(folder / f"{part}.safetensors").stream())


def test_a_flow_is_shortened_and_all_else_stays(
    recipe: DistillRecipe, model: Path, tmp_path: Path
) -> None:
    done = distill(replace(recipe, steps=12))
    short = tmp_path / "short"
    assert set(done.checks) == {f"{when}_mel_{n}" for when in ("before", "after") for n in (1, 2)}
    assert done.checks["after_mel_2"] < done.checks["before_mel_2"]
    flow = read_model_folder(short).config["flow"]
    assert (flow["velocity"], flow["steps"], flow["cfg_rate"]) == ("mean", 2, 0.0)
    assert done.trainable > 0
    old, new = weights(model), weights(short)
    assert {name for name in new if name not in old} == {
        f"decoder.estimator.span_mlp.linear_{i}.{kind}"
        for i in (1, 2)
        for kind in ("weight", "bias")
    }
    assert {
        name.partition(".estimator.")[0] for name in old if not torch.equal(old[name], new[name])
    } == {"decoder"}
    assert (short / "lm.safetensors").read_bytes() == (model / "lm.safetensors").read_bytes()
    # Graphs of the old flow do not go along.
    assert (short / "lm.onnx").exists()
    assert not (short / "flow_encoder.onnx").exists()
    assert "2 steps without guidance" in (short / "README.md").read_text()
    rows: list[int] = []
    flow_part = Engine.load(str(short), device="cpu").part("flow")
    assert isinstance(flow_part, Flow)
    flow_part.decoder.estimator.register_forward_pre_hook(
        lambda _, given: rows.append(given[0].shape[0])
    )
    ids, nobody = torch.zeros(1, 9, dtype=torch.long), torch.zeros(1, 0, dtype=torch.long)
    flow_part.inference(ids, nobody, torch.zeros(1, 0, 80), torch.ones(1, 192))
    assert rows == [1, 1]
    with pytest.raises(PlanError, match="2 steps already"):
        distill(replace(recipe, student=str(short), output=tmp_path / "again"))


def test_both_roads_speak_with_it(recipe: DistillRecipe, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    distill(recipe)
    result = export(ExportRecipe(model=str(recipe.output), output=tmp_path / "light"))
    assert result.samples < 1e-2  # modules and graphs, token for token
    light, reason = opened(tmp_path / "light", "light")
    assert light is not None, reason
    said = synth(
        SynthRecipe(text="One.", model=str(tmp_path / "light"), output=str(tmp_path / "a.wav"))
    )
    assert said.seconds > 0


def test_a_run_of_another_flow_is_not_gone_on_with(
    recipe: DistillRecipe, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            distill(replace(recipe, student=str(copy)))
    data = bytearray((copy / "flow.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "flow.safetensors").write_bytes(data)
    with pytest.raises(TrainingError, match="student"):
        distill(DistillRecipe(resume=tmp_path / "short.run", device="cpu"))


def test_a_dry_run_tells_the_course(recipe: DistillRecipe) -> None:
    found = distill(replace(recipe, dry_run=True, output=None, flow_steps=4))
    assert found.plan["flow"] == "4 evaluations in place of 4, learned for 1, 2, 4 steps"
    assert found.plan["teacher"] == "12 steps, guidance 0.7"
    assert found.trainable > 0


def test_stages_of_language_models_are_refused(recipe: DistillRecipe) -> None:
    for change in ({"own_steps": 3}, {"calibrate": "ls"}, {"family": "mvc"}):
        with pytest.raises(UsageError, match="one stage"):
            distill(replace(recipe, **change))  # type: ignore[arg-type]
