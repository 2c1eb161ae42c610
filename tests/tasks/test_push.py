"""`mamtra push` and pulling, by the genuine hub client against a hub on loopback."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import soundfile
from tests.command import Worker, environment, mamtra, python
from tests.families.cosyvoice2.tiny import write_random_checkpoint
from tests.loopback_hub import TOKEN, Fault, File, Hub, Repo, loopback_hub
from tests.tasks.pushing import NUMBERS, write_student
from tests.tiny_model import write_tiny_model

from mamtra_cli import hub as ground_hub
from mamtra_cli.checkpoint import sha256
from mamtra_cli.errors import ModelNotFoundError


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A hub, a client process that knows only it, and a repository name nobody has used."""

    hub: Hub
    worker: Worker
    repo: str

    def push(self, folder: Path, *args: str, token: str | None = TOKEN) -> Any:
        return self.run("push", folder, self.repo, *args, token=token)

    def run(self, *args: str | Path, token: str | None = TOKEN, **env: str) -> Any:
        done = self.worker.run(*args, "--json", env={"HF_TOKEN": token, **env})
        return {"rc": done.rc, **done.json}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_student(tmp_path / "student")


@pytest.fixture(scope="module", params=["lfs", "regular"])
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Hub, Worker]]:
    with loopback_hub(request.param) as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path_factory.mktemp("home"))}
        env |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": str(int(hub.mode == "lfs"))}
        with Worker(env) as worker:
            yield hub, worker


@pytest.fixture
def desk(both: tuple[Hub, Worker]) -> Desk:
    return Desk(hub=both[0], worker=both[1], repo=f"loop/student-{next(NUMBERS)}")


def test_push_dry_run_lists_files_and_sends_nothing(folder: Path, desk: Desk) -> None:
    asked = len(desk.hub.log)
    done = desk.worker.run("push", folder, desk.repo, "--dry-run")
    assert done.rc == 0, done.err
    assert "lm.safetensors" in done.out
    assert "apache-2.0" in done.out
    assert f"{desk.hub.url}/{desk.repo}" in done.out
    assert "voices" not in done.out
    assert len(desk.hub.log) == asked


def test_push_uploads_exactly_the_model(folder: Path, desk: Desk) -> None:
    made = desk.push(folder, "--voice", "ann", "--tag", "v1")
    assert made["rc"] == 0, made
    there = desk.hub.repos[desk.repo].find("v1")
    assert there is not None
    assert there.oid == made["commit"]
    names = ["README.md", "config.json", "lm.safetensors", "voices/ann.safetensors"]
    assert sorted(there.files) == names
    for name in names[1:]:  # the card says more there
        assert there.files[name].data == (folder / name).read_bytes()
    assert there.files["lm.safetensors"].lfs == (desk.hub.mode == "lfs")
    assert not made["unchanged"]


def test_pushed_provenance_names_no_local_path(folder: Path, desk: Desk) -> None:
    told = {
        "recipe": {"teacher": "/home/ann/models/big", "data": "../pairs.jsonl", "seed": 0},
        "made_from": [{"output": "C:\\Users\\ann\\student"}, {"teacher": "org/name"}],
        "plan": {"source": "1:1@block-begin"},
    }
    (folder / "mamtra.json").write_text(json.dumps(told))
    made = desk.push(folder)
    assert made["rc"] == 0, made
    there = desk.hub.repos[desk.repo].find("main")
    assert there is not None
    assert json.loads(there.files["mamtra.json"].data) == {
        "recipe": {"teacher": "big", "data": "pairs.jsonl", "seed": 0},
        "made_from": [{"output": "student"}, {"teacher": "org/name"}],
        "plan": {"source": "1:1@block-begin"},
    }
    assert json.loads((folder / "mamtra.json").read_text()) == told


def test_push_twice_makes_no_second_commit(folder: Path, desk: Desk) -> None:
    first = desk.push(folder)
    commits = len(desk.hub.repos[desk.repo].commits)
    second = desk.push(folder)
    assert second["rc"] == 0, second
    assert len(desk.hub.repos[desk.repo].commits) == commits
    assert second["unchanged"]
    assert second["commit"] == first["commit"]


def test_pushed_model_comes_back_by_name_tag_and_commit(folder: Path, desk: Desk) -> None:
    assert desk.push(folder, "--tag", "v1")["rc"] == 0
    commit = desk.hub.repos[desk.repo].tags["v1"]
    for name in (desk.repo, f"{desk.repo}@v1", f"{desk.repo}@{commit}"):
        said = desk.run("convert", name, "--dry-run")
        assert said["rc"] == 0, said
        assert said["teacher"] == f"{desk.repo}@{commit}"
    fetched = [entry for entry in desk.hub.log if f"{desk.repo}/resolve/{commit}" in entry]
    assert f"GET /{desk.repo}/resolve/{commit}/config.json" in fetched
    assert not any("lm.safetensors" in entry for entry in fetched)


