"""Model names to local folders, and folders to the hub.

A name is `mini` (inside this package), a folder, an alias, or `org/name[@revision]` on the
Hugging Face Hub. Knows files and repositories, nothing of models.
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mamtra_cli.config import nearest
from mamtra_cli.errors import HubError, ModelNotFoundError
from mamtra_cli.events import Advance, Note, Report, Stage, ignore
from mamtra_cli.hub_client import client, hub_errors, url_of
from mamtra_cli.hub_guard import HINT, leads_out, patience, verify
from mamtra_cli.publish import heal

BUILT_IN = {name: Path(__file__).parent / "models" / name for name in ("mini", "mini-mvc")}
MEGA = 1_000_000
SLACK = 1 << 20  # bytes by which a download may pass what was announced
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")

CONFIGS = ["*.json", "*.yaml", "README.md"]
WANTED = [*CONFIGS, "LICENSE*", "*.safetensors", "*.txt", "*.txt.xz"]


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A published model and the files that its authors chose names for.

    Attributes:
        alias: short name that users may write.
        name: org/name.
        revision: the commit that is meant by the alias; a branch where none is known, of which
            the user is told.
        wanted, unwanted: patterns of files, beside those of our own format.
        companions: others that are fetched along; a family finds them with `cached`.
    """

    alias: str
    name: str
    revision: str
    wanted: Sequence[str] = ()
    unwanted: Sequence[str] = ()
    companions: Sequence["Repository"] = ()


@dataclass(frozen=True, kw_only=True)
class Located:
    """Where a model is: its folder here, and the repository and commit it came from."""

    folder: Path
    name: str
    revision: str | None = None


def locate(
    name: str,
    repositories: Sequence[Repository] = (),
    *,
    configs_only: bool = False,
    report: Report = ignore,
) -> Located:
    """Find a model, fetching it where it is on the hub.

    Args:
        name: `mini`, a folder, an alias or org/name[@revision].
        repositories: whose aliases and files are known; see `families.registry.locate`.
        configs_only: fetch no weights.
        report: hears of the download.

    Raises:
        ModelNotFoundError: no such model.
        HubError: the hub refused or was out of reach.
    """
    if name in BUILT_IN:
        folder = BUILT_IN[name]
        if not (folder / "config.json").is_file():
            raise ModelNotFoundError(f"this installation lacks the built-in model `{name}`")
        return Located(folder=folder, name=name)
    if name and not os.path.exists(name):
        heal(Path(name))
    if os.path.isfile(name):
        raise ModelNotFoundError(f"`{name}` is a file", f"name its folder, `{Path(name).parent}`")
    if os.path.isdir(name):
        return Located(folder=Path(name), name=name)
    aliases = {known.alias: f"{known.name}@{known.revision}" for known in repositories}
    match = HUB_NAME.fullmatch(aliases.get(name, name))
    if match is None or name.startswith(("./", "../", "~")):
        near = nearest(name, [*BUILT_IN, *aliases])
        hint = f"did you mean `{near}`?" if near else "name a folder, org/name or `mini`"
        raise ModelNotFoundError(f"there is no model `{name}`", hint)
    repo, revision = match[1], match[2]
    folder = fetch(repo, revision, repositories, configs_only=configs_only, report=report)
    for known in repositories:
        for other in known.companions if known.name == repo else ():
            files = [*repositories, other]
            fetch(other.name, other.revision, files, configs_only=configs_only, report=report)
    if name in aliases and COMMIT.fullmatch(revision) is None:
        report(
            Note(
                text=f"`{name}` is no fixed version: `{repo}@{folder.name}` is the one used now",
                warning=True,
            )
        )
    return Located(folder=folder, name=repo, revision=folder.name)


def fetch(
    repo: str,
    revision: str | None,
    repositories: Sequence[Repository] = (),
    *,
    configs_only: bool = False,
    report: Report = ignore,
) -> Path:
    """Download a snapshot into the hub cache, or find it there, and return its folder."""
    if revision is not None and leads_out(revision):
        raise ModelNotFoundError(
            f"`{revision}` is no name of a commit, branch or tag", "write org/name@revision"
        )
    wanted = [*WANTED, *(name for known in repositories for name in known.wanted)]
    return download(
        repo,
        revision,
        {
            "allow_patterns": CONFIGS if configs_only else wanted,
            "ignore_patterns": [name for known in repositories for name in known.unwanted],
        },
        report,
    )


def download(repo: str, revision: str | None, asked: dict[str, Any], report: Report) -> Path:
    """Fetch a snapshot into the hub cache, check its hashes, and return its folder.

    Args:
        repo: org/name.
        revision: commit, branch or tag; `None` for the newest of `main`.
        asked: further arguments of the hub client's `snapshot_download`.
        report: hears of the download.

    Raises:
        ModelNotFoundError, HubError: see `hub_errors`.
    """
    hub = client()
    asked = {"revision": revision, "cache_dir": os.environ.get("MAMTRA_CACHE"), **asked}
    at = f"{repo}@{revision}" if revision else repo
    report(Stage(name="asking", detail=at))
    with hub_errors(repo, revision), patience(report, "the hub"):
        size, failure = missing_bytes(hub, repo, asked)
        if failure is not None:
            return from_cache(hub, repo, asked, failure)
        if size:
            check_room(size, asked["cache_dir"] or hub.constants.HF_HUB_CACHE)
            megabytes = size / MEGA
            detail = f"{at}  {megabytes:.1f} MB"
            report(Stage(name="fetching", total=megabytes, unit="MB", detail=detail))
        folder = Path(hub.snapshot_download(repo, **asked, tqdm_class=progress_class(report, size)))
        verify(folder)
    return folder


