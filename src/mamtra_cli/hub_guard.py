"""What a hub may answer: checked on the wire, before the hub client makes file names of it.

The client puts commits, tags of content (ETags) and names of files into paths of its cache as they
come. Here each is held to its shape, an answer to its size, and a silent server to a few seconds.
What was fetched is held to its hash. Knows answers and hashes, nothing of models.
"""

import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mamtra_cli.errors import HubError
from mamtra_cli.events import Note, Report

COMMIT = re.compile(r"[0-9a-f]{40}")
CONTENT = re.compile(r"(?:W/)?\"?[\w.:+=-]{1,200}\"?")
SHA256 = re.compile(r"[0-9a-f]{64}")
API_BYTES = 64 << 20  # of one answer; a page of a listing has less than 1 MB
PACKED_BYTES = 1 << 20  # where it comes packed
PATIENCE = 4.0  # seconds of silence before a word is said
READ, WRITE = 10.0, 300.0  # seconds to wait for an answer to a question, to an upload
LONGEST = 30  # seconds that a busy hub may ask to wait
HINT = "check `HF_ENDPOINT`: this is no hub to trust"


def install(hub: Any) -> None:
    """Put the checks into every connection of a hub client, once."""
    if getattr(hub, "_mamtra_guard", False):
        return
    from huggingface_hub.utils import _http

    def client() -> Any:
        made = _http.default_client_factory()
        hooks = made.event_hooks
        made.event_hooks = {
            "request": [*hooks.get("request", []), ask],
            "response": [*hooks.get("response", []), check],
        }
        return made

    hub.set_client_factory(client)
    hub._mamtra_guard = True


def ask(request: Any) -> None:
    """Give a request that would wait for ever an end, and ask for plain JSON."""
    limits = request.extensions.get("timeout") or {}
    wait = READ if request.method in ("GET", "HEAD") else WRITE
    for name, value in {"connect": READ, "read": wait, "write": WRITE, "pool": READ}.items():
        if limits.get(name) is None:
            limits[name] = value
    request.extensions["timeout"] = limits
    if request.url.path.startswith("/api/"):
        request.headers["accept-encoding"] = "identity"


def check(response: Any) -> None:
    """Refuse an answer that could lead out of the cache, or has no end.

    Raises:
        HubError: naming what the hub said.
    """
    _heard.set()
    headers, path = response.headers, response.request.url.path
    for name in ("etag", "x-linked-etag"):
        value = headers.get(name, "x")
        if "/resolve/" in path and (CONTENT.fullmatch(value) is None or ".." in value):
            raise HubError(f"the hub names content `{shown(value)}`, which is no hash", HINT)
    commit = headers.get("x-repo-commit")
    if commit is not None and COMMIT.fullmatch(commit) is None:
        raise HubError(f"the hub names a commit `{shown(commit)}`, which is none", HINT)
    wait = headers.get("retry-after", "")
    if response.status_code == 429 and wait.isdecimal() and int(wait) > LONGEST:
        raise HubError("the hub is busy (429)", f"it asks to come back in {wait[:8]} s")
    if path.startswith("/api/"):
        bound(response, PACKED_BYTES if headers.get("content-encoding") else API_BYTES)
        if response.is_success and re.search(r"/(?:tree|revision)/|/api/\w+/[^/]+/[^/]+$", path):
            check_answer(response.read(), listing="/tree/" in path)