def test_dry_run_on_a_published_teacher_fetches_configs_only(tmp_path: Path, desk: Desk) -> None:
    teacher = write_random_checkpoint(tmp_path / "published")
    names = [path.relative_to(teacher) for path in teacher.rglob("*") if path.is_file()]
    files = {
        name.as_posix(): File((teacher / name).read_bytes(), name.suffix == ".pt") for name in names
    }
    desk.hub.repos[desk.repo] = Repo(private=False)
    desk.hub.repos[desk.repo].commit("main", "as published", files)
    said = desk.run("convert", desk.repo, "--dry-run")
    assert said["rc"] == 0, said
    assert said["kinds"] == "TMTM"
    assert not any(".pt" in entry for entry in desk.hub.log if f"{desk.repo}/resolve" in entry)


def test_pushed_model_speaks_under_its_hub_name(tmp_path: Path, desk: Desk) -> None:
    tiny = write_tiny_model(tmp_path / "tiny")
    assert desk.push(tiny, "--voice", "ann")["rc"] == 0
    said = desk.run("synth", "Hello.", "-m", desk.repo, "-o", tmp_path / "o.wav", "--retries", "20")
    assert said["rc"] == 0, said
    assert said["voice"] == "ann"
    # The file names the model it is of; its samples are those of the folder, to the bit.
    own = desk.run("synth", "Hello.", "-m", tiny, "-o", tmp_path / "own.wav", "--retries", "20")
    assert own["rc"] == 0, own
    there, here = (soundfile.read(tmp_path / f"{name}.wav", dtype="int16") for name in ("o", "own"))
    assert len(there[0]) > 1000
    assert there[0].tobytes() == here[0].tobytes()


def test_card_tells_scores_samples_memory_and_how_it_was_made(folder: Path, desk: Desk) -> None:
    report = folder / "report"
    (report / "audio").mkdir(parents=True)
    result = {"sentences": 5, "scores": {"values": {"wer": 0.1}}, "records": "/home/alice/r"}
    (report / "result.json").write_text(json.dumps(result))
    (report / "audio" / "01-student.flac").write_bytes(b"fLaC")
    (report / "report.md").write_text(
        "# x\n\n## Listen\n\n"
        "- It\\`s late. ([student](audio/01-student.flac); heard: its late)\n\n## y\n"
    )
    recipe = {"teacher": "/home/alice/big", "steps": 7}
    told = {"mamtra": "1.0", "task": "distill", "recipe": recipe}
    (folder / "mamtra.json").write_text(json.dumps(told | {"plan": {"source": "1:1"}}))
    assert desk.push(folder)["rc"] == 0
    there = desk.hub.repos[desk.repo].find("main")
    assert there is not None
    card = there.files["README.md"].data.decode()
    assert '"metrics": [{"type": "wer", "value": 0.1' in card
    assert '\nmetrics: ["wer"]\n' in card
    assert '{"text": "It`s late.", "output": {"url": "report/audio/01-student.flac"}}' in card
    assert "([student](report/audio/01-student.flac); heard: its late)" in card
    assert re.search(r"Weights take \d+\.\d MB\. By formulas .* a voice prompt of 10 s", card)
    assert re.search(r"^\| 80 s \| \d+\.\d \| \d+\.\d \| \d+\.\d \|$", card, re.MULTILINE)
    assert "| made by | mamtra 1.0 distill |" in card
    assert "| teacher | big |" in card
    assert re.search(r"\| recipe \| sha256:[0-9a-f]{16}, its knobs in mamtra.json \|", card)
    assert "/home/alice" not in card
    assert "model-index" not in (folder / "README.md").read_text()


def test_push_goes_on_after_a_failure_without_sending_weights_again(
    folder: Path, desk: Desk
) -> None:
    desk.hub.faults.append(Fault("POST", "/commit/", 409))
    assert desk.push(folder)["rc"] == 1
    sent = len([entry for entry in desk.hub.log if entry.startswith("PUT /lfs/")])
    assert desk.push(folder)["rc"] == 0
    assert len([entry for entry in desk.hub.log if entry.startswith("PUT /lfs/")]) == sent
    there = desk.hub.repos[desk.repo].find("main")
    assert there is not None
    assert there.files["lm.safetensors"].data == (folder / "lm.safetensors").read_bytes()


