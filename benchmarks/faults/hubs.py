"""A hub on loopback whose answers are wrong, one way at a time."""

import os
from collections.abc import Iterator
from pathlib import Path

from tests import test_hub_guard
from tests.loopback_hub import File, Hub, Lie, Repo

from faults.forks import PRECIOUS, QUICK, Tally, fresh, mamtra


def lying(hub: Hub, count: int, folder: Path) -> Iterator[Tally]:
    """A hub whose answers are all wrong in one way."""
    bodies = [b"<html>", b"[]", b"{}", b"[" * 200_000, b"5", b"\xff", b'{"sha": null}', b""]
    lies = [*test_hub_guard.LIES.values()]
    lies += [Lie(path, body=body) for path in ("/revision/", "/tree/") for body in bodies]
    lies += [Lie("/revision/", status=code) for code in (400, 401, 403, 404, 418, 500, 503)]
    lies += [Lie("/resolve/", body=b"x" * 100), Lie("/resolve/", endless=100 << 20, method="GET")]
    tally = Tally(name="hostile hub")
    for number, lie in enumerate(lies * max(1, count // len(lies))):
        home = fresh(folder, "hub")
        os.environ["MAMTRA_CACHE"] = str(home / "a" / "b" / "cache")
        hub.lies, hub.sent = [lie], 0
        args = ["convert", test_hub_guard.NAME, "--ratio", "1:1", *QUICK, "-o", "never"]
        ran = mamtra(args, home, limit=60)
        wrong = ran.fault
        outside = {path.name for path in home.iterdir()} - {PRECIOUS, "a"}
        if not wrong and (outside or ran.code == 0) and lie.body not in (b"[]",):
            wrong = f"wrote {outside}" if outside else "accepted"
        tally.add(wrong, f"lie {number} {lie.path} {str(lie.body)[:40]}: {ran.said[-300:]}")
    hub.lies = []
    del os.environ["MAMTRA_CACHE"]
    yield tally


def store(hub: Hub, model: Path) -> None:
    """Put a model into the hub, and tell this process of the hub before its client is imported."""
    repo = hub.repos[test_hub_guard.NAME] = Repo(private=False)
    names = [path for path in model.rglob("*") if path.is_file() and path.name[0] != "."]
    files = {
        path.relative_to(model).as_posix(): File(path.read_bytes(), path.suffix == ".safetensors")
        for path in names
    }
    repo.commit("main", "weights", files)
    os.environ |= {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
