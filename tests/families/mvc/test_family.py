"""Family `mvc` through the commands: measured, scored, published whole."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.families.mvc.tiny import write_tiny_mvc

from mamtra_cli.checkpoint import read_model_folder
from mamtra_cli.errors import UsageError
from mamtra_cli.recipes import EvalRecipe, ProfileRecipe, PushRecipe, SynthRecipe
from mamtra_cli.tasks.evaluate import evaluate
from mamtra_cli.tasks.profile import profile
from mamtra_cli.tasks.push import files_of, push, standalone
from mamtra_cli.tasks.synth import synth


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_mvc(tmp_path_factory.mktemp("models"))


def test_profile_tells_conditioner_frames_and_codec(folder: Path) -> None:
    found = profile(ProfileRecipe(model=str(folder), device="cpu", runs=1, warmup=0))
    rows = {row.stage: row.values for row in found.rows}
    assert rows["weights"]["conditioner_parameters"] > 0
    assert rows["frames"]["seconds"] == rows["codec"]["seconds"] > 0
    assert rows["speech"]["warm_first_audio_s"] > 0


def test_eval_scores_it_beside_a_model_with_tokens(folder: Path) -> None:
    recipe = EvalRecipe(
        model=str(folder), teacher=str(folder.with_name("tiny")), sentences=1,
        asr="command:echo a", similarity="none", utmos="none", mos="none", rounds=10, device="cpu",
    )  # fmt: skip
    found = evaluate(recipe)
    assert found.difference is not None
    assert "kl" not in found.difference.values


def test_push_takes_shared_files_along(folder: Path) -> None:
    told = push(PushRecipe(folder=folder, repo="org/name", dry_run=True))
    names = {file.name for file in told.files}
    assert {"conditioner.safetensors", "flow.safetensors", "symbols.json", "config.json"} <= names
    with standalone(read_model_folder(folder)) as whole:
        assert whole.shares is None
        assert "source_filter.safetensors" in files_of(whole, ())[0]


def test_what_asks_for_tokens_is_refused(folder: Path, tmp_path: Path) -> None:
    recipe = SynthRecipe(text="One.", model=str(folder), output=str(tmp_path / "a.wav"))
    for wish in ({"greedy": True}, {"temperature": 0.5}, {"max_seconds": 2.0}):
        with pytest.raises(UsageError, match="this model"):
            synth(replace(recipe, **wish))  # type: ignore[arg-type]