def test_snapshot_of_a_pushed_model_is_bitwise_the_same(folder: Path, desk: Desk) -> None:
    assert desk.push(folder)["rc"] == 0
    env = environment(
        {
            "HF_ENDPOINT": desk.hub.url,
            "HF_HOME": str(folder.parent / "home"),
            "HF_HUB_OFFLINE": "0",
        }
    )
    code = (
        "import os, sys; from mamtra_cli.hub import locate; from huggingface_hub import constants\n"
        "first = locate(sys.argv[1]); constants.HF_HUB_OFFLINE = True\n"
        "again = locate(sys.argv[1]); print(first.folder, again.folder, again.revision)"
    )
    done = subprocess.run(
        [*python(), "-c", code, desk.repo],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, again, revision = done.stdout.split()
    assert first == again
    assert revision == desk.hub.repos[desk.repo].branches["main"]
    assert sha256(Path(first) / "lm.safetensors") == sha256(folder / "lm.safetensors")


@pytest.mark.parametrize(
    ("name", "token", "code", "words"),
    [
        pytest.param("loop/none", TOKEN, "not_found", "there is no model", id="missing"),
        pytest.param("@v9", TOKEN, "not_found", "no revision `v9`", id="revision"),
        pytest.param("", None, "not_found", "there is no model", id="private-no-token"),
        pytest.param("", "hf_wrong", "hub", "refused the token", id="private-wrong-token"),
    ],
)
def test_pull_says_what_is_wrong(
    folder: Path, desk: Desk, name: str, token: str | None, code: str, words: str
) -> None:
    assert desk.push(folder, "--private")["rc"] == 0
    assert desk.hub.repos[desk.repo].private
    asked = name if "/" in name else f"{desk.repo}{name}"
    said = desk.run("convert", asked, "--dry-run", token=token)
    assert said["rc"] == 1, said
    assert said["code"] == code
    assert words in said["error"]


@pytest.mark.parametrize("token", [None, "hf_wrong"], ids=["no-token", "wrong-token"])
def test_push_without_login_says_how_to_log_in(folder: Path, desk: Desk, token: str | None) -> None:
    said = desk.push(folder, token=token)
    assert said["rc"] == 1
    assert said["code"] == "hub"
    assert "HF_TOKEN" in said["hint"]
    assert desk.repo not in desk.hub.repos


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param(("POST", "/commit/", 412), "changed during the upload", id="stale"),
        pytest.param(("POST", "/repos/create", 403), "may not write", id="forbidden"),
        pytest.param(("POST", "/commit/", 409), "refused", id="conflict"),
    ],
)
def test_push_names_the_refusal(
    folder: Path, desk: Desk, fault: tuple[str, str, int], words: str
) -> None:
    desk.hub.faults.append(Fault(*fault))
    said = desk.push(folder)
    assert said["rc"] == 1, said
    assert said["code"] == "hub"
    assert words in said["error"]


@pytest.mark.parametrize("status", [500, 0], ids=["error", "dropped-in-the-middle"])
def test_push_survives_one_failure_of_the_server(folder: Path, desk: Desk, status: int) -> None:
    fault = Fault("PUT" if desk.hub.mode == "lfs" else "POST", "/lfs/|/preupload/", status)
    desk.hub.faults.append(fault)
    assert desk.push(folder)["rc"] == 0
    assert fault.times == 0
    data = (folder / "lm.safetensors").read_bytes()
    assert desk.hub.repos[desk.repo].commits[-1].files["lm.safetensors"].data == data


def test_repository_without_a_model_says_so(desk: Desk) -> None:
    desk.hub.repos[desk.repo] = Repo(private=False)
    desk.hub.repos[desk.repo].commit("main", "a card", {"README.md": File(b"# x", False)})
    said = desk.run("convert", desk.repo, "--dry-run")
    assert (said["rc"], said["code"]) == (1, "not_found"), said


def test_push_offline_says_so(folder: Path) -> None:
    done = mamtra("push", folder, "loop/student")
    assert done.rc == 1
    lines = ["error: offline mode is on", "hint: unset `HF_HUB_OFFLINE`"]
    assert done.err.splitlines()[-2:] == lines


def test_texts_go_without_the_folders_of_this_machine(folder: Path, desk: Desk) -> None:
    with (folder / "README.md").open("a") as file:
        file.write(
            "\ndata: `/home/alice/secret/prep`, see https://example.org/home/page, ../up/x\n"
        )
    (folder / "report").mkdir()
    (folder / "report" / "report.md").write_text(
        "```\nmamtra eval /home/alice/m --list ~/l.lst\n```"
    )
    (folder / "report" / "records.jsonl").write_text('{"source": "/home/alice/clip.wav"}\n')
    assert desk.push(folder)["rc"] == 0
    there = desk.hub.repos[desk.repo].find("main")
    assert there is not None
    card = there.files["README.md"].data.decode()
    assert "data: `prep`, see https://example.org/home/page, x\n" in card
    assert there.files["report/report.md"].data == b"```\nmamtra eval m --list l.lst\n```"
    assert there.files["report/records.jsonl"].data == b'{"source": "clip.wav"}\n'


@pytest.mark.parametrize("name", ["nosuch", "./nosuch/folder", "", "a/b/c", "minni"], ids=repr)
def test_locate_of_no_model_says_so(name: str) -> None:
    with pytest.raises(ModelNotFoundError) as said:
        ground_hub.locate(name)
    assert said.value.hint
