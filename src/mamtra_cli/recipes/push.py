"""Every knob of `push`, and what it returns."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from mamtra_cli.recipes.knob import OUTPUT, Knob
from mamtra_cli.recipes.shared import FileEntry

_target = partial(Knob, panel="Target")


@dataclass(frozen=True, kw_only=True)
class PushRecipe:
    """Upload a model folder and its card."""

    folder: Annotated[Path | None, Knob("Model folder to upload.", "FOLDER", positional=True)] = (
        None
    )
    repo: Annotated[str, Knob("Where to: org/name.", "REPO", positional=True)] = ""
    revision: Annotated[str, _target("Branch to write.", "NAME")] = "main"
    private: Annotated[bool, _target("Make a new repository private.")] = False
    tag: Annotated[str, _target("Name the commit, v1 for example.", "NAME")] = ""
    message: Annotated[
        str,
        _target(
            "Subject of the commit.",
            "TEXT",
            names=("--message", "-m"),
            default="names the model and the plan",
        ),
    ] = ""
    voices: Annotated[
        tuple[str, ...],
        Knob(
            "Upload this voice too; repeat for more.",
            "NAME",
            "Files",
            names=("--voice",),
            default="none",
        ),
    ] = ()
    dry_run: Annotated[
        bool,
        Knob(
            "Show files, sizes, licence and target, upload nothing.",
            panel=OUTPUT,
            names=("--dry-run", "-n"),
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class PushResult:
    """What `push` uploaded, or would upload."""

    repo: str
    url: str
    license: str
    dry_run: bool
    files: tuple[FileEntry, ...]
    bytes: int
    stays: dict[str, str]  # names of other files there, and why they do not go
    commit: str | None  # None on a dry run
    unchanged: bool  # the hub already had exactly these files
    tag: str
