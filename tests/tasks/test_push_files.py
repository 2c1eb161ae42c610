"""Which files of a folder go to the hub, which stay, and which refuse the whole."""

import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from tests.tasks.pushing import write_student

from mamtra_cli.errors import CheckpointError, MamtraError, ModelNotFoundError, UsageError
from mamtra_cli.publish import HOST
from mamtra_cli.recipes import PushRecipe, PushResult
from mamtra_cli.tasks.push import public_copy, push


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_student(tmp_path / "student")


def plan(folder: Path, *voices: str) -> PushResult:
    return push(PushRecipe(folder=folder, repo="loop/student", voices=voices, dry_run=True))


def test_exactly_the_named_voices_go(folder: Path) -> None:
    for name in ("ann.v2", "ann.private"):
        shutil.copy(
            folder / "voices" / "ann.safetensors", folder / "voices" / f"{name}.safetensors"
        )
    (folder / "voices" / "ann.txt").write_text("what ann said")
    names = [file.name for file in plan(folder, "ann").files]
    assert [name for name in names if name.startswith("voices")] == ["voices/ann.safetensors"]


def test_unknown_files_and_links_that_lead_out_stay_and_are_told(folder: Path) -> None:
    secret = folder.parent / "secret"
    secret.mkdir()
    (secret / "passwords").write_text("mine")
    (folder / "LICENSE").symlink_to(secret / "passwords")
    (folder / "linked").symlink_to(secret, target_is_directory=True)
    for name in ("notes.txt", "token", "weights.dat", "clips/a.wav", "lora.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"mine")
    result = plan(folder)
    assert [file.name for file in result.files] == ["README.md", "config.json", "lm.safetensors"]
    told = {name for name in result.stays if not name.startswith("voices/")}
    unknown = {"notes.txt", "token", "weights.dat", "clips/a.wav", "lora.safetensors"}
    assert told == unknown | {"LICENSE", "linked", "trainer.safetensors"}


def test_weights_that_are_a_link_out_of_the_folder_refuse(folder: Path) -> None:
    shutil.move(folder / "lm.safetensors", folder.parent / "away")
    (folder / "lm.safetensors").symlink_to(folder.parent / "away")
    with pytest.raises(CheckpointError, match="is a link that leads out"):
        plan(folder)


@pytest.mark.parametrize("name", ["LICENSE", "vocab.json", "notes"])
def test_pickle_under_any_name_refuses(folder: Path, name: str) -> None:
    (folder / name).write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(CheckpointError, match=f"`{name}` is a pickle"):
        plan(folder)
    torch.save({"a": torch.ones(1)}, folder / name)
    with pytest.raises(CheckpointError, match=f"`{name}` is a pickle"):
        plan(folder)


def test_text_with_a_token_refuses(folder: Path) -> None:
    with (folder / "README.md").open("a") as file:
        file.write("\nmade with HF_TOKEN=hf_" + "aB3" * 10)
    with pytest.raises(CheckpointError, match="looks like a token of the Hugging Face Hub"):
        plan(folder)


def test_card_that_is_no_utf8_refuses(folder: Path) -> None:
    (folder / "README.md").write_bytes("---\nlicense: mit\n---\nfür alle".encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"cannot read .*README\.md"):
        plan(folder)


def test_what_a_killed_push_left_goes_with_the_next(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    left = tmp_path / f"mamtra-push-{int(ended.stdout)}-{HOST}-abc"
    left.mkdir()
    (left / "lm.safetensors").symlink_to(folder / "lm.safetensors")
    with public_copy(folder, ["README.md"], {}) as ready:
        assert [path.name for path in tmp_path.glob("mamtra-push-*")] == [ready.name]
    assert (folder / "lm.safetensors").is_file()


def test_push_without_licence_refuses(folder: Path) -> None:
    (folder / "README.md").write_text("# no header\n")
    with pytest.raises(MamtraError, match="is not known"):
        push(PushRecipe(folder=folder, repo="loop/student", dry_run=True))


def test_push_of_a_pickle_refuses(folder: Path) -> None:
    (folder / "llm.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"`llm\.pt` is a pickle"):
        push(PushRecipe(folder=folder, repo="loop/student", dry_run=True))


def test_push_of_truncated_weights_refuses(folder: Path) -> None:
    path = folder / "lm.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="is damaged"):
        push(PushRecipe(folder=folder, repo="loop/student"))


def test_push_of_an_unknown_voice_names_the_nearest(folder: Path) -> None:
    with pytest.raises(ModelNotFoundError) as said:
        push(PushRecipe(folder=folder, repo="loop/student", voices=("anne",), dry_run=True))
    assert said.value.hint == "did you mean `ann`?"


@pytest.mark.parametrize("repo", ["", "student", "a/b/c", "../x", "a/.."], ids=repr)
def test_push_to_no_repository_is_a_usage_error(folder: Path, repo: str) -> None:
    with pytest.raises(UsageError):
        push(PushRecipe(folder=folder, repo=repo, dry_run=True))
