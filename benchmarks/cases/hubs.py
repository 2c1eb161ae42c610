"""Hubs that lie, push, and what stays private."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from faults.forks import PRECIOUS, QUICK, Ran
from safetensors.torch import save_file
from tests.loopback_hub import TOKEN, Hub, Lie, loopback_hub

from cases.case import Place, case, first, settings, told, untouched

NAME = "loop/model"
LARGE = "lm.safetensors"


@contextmanager
def lying(place: Place, *lies: Lie) -> Iterator[Hub]:
    """A hub with the model, and lies."""
    from faults.hubs import store

    with loopback_hub() as hub, settings(MAMTRA_CACHE=str(place.home / "a/b/cache")):
        store(hub, place.model)
        hub.lies = list(lies)
        yield hub


def fetched(place: Place, *lies: Lie) -> tuple[Ran, str]:
    """A conversion of what a lying hub has, and what it wrote where it should not."""
    with lying(place, *lies):
        ran = place.run("convert", NAME, "--ratio", "1:1", *QUICK, "-o", "never", limit=60)
    names = {path.name for path in place.home.iterdir()} - {PRECIOUS, "a", "never"}
    shutil.rmtree(place.home / "a", ignore_errors=True)
    return ran, f"wrote {sorted(names)}" if names else ""


def all_refused(place: Place, lies: list[Lie], *words: str) -> str:
    for number, lie in enumerate(lies):
        ran, outside = fetched(place, lie)
        if wrong := first(told(ran, *words), outside, untouched(place)):
            return f"lie {number} {lie.path}: {wrong}"
    return ""


@case("R30")
def a_tag_that_leads_out(place: Place) -> str:
    out = "../../../../../../../../PWNED"
    lies = [Lie("/resolve/", headers={name: f'"{out}"'}) for name in ("ETag", "X-Linked-Etag")]
    return all_refused(place, lies)


@case("R32")
def other_bytes_than_announced(place: Place) -> str:
    size = (place.model / LARGE).stat().st_size
    return all_refused(place, [Lie(f"/resolve/.*{LARGE}", body=bytes(size), method="GET")], "hash")


@case("R33")
def a_body_without_an_end(place: Place) -> str:
    with lying(place, Lie(f"/resolve/.*{LARGE}", body=b"x", endless=1 << 30)) as hub:
        ran = place.run("convert", NAME, *QUICK, "-o", "never", limit=60)
        much = f"{hub.sent >> 20} MB were sent" if hub.sent > 64 << 20 else ""
    return first(told(ran), much)


@case("R34")
def names_that_lead_out(place: Place) -> str:
    names = ["../../../../tmp/x.json", "/tmp/x.json", "a\0b.json", "a/../../x.json"]
    lies = [
        Lie("/revision/|/tree/", body=json.dumps(
            {"sha": "a" * 40, "id": NAME, "siblings": [{"rfilename": name}]}
        ).encode())
        for name in names
    ]  # fmt: skip
    return all_refused(place, [*lies, Lie("/resolve/", headers={"X-Repo-Commit": "../.."})])


@case("R35")
def answers_that_are_no_json(place: Place) -> str:
    bodies = [b"<html>", b"[]", b"{}", b"[" * 200_000, b'{"sha": null}', b'{"sha": 5}']
    wrong = all_refused(place, [Lie("/revision/", body=body) for body in bodies])
    lies = [Lie("/repos/create", body=b"<html>"), Lie("/preupload/", body=b'{"files": 5}')]
    for lie in lies:
        with lying(place, lie), settings(HF_TOKEN=TOKEN):
            ran = place.run("push", place.model, "loop/new", limit=60)
        wrong = wrong or told(ran)
    return wrong


@case("R36")
def what_the_hub_said(place: Place) -> str:
    words = {403: "may not read", 429: "429", 500: "500", 400: "400"}
    for status, word in words.items():
        ran, _ = fetched(place, Lie("/revision/", status=status))
        if wrong := told(ran, word):
            return f"{status}: {wrong}"
    return ""


@case("R37")
def a_hub_that_is_silent(place: Place) -> str:
    with lying(place, Lie("/revision/", silent=20.0)):
        ran = place.run("convert", NAME, *QUICK, "-o", "never", kill_after=12.0)
    said = ran.said.lower()
    return "" if "answer" in said or "wait" in said else f"silence: {ran.said[-200:]}"


@case("cli-11")
def a_cache_that_is_not_whole(place: Place) -> str:
    with lying(place):
        ran = place.run("convert", NAME, *QUICK, "-o", "first", limit=60)
        if ran.code:
            return ran.said[-200:]
        for path in (place.home / "a").rglob(LARGE):
            path.unlink()
        with settings(HF_HUB_OFFLINE="1"):
            again = place.run("convert", NAME, *QUICK, "-o", "second", limit=60)
    return told(again, NAME, "not whole")


def sent(place: Place, *args: str) -> list[str]:
    """Names of the files that a push would send."""
    ran = place.run("push", "m", "a/b", *args, "--dry-run", "--json")
    answer = json.loads(ran.said[ran.said.index("{") : ran.said.rindex("}") + 1])
    return [entry["name"] for entry in answer["files"]]


@case("R20")
def exactly_the_voices_named(place: Place) -> str:
    place.copy(place.model)
    shutil.rmtree(place.home / "m" / "voices", ignore_errors=True)
    (place.home / "m" / "voices").mkdir()
    for name in ("ann", "ann.v2", "ann.private"):
        save_file({"embedding": torch.ones(192)}, place.home / f"m/voices/{name}.safetensors")
    got = [name for name in sent(place, "--voice", "ann") if "voices" in name]
    return "" if got == ["voices/ann.safetensors"] else str(got)


@case("R22")
def local_paths_stay_at_home(place: Place) -> str:
    place.copy(place.model)
    secret = "/home/alice/secret/student"
    place.file(
        "m/README.md", f'---\nlicense: mit\n---\n\n```json\n{{"student": "{secret}"}}\n```\n'
    )
    place.file("m/mamtra.json", json.dumps({"recipe": {"student": secret, "data": secret}}))
    with lying(place) as hub, settings(HF_TOKEN=TOKEN):
        ran = place.run("push", "m", "loop/new", limit=60)
        there = hub.repos["loop/new"].find("main") if "loop/new" in hub.repos else None
    if there is None:
        return told(ran, code=0) or "nothing arrived"
    names = [name for name, file in there.files.items() if b"alice" in file.data]
    return f"{names} name a local path" if names else ""


@case("R24")
def links_that_lead_out(place: Place) -> str:
    place.copy(place.model)
    (place.home / "m" / "notes.txt").symlink_to("/etc/passwd")
    (place.home / "m" / "sub").mkdir()
    (place.home / "m" / "sub" / "h.txt").symlink_to("/etc/hostname")
    names = sent(place)
    place.run("convert", "m", *QUICK, "-o", "s")
    copied = [p.name for p in (place.home / "s").rglob("*") if p.name in ("notes.txt", "h.txt")]
    leaks = [name for name in names if name.endswith(("notes.txt", "h.txt"))]
    return f"sent {leaks}, copied {copied}" if leaks or copied else ""
