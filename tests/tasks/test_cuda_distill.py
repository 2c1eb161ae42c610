"""`distill` on a GPU: every stage trains there, in bfloat16, and float32 passes are the CPU's.

On a pretended device (tests/pretended_cuda.py), so that machines without one notice.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.pretended_cuda import pretended_cuda
from tests.tiny_model import CODES, SYMBOLS, write_tiny_model
from torch import Tensor, nn

from mamtra_cli.engine.choosing.bench import align_pool, make_pool
from mamtra_cli.engine.lessons.examples import BatchSource, write_examples
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.training.optimization import TrainOptions
from mamtra_cli.engine.training.parallel import own_device
from mamtra_cli.engine.training.trainer import Loss, Trainer
from mamtra_cli.errors import UsageError
from mamtra_cli.families.lessons import Example
from mamtra_cli.layers.mixer_config import preset
from mamtra_cli.recipes import ConvertRecipe, DistillRecipe, DistillResult
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tasks.distill import distill
from mamtra_cli.tensors import TensorFile

KNOBS: dict[str, dict[str, Any]] = {
    "plain": {},
    "packed": {"packing": True, "bistream": 0.5, "pass_positions": 60},
    "everything": {"lr_rest": 1e-4, "ema": 0.9, "checkpoint_activations": True},
    "stored": {"teacher_cache": 8, "cache_hidden": True},
    "stages": {"calibrate": "ls", "align_steps": 1, "own_steps": 1, "own_share": 1.0},
    "last": {"hidden_layers": "last", "hidden_loss": "cosine", "divergence": "js"},
}


def examples() -> list[Example]:
    generator = torch.Generator().manual_seed(0)
    return [
        Example(
            id=f"e{i}",
            text_ids=tuple(torch.randint(SYMBOLS, (6,), generator=generator).tolist()),
            tokens=tuple(torch.randint(CODES, (14,), generator=generator).tolist()),
        )
        for i in range(30)
    ]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distill")
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
    write_examples(folder / "pairs.jsonl", examples())
    return folder


def trained(models: Path, output: Path, **changes: Any) -> DistillResult:
    recipe = DistillRecipe(
        student=str(models / "student"),
        data=models / "pairs.jsonl",
        output=output,
        steps=2,
        batch_tokens=56,
        warmup=1,
        lr=1e-3,
        check_tokens=30,
        plot=False,
        report=False,
    )
    return distill(replace(recipe, **changes))


@pytest.mark.parametrize("knobs", KNOBS.values(), ids=KNOBS)
def test_training_on_a_gpu_is_the_processors(
    models: Path, tmp_path: Path, knobs: dict[str, Any]
) -> None:
    here = trained(models, tmp_path / "here", device="cpu", **knobs)
    with pretended_cuda():
        there = trained(models, tmp_path / "there", precision="float32", **knobs)
    assert here.loss is not None
    assert there.loss == pytest.approx(here.loss, rel=1e-4)
    one, two = (TensorFile(tmp_path / name / "lm.safetensors") for name in ("here", "there"))
    for (name, value), (_, other) in zip(one.stream(), two.stream(), strict=True):
        # A gradient near zero has no sure sign, and AdamW's first steps know signs only.
        torch.testing.assert_close(value, other, atol=2.5e-3, rtol=0, msg=name)


@pytest.mark.parametrize(
    "knobs",
    [
        KNOBS["everything"],
        # Passes, not updates: AdamW's first steps know signs only, and move this small a
        # divergence by a tenth where a gradient near zero has another sign.
        KNOBS["stages"] | {"lr": 1e-5},
    ],
    ids=["everything", "stages"],
)
def test_bfloat16_passes_are_close_to_float32(
    models: Path, tmp_path: Path, knobs: dict[str, Any]
) -> None:
    with pretended_cuda():
        exact = trained(models, tmp_path / "exact", precision="float32", **knobs)
        half = trained(models, tmp_path / "half", **knobs)
    assert half.loss != exact.loss
    assert half.loss == pytest.approx(exact.loss, rel=0.02)


def trainer_of(folder: Path, device: str, **options: Any) -> Trainer:
    torch.manual_seed(0)
    module = nn.Linear(3, 2).to(device)

    def loss(batch: object) -> Loss:
        value = module(torch.randn(4, 3, device=device)).square().mean()
        return Loss(value=value, tokens=1)

    source = BatchSource(examples(), budget=60, seed=0)
    settings = TrainOptions(save_every=2, warmup=1, ema=0.5, **options)
    return Trainer(module, loss, source, settings, folder=folder)


@pytest.mark.parametrize(("first", "then"), [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
def test_run_goes_on_on_either_device(tmp_path: Path, first: str, then: str) -> None:
    with pretended_cuda():
        trainer_of(tmp_path, first, steps=2).run()
        going = trainer_of(tmp_path, then, steps=4)
        going.resume()
        places = {
            name: state.device.type
            for states in going.optimizer.state.values()
            for name, state in states.items()
        }
        assert places == {"step": "cpu", "exp_avg": then, "exp_avg_sq": then}
        going.run()
        assert {value.device.type for value in going.weights().values()} == {then}


def test_random_state_is_that_of_the_trained_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.device] = []

    def told(call: Callable[..., Any]) -> Callable[..., Any]:
        def heard(*given: Any) -> Any:
            asked.append(given[-1])
            return call(*given)

        return heard

    for name in ("cpu", "cuda"):
        (tmp_path / name).mkdir()
    with pretended_cuda():
        monkeypatch.setattr(torch.cuda, "get_rng_state", told(torch.cuda.get_rng_state))
        monkeypatch.setattr(torch.cuda, "set_rng_state", told(torch.cuda.set_rng_state))
        trainer_of(tmp_path / "cpu", "cpu", steps=1).save()
        assert not asked
        trainer_of(tmp_path / "cuda", "cuda", steps=1).save()
        trainer_of(tmp_path / "cuda", "cuda", steps=1).resume()
        monkeypatch.undo()
    assert asked == [torch.device("cuda", 0)] * 2


def test_pool_of_mixers_is_aligned_on_the_device(models: Path) -> None:
    with pretended_cuda():
        teacher = Engine.load(str(models / "teacher"), dtype="float32").lessons
        pool = make_pool(teacher, preset("mamba2-gqa"), examples()[:4])
        align_pool(teacher, pool, examples()[:8], steps=2)
        found: dict[str, Tensor] = dict(pool.lm.named_parameters())
        assert {value.device.type for value in found.values()} == {"cuda"}


@pytest.mark.parametrize(
    ("asked", "wanted"), [("auto", "cuda:3"), ("cuda", "cuda:3"), ("cpu",) * 2]
)
def test_each_process_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, asked: str, wanted: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pretended_cuda():
        assert own_device(asked) == wanted


def test_one_gpu_for_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert own_device("cuda:1") == "cuda:1"
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="cannot share `cuda:1`"):
        own_device("cuda:1")
