"""`distill --data` with what `prepare` wrote: spoken texts, recordings, and another tokenizer's."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.sounds import write_sound
from tests.tiny_model import CODES, write_tiny_model

from mamtra_cli.errors import DataError
from mamtra_cli.recipes import ConvertRecipe, DistillRecipe, PrepareRecipe
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tasks.distill import distill
from mamtra_cli.tasks.prepare import prepare

pytest.importorskip("pyarrow")

TEXTS = ["Hello there.", "A cat sat.", "The dog ran home.", "Who was it?", "Rain fell.", "Go on."]


def write_model(folder: Path, seed: int = 0) -> Path:
    """A tiny model that reads clips and ends its speech."""
    torch.manual_seed(seed)
    write_tiny_model(folder, copies=True, seed=seed)
    path = folder / "lm.safetensors"
    tensors = load_file(path)
    tensors["llm_decoder.bias"][CODES] += 8
    save_file(tensors, path, {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    teacher = str(write_model(folder / "teacher"))
    given = {"output": folder / "student", "calibrate": "none", "check_tokens": 0, "device": "cpu"}
    convert(ConvertRecipe(placement="block-begin", teacher=teacher, **given))  # type: ignore[arg-type]
    return folder


def shards(folder: Path, model: Path, *, spoken: bool) -> Path:
    """Prepared texts that the model speaks, or recordings that it reads."""
    source = folder / ("texts.txt" if spoken else "clips")
    if spoken:
        source.write_text("\n".join(TEXTS))
    for number, text in enumerate([] if spoken else TEXTS):
        write_sound(source / f"c{number}.wav", 0.8, number)
        (source / f"c{number}.txt").write_text(text)
    recipe = PrepareRecipe(
        input=str(source),
        model=str(model),
        output=folder / "shards",
        synthetic=spoken,
        retries=20,
        plot=False,
        device="cpu",
        threads=1,
    )
    assert prepare(recipe).written >= 5
    return folder / "shards"


def lesson(models: Path, data: Path, output: Path) -> DistillRecipe:
    return DistillRecipe(
        student=str(models / "student"),
        data=data,
        output=output,
        steps=2,
        batch_tokens=40,
        check_tokens=10,
        report=False,
        device="cpu",
    )


@pytest.mark.parametrize("spoken", [True, False], ids=["spoken", "recorded"])
def test_prepared_shards_are_learnt_from(models: Path, tmp_path: Path, spoken: bool) -> None:
    data = shards(tmp_path, models / "teacher", spoken=spoken)
    result = distill(lesson(models, data, tmp_path / "tuned"))
    assert result.steps == 2
    assert result.before is not None
    assert result.before.tokens > 0


def test_shards_of_another_tokenizer_are_refused_before_anything_is_written(
    models: Path, tmp_path: Path
) -> None:
    data = shards(tmp_path, write_model(tmp_path / "other", seed=1), spoken=False)
    with pytest.raises(DataError, match="was made with the speech tokenizer"):
        distill(lesson(models, data, tmp_path / "tuned"))
    assert not list(tmp_path.glob("tuned*"))
