"""Published models from a hub: only what is needed, resumed, cached, told by commit."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.fullsize import onnx_graphs
from tests.command import Done, Worker, mamtra
from tests.families.cosyvoice2.tiny import tiny_config, write_random_checkpoint
from tests.loopback_hub import Commit, Fault, File, Hub, Repo, loopback_hub

from mamtra_cli.families.cosyvoice2.repository import PUBLISHED

NEEDED = {
    "llm.pt",
    "flow.pt",
    "hift.pt",
    "cosyvoice2.yaml",
    "campplus.onnx",
    "speech_tokenizer_v2.onnx",
    "CosyVoice-BlankEN/config.json",
    "CosyVoice-BlankEN/vocab.json",
    "CosyVoice-BlankEN/merges.txt",
}
NEEDLESS = {
    "CosyVoice-BlankEN/model.safetensors",
    "flow.decoder.estimator.fp32.onnx",
    "flow.encoder.fp16.zip",
    "flow.cache.pt",
    "asset/dingding.png",
}
QUICK = ("--ratio", "1:3", "--calibrate", "none", "--check-tokens", "0")
CHUNK = 10 << 20  # bytes that the hub client reads at a time; what is less is not resumed
ROWS = 200_000  # of the text table: 26 MB


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The published repository at its pinned commit, and one of another version."""
    config = tiny_config(vocab_size=ROWS)
    folder = write_random_checkpoint(tmp_path_factory.mktemp("files"), config)
    onnx_graphs.write_speech_tokenizer(folder / "speech_tokenizer_v2.onnx")
    onnx_graphs.write_speaker_encoder(folder / "campplus.onnx")
    files = {
        path.relative_to(folder).as_posix(): File(
            path.read_bytes(), path.suffix in (".pt", ".onnx")
        )
        for path in folder.rglob("*")
        if path.is_file()
    }
    files |= {name: File(name.encode(), False) for name in NEEDLESS}
    files["README.md"] = File(b"---\nlicense: apache-2.0\n---\n", False)
    with loopback_hub() as hub:
        for name, there in (
            (PUBLISHED.name, files),
            ("loop/v3", {"cosyvoice3.yaml": File(b"a: 1", False), "llm.pt": files["llm.pt"]}),
        ):
            repo = hub.repos[name] = Repo(private=False)
            repo.commits.append(Commit(PUBLISHED.revision, "weights", there))
            repo.branches["main"] = PUBLISHED.revision
        yield hub


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def environment(hub: Hub, home: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }


@pytest.fixture(scope="module")
def worker(environment: dict[str, str]) -> Iterator[Worker]:
    with Worker(environment) as worker:
        yield worker


@pytest.fixture(scope="module")
def converted(hub: Hub, worker: Worker, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The user's own command, over a connection that breaks twice."""
    hub.faults.append(Fault("GET", r"resolve/.*/llm\.pt", 0, times=2, after=CHUNK + 1000))
    output = tmp_path_factory.mktemp("out") / "hybrid"
    return worker.run("convert", "cosyvoice2", *QUICK, "-o", output)


def test_alias_is_fetched_converted_and_told_by_its_commit(converted: Done) -> None:
    assert converted.rc == 0, converted.err
    told = json.loads((Path(converted.out.splitlines()[0]) / "mamtra.json").read_text())
    assert told["teacher"]["name"] == PUBLISHED.name
    assert told["teacher"]["revision"] == PUBLISHED.revision
    assert set(told["teacher"]["sha256"]) == {"llm.pt", "flow.pt", "hift.pt"}
    assert {"campplus.onnx", "speech_tokenizer_v2.onnx", "vocab.json"} <= set(told["sha256"])
    assert told["license"] == "apache-2.0"


def test_only_the_files_that_are_needed_are_fetched(hub: Hub, converted: Done) -> None:
    start = f"GET /{PUBLISHED.name}/resolve/{PUBLISHED.revision}/"
    fetched = {entry.removeprefix(start) for entry in hub.log if entry.startswith(start)}
    assert fetched >= NEEDED
    assert not fetched & NEEDLESS


def test_broken_connection_goes_on_where_it_broke(hub: Hub, converted: Done) -> None:
    resumed = [int(entry.split()[-1]) for entry in hub.log if entry.startswith("RANGE")]
    assert resumed == [CHUNK, 2 * CHUNK]


def test_download_is_shown_in_megabytes(converted: Done) -> None:
    lines = [line for line in converted.err.splitlines() if line.startswith("fetching")]
    sizes = [float(line.split()[-2]) for line in lines if line.endswith(" MB")]
    assert sizes[0] < 0.1  # the configs come first, to see which version it is
    assert 26 < sizes[1] < 28


def test_second_time_nothing_is_fetched(hub: Hub, worker: Worker, converted: Done) -> None:
    asked = len(hub.log)
    again = worker.run(
        "convert", f"{PUBLISHED.name}@{PUBLISHED.revision}", *QUICK, "--dry-run", "--json"
    )
    assert again.rc == 0, again.err
    assert again.json["teacher"] == f"{PUBLISHED.name}@{PUBLISHED.revision}"
    assert not [
        entry for entry in hub.log[asked:] if entry.startswith("GET") and "resolve" in entry
    ]


def test_offline_the_cache_is_enough(environment: dict[str, str], converted: Done) -> None:
    alone = {**environment, "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = mamtra("convert", "cosyvoice2", *QUICK, "--dry-run", "--json", env=alone)
    assert done.rc == 0, done.err
    assert done.json["teacher"] == f"{PUBLISHED.name}@{PUBLISHED.revision}"


def test_other_version_is_named_before_its_weights_come(hub: Hub, worker: Worker) -> None:
    for dry in ((), ("--dry-run",)):
        done = worker.run("convert", "loop/v3", *QUICK, *dry, "--json", "-o", "never")
        assert done.rc == 1
        assert "CosyVoice 3" in done.json["error"]
        assert PUBLISHED.name in done.json["hint"]
    assert not [
        entry for entry in hub.log if entry.startswith("GET /loop/v3/resolve") and ".pt" in entry
    ]


def test_unknown_revision_is_told(worker: Worker) -> None:
    done = worker.run("convert", f"{PUBLISHED.name}@v9", *QUICK, "--json", "-o", "never")
    assert done.rc == 1
    assert "no revision `v9`" in done.json["error"]


def test_model_that_is_not_whole_in_the_cache_is_told_offline(
    environment: dict[str, str], home: Path, converted: Done, tmp_path: Path
) -> None:
    shutil.copytree(home, tmp_path / "home", symlinks=True)
    (lost,) = (tmp_path / "home").rglob("snapshots/*/llm.pt")
    lost.unlink()
    alone = {**environment, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = mamtra("convert", "cosyvoice2", *QUICK, "--json", "-o", tmp_path / "never", env=alone)
    assert done.rc == 1
    assert "is not whole in the cache" in done.json["error"]
