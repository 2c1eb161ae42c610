"""A hub that lies is found out before anything is written where it wants, and told in a line."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.command import Done, Worker
from tests.loopback_hub import File, Hub, Lie, Repo, loopback_hub
from tests.tiny_model import write_tiny_model

from mamtra_cli.hub_guard import leads_out, shown

NAME = "loop/model"
QUICK = ("--ratio", "1:1", "--calibrate", "none", "--check-tokens", "0")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = write_tiny_model(tmp_path_factory.mktemp("files") / "tiny")
    files = {
        path.relative_to(folder).as_posix(): File(path.read_bytes(), path.suffix == ".safetensors")
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    with loopback_hub() as hub:
        repo = hub.repos[NAME] = Repo(private=False)
        repo.commit("main", "weights", files)
        yield hub


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that holds the cache and nothing else."""
    (tmp_path / "a" / "b" / "c" / "home").mkdir(parents=True)
    return tmp_path


@pytest.fixture(scope="module")
def worker(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path_factory.mktemp("home"))}
    with Worker(env | {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}) as worker:
        yield worker


def fetch(hub: Hub, worker: Worker, outside: Path, *lies: Lie, name: str = NAME) -> Done:
    """Fetch a model into a new cache from a hub that tells these lies."""
    cache = str(outside / "a" / "b" / "c" / "home")
    hub.lies = list(lies)
    try:
        output = outside / "student"
        return worker.run("convert", name, *QUICK, "-o", output, env={"MAMTRA_CACHE": cache})
    finally:
        hub.lies = []


def written(outside: Path) -> list[str]:
    """What is outside the cache, or leaves it by its name."""
    cache = outside / "a" / "b" / "c" / "home"
    return [
        str(path) for path in outside.rglob("*") if path.is_file() and cache not in path.parents
    ]


def told(done: Done) -> str:
    assert done.rc == 1, (done.out, done.err)
    assert "Traceback" not in done.err, done.err
    assert "bug in mamtra" not in done.err, done.err
    assert len(done.err) < 1500, done.err
    return done.err


OUT = "../../../../../../PWNED"
LIES = {
    "etag": Lie("/resolve/", headers={"ETag": f'"{OUT}"'}),
    "linked etag": Lie("/resolve/", headers={"X-Linked-Etag": f'"{OUT}"'}),
    "commit of a file": Lie("/resolve/", headers={"X-Repo-Commit": "../.."}),
    "commit": Lie("/revision/", body=json.dumps({"sha": "../../x"}).encode()),
    "no commit": Lie("/revision/", body=b'{"sha": 5}'),
    "file above": Lie("/tree/", body=json.dumps([{"path": f"{OUT}.json"}]).encode()),
    "absolute file": Lie("/tree/", body=json.dumps([{"path": "/tmp/x.json"}]).encode()),
    "nul": Lie("/tree/", body=json.dumps([{"path": "a\0b.json"}]).encode()),
    "content": Lie(
        "/tree/",
        body=json.dumps([{"type": "file", "path": "a.json", "size": 1, "oid": OUT}]).encode(),
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_name_that_leads_out_is_refused(hub: Hub, worker: Worker, outside: Path, lie: str) -> None:
    said = told(fetch(hub, worker, outside, LIES[lie]))
    assert "the hub" in said
    assert written(outside) == []


@pytest.mark.parametrize("name", [f"{NAME}@../../x", f"{NAME}@/etc", f"{NAME}@a/../b", "../x/y"])
def test_revision_that_leads_out_is_refused_unasked(
    hub: Hub, worker: Worker, outside: Path, name: str
) -> None:
    asked = len(hub.log)
    assert (
        "no name of" in (said := told(fetch(hub, worker, outside, name=name))) or "no model" in said
    )
    assert len(hub.log) == asked
    assert list((outside / "a" / "b" / "c" / "home").iterdir()) == []


def test_content_is_held_to_its_hash_and_comes_anew(
    hub: Hub, worker: Worker, outside: Path
) -> None:
    file = hub.repos[NAME].commits[-1].files["lm.safetensors"]
    other = file.data[:-1] + bytes([file.data[-1] ^ 1])
    lie = Lie(r"/resolve/.*/lm\.safetensors", body=other)
    assert "other bytes than its hash" in told(fetch(hub, worker, outside, lie))
    hub.log.clear()
    done = fetch(hub, worker, outside)
    assert done.rc == 0, done.err
    assert any("GET" in entry and "lm.safetensors" in entry for entry in hub.log)
    blobs = [path for path in outside.rglob("blobs/*") if len(path.name) == 64]
    assert blobs
    for blob in blobs:
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def test_download_ends_at_what_was_announced(hub: Hub, worker: Worker, outside: Path) -> None:
    hub.sent = 0
    lie = Lie(r"/resolve/.*/lm\.safetensors", method="GET", endless=200 << 20)
    assert "more than the" in told(fetch(hub, worker, outside, lie))
    assert hub.sent < 60 << 20
    assert sum(path.stat().st_size for path in outside.rglob("*") if path.is_file()) < 20 << 20


def test_answer_without_end_is_cut(hub: Hub, worker: Worker, outside: Path) -> None:
    hub.sent = 0
    assert "more than 64 MB" in told(fetch(hub, worker, outside, Lie("/api/", endless=300 << 20)))
    assert hub.sent < 120 << 20


@pytest.mark.parametrize(
    "body",
    [b"<html>welcome</html>", b"[]", b"{}", b"[" * 200_000, b"5", b'{"sha": null}', b"\xff\xfe"],
    ids=["html", "list", "empty", "deep", "number", "null", "bytes"],
)
def test_answer_that_is_none_is_told_in_a_line(
    hub: Hub, worker: Worker, outside: Path, body: bytes
) -> None:
    paths = ("/revision/",) if body == b"[]" else ("/revision/", "/tree/")  # a listing may be empty
    for path in paths:
        assert "the hub" in told(fetch(hub, worker, outside, Lie(path, body=body)))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "refused the request"),
        (403, "may not read"),
        (429, "is busy (429)"),
        (500, "a fault of its own (status 500)"),
    ],
)
def test_refusal_is_told_as_what_it_is(
    hub: Hub, worker: Worker, outside: Path, status: int, words: str
) -> None:
    lie = Lie("/revision/", status=status, headers={"Retry-After": "3600"})
    assert words in told(fetch(hub, worker, outside, lie))


def test_silent_hub_is_told_within_seconds(hub: Hub, worker: Worker, outside: Path) -> None:
    started = time.monotonic()
    said = told(fetch(hub, worker, outside, Lie("/revision/", silent=60.0)))
    assert time.monotonic() - started < 50
    assert "has not answered for 4 s" in said
    assert "cannot be reached" in said


@pytest.mark.parametrize(
    ("name", "out"),
    [
        ("config.json", False),
        ("voices/ann.v2.safetensors", False),
        ("..hidden", False),
        ("", True),
        ("..", True),
        ("a/../b", True),
        ("/etc/passwd", True),
        ("a\\..\\b", True),
        ("C:\\x", True),
        ("a//b", True),
        ("a\nb", True),
    ],
)
def test_names_that_lead_out(name: str, out: bool) -> None:
    assert leads_out(name) == out


def test_text_from_elsewhere_is_shown_short_and_flat() -> None:
    assert shown("a\nb\x1b[31m") == r"a\nb\x1b[31m"
    assert len(shown("x" * 10_000)) == 60
    assert os.sep not in shown("plain")