def from_cache(hub: Any, repo: str, asked: dict[str, Any], failure: Exception) -> Path:
    """The snapshot that is in the cache, where the hub gives none; else what the hub said."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hub.snapshot_download(repo, **asked, local_files_only=True))
    except LocalEntryNotFoundError as error:
        told = failure.__cause__ if isinstance(failure, LocalEntryNotFoundError) else failure
        if isinstance(told, HfHubHTTPError):
            raise failure from failure.__cause__
        cache = Path(asked["cache_dir"] or hub.constants.HF_HUB_CACHE)
        if any((cache / f"models--{repo.replace('/', '--')}" / "snapshots").glob("*/*")):
            raise HubError(
                f"`{repo}` is not whole in the cache, and the hub cannot be reached",
                "run it once where the hub can be reached: only what is missing is fetched",
            ) from error
        raise error from failure.__cause__


def cached(repository: Repository, file: str) -> Path | None:
    """A file of a repository in the hub cache; `None` where it was not fetched."""
    hub = client()
    found = hub.try_to_load_from_cache(
        repository.name,
        file,
        cache_dir=os.environ.get("MAMTRA_CACHE"),
        revision=repository.revision,
    )
    return Path(found) if isinstance(found, str) else None


def missing_bytes(hub: Any, repo: str, asked: dict[str, Any]) -> tuple[int, Exception | None]:
    """Bytes that a download would fetch; or why the hub cannot be asked and the cache must do."""
    from huggingface_hub.errors import (
        DryRunError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    try:
        files = hub.snapshot_download(repo, **asked, dry_run=True)
    except DryRunError as error:
        cause = error.__cause__
        return 0, cause if isinstance(cause, Exception) else error
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        return 0, error
    return sum(file.file_size or 0 for file in files if file.will_download), None


def check_room(size: int, cache: str) -> None:
    """Fail where the disk of the cache has no room for a download."""
    folder = Path(cache).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if size > free:
        raise HubError(
            f"the download has {size / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free in `{cache}`",
            "name a folder on another disk with `MAMTRA_CACHE`",
        )


def progress_class(report: Report, size: int) -> Any:
    """A progress bar for the hub client that draws nothing, reports megabytes, and lets no more
    bytes come than were announced."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Counter(tqdm):  # type: ignore[misc]
        """Counts bytes on disk; the client has another bar for bytes on the wire."""

        monitor_interval = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            self.came = 0.0
            self.counts = kwargs.get("unit") == "B" and kwargs.get("desc") != "Downloading bytes"
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            if self.counts and n:
                self.came += n
                if self.came > size + SLACK:
                    raise HubError(f"the hub sends more than the {size} bytes it announced", HINT)
                report(Advance(amount=n / MEGA))

    return Counter


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A finished upload."""

    commit: str
    unchanged: bool
    url: str


def upload(
    folder: Path,
    files: list[str],
    repo: str,
    *,
    revision: str = "main",
    private: bool = False,
    message: str,
    tag: str = "",
    report: Report = ignore,
) -> Upload:
    """Put files of a folder into a repository, creating it where it is missing.

    Args:
        folder: where the files are.
        files: their names, relative to the folder.
        repo: org/name.
        revision: branch to write.
        private: make a new repository private.
        message: subject of the commit.
        tag: a name for the commit; "" makes none.
        report: hears of the steps.
    """
    hub = client()
    api = hub.HfApi()
    with hub_errors(repo, None):
        report(Stage(name="creating", detail=repo))
        api.create_repo(repo, private=private or None, exist_ok=True)
        if revision != "main":
            api.create_branch(repo, branch=revision, exist_ok=True)
        before = _head(api, repo, revision)
        report(Stage(name="pushing", detail=f"{len(files)} files to {repo}"))
        done = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            revision=revision,
            commit_message=message,
            allow_patterns=[re.sub(r"([*?\[])", r"[\1]", name) for name in files],
        )
        commit = str(getattr(done, "oid", "") or _head(api, repo, revision))
        if tag:
            report(Stage(name="tagging", detail=tag))
            api.create_tag(repo, tag=tag, revision=commit, exist_ok=True)
    return Upload(commit=commit, unchanged=commit == before, url=url_of(repo))


def _head(api: Any, repo: str, revision: str) -> str | None:
    """Return the newest commit of a branch, None where it has none yet."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        sha: str | None = api.repo_info(repo, revision=revision).sha
        return sha
    except RevisionNotFoundError:
        return None