def check_answer(data: bytes, *, listing: bool) -> None:
    """Refuse what is no listing, or no description, of a repository, and names that lead out."""
    try:
        told = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise misunderstood() from error
    if isinstance(told, dict) and not listing:
        commit = told.get("sha")
        if not isinstance(commit, str) or COMMIT.fullmatch(commit) is None:
            raise HubError(f"the hub names a commit `{shown(str(commit))}`, which is none", HINT)
        rows = told.get("siblings") or []
        names = [row.get("rfilename") for row in rows if isinstance(row, dict)]
    elif listing and isinstance(told, list) and all(isinstance(row, dict) for row in told):
        names = [row.get("path") for row in told]
        for row in told:
            large = row.get("lfs")
            for oid in (row.get("oid", ""), large.get("oid", "") if large else ""):
                if not isinstance(oid, str) or re.fullmatch(r"[0-9a-f]{0,64}", oid) is None:
                    raise HubError(f"the hub names content `{shown(str(oid))}`, no hash", HINT)
    else:
        raise misunderstood()
    for name in names:
        if not isinstance(name, str) or leads_out(name):
            raise HubError(f"the hub lists a file `{shown(str(name))}`, which is no name", HINT)


def leads_out(name: str) -> bool:
    """Whether a name from elsewhere is more than a path below where it is put."""
    parts = re.split(r"[/\\]", name)
    drive = re.match(r"[A-Za-z]:", name) is not None
    return drive or not name.isprintable() or any(part in ("", ".", "..") for part in parts)


def misunderstood() -> HubError:
    """The error for an answer that is none of a hub."""
    return HubError("the hub's answer is not understood", "check `HF_ENDPOINT`, or try again later")


def shown(text: str) -> str:
    """A text from elsewhere, short and on one line."""
    flat = text.encode("unicode_escape").decode("ascii")
    return flat if len(flat) <= 60 else f"{flat[:57]}..."


def bound(response: Any, limit: int) -> None:
    """Let the body of an answer end at so many bytes.

    Raises:
        HubError: while it is read, where it has more.
    """
    transport: Any = sys.modules[type(response).__module__.partition(".")[0]]
    stream: Any = transport.SyncByteStream  # of httpx in one client, of httpx2 in the next
    inner = response.stream

    class Bounded(stream):  # type: ignore[misc]
        """Counts what comes."""

        def __iter__(self) -> Iterator[bytes]:
            count = 0
            for piece in inner:
                count += len(piece)
                if count > limit:
                    raise HubError(f"the hub's answer has more than {limit >> 20} MB", HINT)
                yield piece

        def close(self) -> None:
            inner.close()

    response.stream = Bounded()


_heard = threading.Event()


@contextmanager
def patience(report: Report, who: str) -> Iterator[None]:
    """Say a word where a hub has not answered anything after some seconds."""
    _heard.clear()
    over = threading.Event()

    def watch() -> None:
        if not over.wait(PATIENCE) and not _heard.is_set():
            text = f"{who} has not answered for {PATIENCE:g} s; still waiting (Ctrl-C ends it)"
            report(Note(text=text, warning=True))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def verify(folder: Path) -> None:
    """Hold the files of a fetched snapshot to the hashes they are kept under.

    A large file is read once: that it was is kept beside the repository's blobs. Where the cache
    holds no links (Windows without the privilege), there is no hash to hold them to.

    Raises:
        HubError: a file has other bytes than its hash; it is removed.
    """
    done = folder.parent.parent / "mamtra"
    for path in sorted(folder.rglob("*")):
        if not path.is_symlink() or not path.is_file():
            continue
        blob = path.resolve()
        name, large = blob.name, SHA256.fullmatch(blob.name) is not None
        if not (large or COMMIT.fullmatch(name)) or (large and (done / name).exists()):
            continue
        with blob.open("rb") as file:
            if large:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            else:
                digest = hashlib.sha1(b"blob %d\0" % blob.stat().st_size)
                for piece in iter(lambda: file.read(1 << 20), b""):
                    digest.update(piece)
                found = digest.hexdigest()
        if found != name:
            path.unlink(missing_ok=True)
            blob.unlink(missing_ok=True)
            raise HubError(
                f"`{path.relative_to(folder)}` from the hub has other bytes than its hash "
                f"({found[:8]}, not {name[:8]}); it is removed",
                "run the same command again; if it stays so, check `HF_ENDPOINT`",
            )
        if large:
            with suppress(OSError):
                done.mkdir(exist_ok=True)
                (done / name).touch()
