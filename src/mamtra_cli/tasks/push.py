"""A model folder to the hub: what would go, under which licence, and then the upload.

Refuses what should not be published: a folder whose licence nobody states, damaged weights,
pickles. Voices go along only when named: a voice belongs to someone. Local paths in the
provenance shrink to their last name: a home folder is nobody else's business.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mamtra_cli import card, hub
from mamtra_cli.checkpoint import PROVENANCE, SUFFIX, ModelFolder, read_json, read_model_folder
from mamtra_cli.config import dump_json, nearest
from mamtra_cli.errors import CheckpointError, MamtraError, ModelNotFoundError, UsageError
from mamtra_cli.events import Report, Stage, ignore
from mamtra_cli.recipes import FileEntry, PushRecipe, PushResult
from mamtra_cli.tensor_header import read_header

REPO = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
README = "README.md"
VOICES = "voices"
BRANCH = re.compile(r"\w[\w./-]*")
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".ckpt")
STAYS = ("trainer.safetensors", "metrics.jsonl")  # of a training run, not of the model


def push(recipe: PushRecipe, report: Report = ignore) -> PushResult:
    """Upload a model folder, or show what would be uploaded.

    Args:
        recipe: every knob.
        report: hears of the steps.

    Raises:
        MamtraError: the folder cannot be published, or the hub refused.
    """
    if recipe.folder is None:
        raise UsageError("no model folder is given", "`mamtra push student org/name`")
    if not REPO.fullmatch(recipe.repo):
        raise UsageError(
            f"`{recipe.repo}` is no repository name" if recipe.repo else "no repository is given",
            "write it as org/name, `mamtra push student org/name`",
        )
    check_reference("--revision", recipe.revision)
    if recipe.tag:
        check_reference("--tag", recipe.tag)
    report(Stage(name="checking", detail=str(recipe.folder)))
    folder = read_model_folder(recipe.folder)
    license = licence_of(folder)
    names = files_of(folder.path, recipe.voices)
    files = tuple(FileEntry(name=name, bytes=(folder.path / name).stat().st_size) for name in names)
    commit, unchanged = None, False
    if not recipe.dry_run:
        for name in names:
            if name.endswith(SUFFIX):
                read_header(folder.path / name)
        with public_copy(folder.path, names) as ready:
            done = hub.upload(
                ready,
                names,
                recipe.repo,
                revision=recipe.revision,
                private=recipe.private,
                message=recipe.message or subject(folder),
                tag=recipe.tag,
                report=report,
            )
        commit, unchanged = done.commit, done.unchanged
    return PushResult(
        repo=recipe.repo,
        url=hub.url_of(recipe.repo),
        license=license,
        dry_run=recipe.dry_run,
        files=files,
        bytes=sum(file.bytes for file in files),
        commit=commit,
        unchanged=unchanged,
        tag=recipe.tag,
    )


def check_reference(option: str, name: str) -> None:
    """Refuse the name of a branch or tag that the hub would refuse after the upload."""
    if BRANCH.fullmatch(name) is None or ".." in name:
        raise UsageError(
            f"`{option} {name}` is no name for a commit", "use letters, digits, `.`, `-`, `_`"
        )


def licence_of(folder: ModelFolder) -> str:
    """Return the licence that the card states, or refuse."""
    path = folder.path / README
    license = card.read_license(path.read_text(encoding="utf-8")) if path.is_file() else ""
    if license in ("", card.UNKNOWN):
        raise MamtraError(
            f"the licence of `{folder.path}` is not known, and the hub must state one",
            f"write `license: ID` into the header of `{path}`, as the teacher has it",
        )
    return license


def files_of(folder: Path, voices: tuple[str, ...]) -> list[str]:
    """Return the names of the files to upload, sorted.

    Args:
        folder: the model folder.
        voices: names of the voices that go along.
    """
    there = {path.stem for path in (folder / VOICES).glob(f"*{SUFFIX}")}
    for voice in voices:
        if voice not in there:
            near = nearest(voice, there)
            known = ", ".join(sorted(there)) or "none"
            hint = f"did you mean `{near}`?" if near else f"voices: {known}"
            raise ModelNotFoundError(f"`{folder}` has no voice `{voice}`", hint)
    names = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/"))
        unnamed = name.startswith(f"{VOICES}/") and path.name.split(".")[0] not in voices
        if path.is_dir() or hidden or unnamed or name in STAYS:
            continue
        if path.suffix in PICKLES:
            raise CheckpointError(
                f"`{name}` is a pickle, which can carry code", "publish safetensors files only"
            )
        names.append(name)
    return names


@contextmanager
def public_copy(folder: Path, names: list[str]) -> Iterator[Path]:
    """Give a folder with these files for the time of an upload, its provenance without paths."""
    with tempfile.TemporaryDirectory(prefix="mamtra-push-") as temporary:
        ready = Path(temporary)
        for name in names:
            target = ready / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name == PROVENANCE:
                target.write_text(dump_json(without_paths(read_json(folder / name))), "utf-8")
            elif os.name == "nt":  # links need a privilege there
                shutil.copyfile(folder / name, target)
            else:
                target.symlink_to((folder / name).resolve())
        yield ready


def without_paths(value: Any) -> Any:
    """Return JSON data in which each local path is its last name only; org/name stays."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            path = kind(value)
            if path.is_absolute() or path.parts[:1] in (("..",), ("~",)):
                return path.name
    return value


def subject(folder: ModelFolder) -> str:
    """Return the default commit subject: what the model is."""
    plan = folder.provenance.get("plan")
    source = plan.get("source") if isinstance(plan, dict) else None
    words = f"Upload {folder.family} model"
    return f"{words}, {source}" if source else words
