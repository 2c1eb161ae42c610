"""A hub on 127.0.0.1 that the genuine huggingface_hub client can push to and pull from.

In memory, standard library only: repositories with commits, branches and tags; LFS objects held
to their SHA-256; private repositories and tokens; faults on request. The requests it answers are
those listed in the project's notes on the hub client (2.4.0 and 1.33.0).
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

NAME = r"(?P<repo>[\w.-]+/[\w.-]+)"
TOKEN = "hf_loopback"


@dataclass
class File:
    """Content of a file; `oid` is the git blob id, or the SHA-256 of an LFS object."""

    data: bytes
    lfs: bool

    @property
    def oid(self) -> str:
        if self.lfs:
            return hashlib.sha256(self.data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()


@dataclass
class Commit:
    oid: str
    title: str
    files: dict[str, File]


@dataclass
class Repo:
    private: bool
    commits: list[Commit] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, title: str, files: dict[str, File]) -> Commit:
        seed = f"{len(self.commits)} {title} {sorted(files)}"
        made = Commit(hashlib.sha1(seed.encode()).hexdigest(), title, files)
        self.commits.append(made)
        self.branches[branch] = made.oid
        return made

    def find(self, revision: str) -> Commit | None:
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return next((commit for commit in self.commits if commit.oid == oid), None)


@dataclass
class Lie:
    """Answer matching requests wrongly, for as long as it is among the hub's lies.

    Attributes:
        path: a pattern of the paths it is about.
        body: to send instead; `None` sends the true one.
        headers: to send beside, or instead of, the true ones.
        endless: after its body an answer goes on, without a length, to so many bytes.
        silent: seconds to wait before anything is sent.
        status: of the answer; 0 is the true one.
    """

    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    endless: int = 0
    silent: float = 0.0
    status: int = 0
    method: str = ""


@dataclass
class Fault:
    """Answer the next matching request by `status`, or cut the connection when it is 0.

    With `after`, the answer is the true one, cut after so many bytes of its body.
    """

    method: str
    path: str
    status: int
    times: int = 1
    after: int = 0


class Hub(ThreadingHTTPServer):
    """The server and everything it holds."""

    daemon_threads = True

    def __init__(self, mode: str = "lfs") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.mode = mode
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.lies: list[Lie] = []
        self.sent = 0  # bytes of endless answers
        self.log: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent about connections that the other side closed."""


class Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(status)
        self.status, self.code, self.message = status, code, message


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"
    cut = 0  # bytes after which the answer breaks off
    routes: tuple[tuple[str, str, str], ...] = (
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate"),
        ("POST", rf"/api/models/{NAME}/preupload/(?P<rev>.+)", "preupload"),
        ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", "batch"),
        ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "put_object"),
        ("POST", r"/lfs-verify/(?P<oid>[0-9a-f]{64})", "verify_object"),
        ("POST", rf"/api/models/{NAME}/commit/(?P<rev>.+)", "commit"),
        ("POST", rf"/api/models/{NAME}/tag/(?P<rev>.+)", "tag"),
        ("POST", rf"/api/models/{NAME}/branch/(?P<rev>.+)", "branch"),
        ("GET", rf"/api/models/{NAME}/revision/(?P<rev>.+)", "info"),
        ("GET", rf"/api/models/{NAME}/tree/(?P<rev>[^/]+)", "tree"),
        ("GET", rf"/api/models/{NAME}", "info"),
        ("GET", rf"/api/datasets/{NAME}/revision/(?P<rev>.+)", "info"),
        ("GET", rf"/api/datasets/{NAME}/tree/(?P<rev>[^/]+)", "tree"),
        ("GET", rf"/api/datasets/{NAME}", "info"),
        ("HEAD", rf"/datasets/{NAME}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", "resolve"),
        ("GET", rf"/datasets/{NAME}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", "resolve"),
        ("HEAD", rf"/{NAME}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", "resolve"),
        ("GET", rf"/{NAME}/resolve/(?P<rev>[^/]+)/(?P<path>.+)", "resolve"),
    )

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing to the terminal."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.log.append(f"{self.command} {path}")
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        for fault in self.server.faults:
            if fault.times and fault.method == self.command and re.search(fault.path, path):
                fault.times -= 1
                if fault.after:
                    self.cut = fault.after
                    break
                if fault.status == 0:
                    self.close_connection = True
                    self.connection.close()
                    return
                return self.reply({"error": "fault"}, fault.status)
        for method, pattern, name in self.routes:
            match = re.fullmatch(pattern, path)
            if match and method == self.command:
                answer: Callable[..., None] = getattr(self, name)
                try:
                    return answer(**match.groupdict())
                except Refused as no:
                    headers = {"X-Error-Code": no.code, "X-Error-Message": no.message}
                    return self.reply({"error": no.message}, no.status, headers)
        self.reply({"error": f"no route for {path}"}, 404)

    do_POST = do_PUT = do_HEAD = do_GET

    def reply(self, data: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        path = unquote(urlsplit(self.path).path)
        for lie in self.server.lies:
            if re.search(lie.path, path) and lie.method in ("", self.command):
                time.sleep(lie.silent)
                raw = raw if lie.body is None else lie.body
                status = lie.status or status
                headers = {**(headers or {}), **lie.headers}
                if lie.endless and self.command == "GET":
                    return self.go_on(raw, headers, lie.endless)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(raw)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and self.cut:
            self.wfile.write(raw[: self.cut])
            self.cut, self.close_connection = 0, True
        elif self.command != "HEAD":
            self.wfile.write(raw)

    def go_on(self, raw: bytes, headers: dict[str, str], least: int) -> None:
        """Send a body in pieces without a length, and then zeros."""
        self.send_response(200)
        for name, value in {**headers, "Transfer-Encoding": "chunked"}.items():
            self.send_header(name, value)
        self.end_headers()
        piece = bytes(1 << 20)
        self.close_connection = True
        while self.server.sent < least:
            self.wfile.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
            self.server.sent += len(piece)
        self.wfile.write(b"0\r\n\r\n")

    @property
    def known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def login(self) -> None:
        if not self.known:
            raise Refused(401, "", "Invalid username or password.")

    def repo(self, name: str) -> Repo:
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and not self.known):
            raise Refused(404 if self.known else 401, "RepoNotFound", "Repository not found")
        return repo

    def at(self, name: str, rev: str) -> Commit:
        commit = self.repo(name).find(rev)
        if commit is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {rev}")
        return commit

    def whoami(self) -> None:
        self.login()
        self.reply({"name": "loop", "type": "user", "orgs": [], "auth": {"accessToken": {}}})

    def create(self) -> None:
        self.login()
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'loop'}/{asked['name']}"
        url = f"{self.server.url}/{name}"
        if name in self.server.repos:
            return self.reply({"error": "already created", "url": url}, 409)
        private = bool(asked.get("private")) or asked.get("visibility") == "private"
        repo = self.server.repos[name] = Repo(private)
        repo.commit("main", "initial commit", {})
        self.reply({"url": url})

    def validate(self) -> None:
        self.reply({"errors": [], "warnings": []})

    def preupload(self, repo: str, rev: str) -> None:
        self.login()
        there = self.at(repo, rev).files
        files = []
        for entry in json.loads(self.body)["files"]:
            large = self.server.mode == "lfs" and entry["path"].endswith(".safetensors")
            answer = {"path": entry["path"], "uploadMode": "lfs" if large else "regular"}
            if entry["path"] in there:
                answer["oid"] = there[entry["path"]].oid
            files.append({**answer, "shouldIgnore": False})
        self.reply({"files": files})

    def batch(self, repo: str) -> None:
        self.login()
        self.repo(repo)
        answers = []
        for entry in json.loads(self.body)["objects"]:
            oid, url = entry["oid"], self.server.url
            missing = {
                "upload": {"href": f"{url}/lfs/{oid}"},
                "verify": {"href": f"{url}/lfs-verify/{oid}"},
            }
            here = oid in self.server.objects
            answers.append({**entry, **({} if here else {"actions": missing})})
        self.reply({"transfer": "basic", "objects": answers})

    def put_object(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(422, "", "object is not what its name says")
        self.server.objects[oid] = self.body
        self.reply({})

    def verify_object(self, oid: str) -> None:
        asked = json.loads(self.body)
        if len(self.server.objects.get(oid, b"")) != asked["size"]:
            raise Refused(404, "", "object is not there")
        self.reply({})

    def commit(self, repo: str, rev: str) -> None:
        self.login()
        lines = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        title, files, head = "", dict(self.at(repo, rev).files), self.repo(repo).branches[rev]
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    title = value["summary"]
                    if value.get("parentCommit", head) != head:
                        raise Refused(412, "", "a newer commit is there")
                case "file":
                    files[value["path"]] = File(base64.b64decode(value["content"]), False)
                case "lfsFile":
                    files[value["path"]] = File(self.server.objects[value["oid"]], True)
                case "deletedFile":
                    files.pop(value["path"])
        made = self.repo(repo).commit(rev, title, files)
        url = f"{self.server.url}/{repo}/commit/{made.oid}"
        self.reply({"success": True, "commitOid": made.oid, "commitUrl": url})

    def tag(self, repo: str, rev: str) -> None:
        self.login()
        tag = json.loads(self.body)["tag"]
        if tag in self.repo(repo).tags:
            raise Refused(409, "", "tag exists")
        self.repo(repo).tags[tag] = self.at(repo, rev).oid
        self.reply({})

    def branch(self, repo: str, rev: str) -> None:
        self.login()
        if rev in self.repo(repo).branches:
            raise Refused(409, "", "branch exists")
        self.repo(repo).branches[rev] = self.repo(repo).branches["main"]
        self.reply({})

    def info(self, repo: str, rev: str = "main") -> None:
        commit = self.at(repo, rev)
        names = [{"rfilename": name} for name in sorted(commit.files)]
        private = self.repo(repo).private
        self.reply({"id": repo, "sha": commit.oid, "private": private, "siblings": names})

    def tree(self, repo: str, rev: str) -> None:
        rows = []
        for path, file in sorted(self.at(repo, rev).files.items()):
            row = {"type": "file", "oid": file.oid, "size": len(file.data), "path": path}
            lfs = {"oid": file.oid, "size": len(file.data), "pointerSize": 130}
            rows.append({**row, **({"lfs": lfs} if file.lfs else {})})
        self.reply(rows)

    def resolve(self, repo: str, rev: str, path: str) -> None:
        commit = self.at(repo, rev)
        file = commit.files.get(path)
        if file is None:
            raise Refused(404, "EntryNotFound", f"no {path}")
        headers = {"ETag": f'"{file.oid}"', "X-Repo-Commit": commit.oid}
        if file.lfs:
            headers |= {"X-Linked-Etag": f'"{file.oid}"', "X-Linked-Size": str(len(file.data))}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if wanted and self.command == "GET":
            start, size = int(wanted[1]), len(file.data)
            self.server.log.append(f"RANGE {path} {start}")
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
            self.reply(file.data[start:], 206, headers)
            return
        self.reply(file.data, 200, headers)


@contextmanager
def loopback_hub(mode: str = "lfs") -> Iterator[Hub]:
    """Serve until the block ends. `mode` is how weight files travel: `lfs` or `regular`."""
    hub = Hub(mode)
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
