"""A model folder to the hub: what would go, under which licence, and then the upload.

Only files that a model consists of go, by name and by content; what stays is told. Refuses what
should not be published: a folder whose licence nobody states, damaged weights, pickles, texts that
seem to hold a secret. Voices go along only when named: a voice belongs to someone. Local paths
shrink to their last name: a home folder is nobody else's business.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from mamtra_cli import card, hub
from mamtra_cli.checkpoint import (
    CONFIG,
    MODEL,
    PROVENANCE,
    SUFFIX,
    ModelFolder,
    gather,
    read_json,
    read_model_folder,
)
from mamtra_cli.config import dump_json, from_dict, nearest, reason
from mamtra_cli.engine.students.public_card import RESULT, public_card
from mamtra_cli.errors import CheckpointError, MamtraError, ModelNotFoundError, UsageError
from mamtra_cli.events import Note, Report, Stage, ignore
from mamtra_cli.families import registry
from mamtra_cli.hub_client import url_of
from mamtra_cli.ownership import entries, owned
from mamtra_cli.privacy import cut_paths, find_secret, is_pickle, without_paths
from mamtra_cli.publish import HOST, dead
from mamtra_cli.recipes.push import PushRecipe, PushResult
from mamtra_cli.recipes.shared import FileEntry
from mamtra_cli.tensor_header import read_header

REPO = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
README = "README.md"
VOICES = "voices"
BRANCH = re.compile(r"\w[\w./-]*")
PICKLES = (".pt", ".pth", ".bin", ".pkl", ".ckpt")
STAYS = ("trainer.safetensors", "trainer.previous.safetensors")  # of a training run
KNOWN = (  # beside the parts of the model and what its family reads
    *(CONFIG, PROVENANCE, README, "LICENSE*", "NOTICE*", "curves.png", "symbols.json"),
    *("lexicon.txt", "lexicon.txt.xz", "vocab.json", "merges.txt", "tokenizer*.json"),
    *("special_tokens_map.json", "added_tokens.json", "generation_config.json"),
)
REPORT = re.compile(
    r"report/(report\.md|result\.json|records\.jsonl|audio/[\w-]+\.(flac|opus|wav)|plots/[\w-]+\.png)"
)
TEXTS = (".md", ".json", ".jsonl", ".yaml")
STAGING = "mamtra-push-"


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
    with standalone(read_model_folder(recipe.folder)) as folder:
        return _pushed(recipe, folder, report)


def _pushed(recipe: PushRecipe, folder: ModelFolder, report: Report) -> PushResult:
    """Upload a folder that holds all it needs."""
    license = licence_of(folder)
    names, stay = files_of(folder, recipe.voices)
    for name, why in stay.items():
        report(Note(text=f"`{name}` stays here: {why}"))
    for name in names:
        check_content(folder.path / name, name)
    texts = {name: text for name in names if (text := public_text(folder, name, names)) is not None}
    files = tuple(
        FileEntry(
            name=name,
            bytes=len(texts[name].encode())
            if name in texts
            else (folder.path / name).stat().st_size,
        )
        for name in names
    )
    commit, unchanged = None, False
    if not recipe.dry_run:
        with public_copy(folder.path, names, texts) as ready:
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
        url=url_of(recipe.repo),
        license=license,
        dry_run=recipe.dry_run,
        files=files,
        bytes=sum(file.bytes for file in files),
        stays=stay,
        commit=commit,
        unchanged=unchanged,
        tag=recipe.tag,
    )


@contextmanager
def standalone(folder: ModelFolder) -> Iterator[ModelFolder]:
    """The folder, or for the time of an upload a copy with the files that it shares."""
    if folder.shares is None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix=f"{STAGING}{os.getpid()}-{HOST}-") as temporary:
        yield gather(folder, Path(temporary) / folder.path.name)


def check_reference(option: str, name: str) -> None:
    """Refuse the name of a branch or tag that the hub would refuse after the upload."""
    if BRANCH.fullmatch(name) is None or ".." in name:
        raise UsageError(
            f"`{option} {name}` is no name for a commit", "use letters, digits, `.`, `-`, `_`"
        )


def licence_of(folder: ModelFolder) -> str:
    """Return the licence that the card states, or refuse."""
    path = folder.path / README
    try:
        license = card.read_license(path.read_text(encoding="utf-8")) if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"cannot read `{path}`: {reason(error)}", "save it as UTF-8 text"
        ) from error
    if license in ("", card.UNKNOWN):
        raise MamtraError(
            f"the licence of `{folder.path}` is not known, and the hub must state one",
            f"write `license: ID` into the header of `{path}`, as the teacher has it",
        )
    return license


def files_of(folder: ModelFolder, voices: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """Return the names of the files to upload, sorted, and of others with why they stay.

    Args:
        folder: the model folder.
        voices: names of the voices that go along.

    Raises:
        ModelNotFoundError: there is no such voice.
        CheckpointError: a file is a pickle, or a needed one a link that leads out.
    """
    there = {path.name.removesuffix(SUFFIX) for path in (folder.path / VOICES).glob(f"*{SUFFIX}")}
    for voice in voices:
        if voice not in there:
            near = nearest(voice, there)
            known = ", ".join(sorted(there)) or "none"
            hint = f"did you mean `{near}`?" if near else f"voices: {known}"
            raise ModelNotFoundError(f"`{folder.path}` has no voice `{voice}`", hint)
    belongs, root = model_files(folder), folder.path.resolve()
    go, stay = [], {}
    for name in entries(folder.path):
        path = folder.path / name
        if any(part.startswith(".") for part in name.split("/")) or name.endswith("/"):
            continue
        if name.startswith(f"{VOICES}/"):
            wanted = name in {f"{VOICES}/{voice}{SUFFIX}" for voice in voices}
            why = "" if wanted else "voices go along only when named, with `--voice`"
        elif path.suffix in PICKLES or (path.is_file() and is_pickle(path)):
            raise CheckpointError(
                f"`{name}` is a pickle, which can carry code", "publish safetensors files only"
            )
        else:
            why = "" if belongs(name) and name not in STAYS else "it is no file of the model"
        if not path.is_file() or not path.resolve().is_relative_to(root):
            if not why and (name in (CONFIG, README) or name.endswith(SUFFIX)):
                raise CheckpointError(
                    f"`{name}` is a link that leads out of `{folder.path}`",
                    f"put the file itself there: cp -L {folder.path} COPY -r",
                )
            why = why or "it is a link that leads out of the folder, or no file"
        if why:
            stay[name] = why
        else:
            go.append(name)
    return sorted(go), stay


def model_files(folder: ModelFolder) -> Callable[[str], bool]:
    """Return what tells whether a name is one of a model's files."""
    parts = {name for name in owned(folder.path, MODEL) or () if name.endswith(SUFFIX)}
    rules = list(KNOWN)
    with suppress(MamtraError):
        family = registry.family(folder.family)
        rules += family.text_files
        rules += [name for known in registry.repositories() for name in known.wanted]
        config = from_dict(family.config_class, folder.config, CONFIG)
        parts |= {f"{part}{SUFFIX}" for part in family.part_names(config)}

    def belongs(name: str) -> bool:
        if name.endswith(SUFFIX):
            return name in parts and "/" not in name
        whole = "/" not in name and any(fnmatch(name, rule) for rule in rules)
        return whole or name in rules or REPORT.fullmatch(name) is not None

    return belongs


def check_content(path: Path, name: str) -> None:
    """Refuse weights that are damaged, and texts that are none or seem to hold a secret."""
    if name.endswith(SUFFIX):
        read_header(path)
    if path.suffix not in TEXTS:
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"cannot read `{path}`: {reason(error)}", "save it as UTF-8 text"
        ) from error
    secret = find_secret(text) if name not in ("vocab.json", "tokenizer.json") else None
    if secret:
        raise CheckpointError(
            f"`{name}` holds what looks like {secret}", "take it out before anybody reads it"
        )


@contextmanager
def public_copy(folder: Path, names: list[str], texts: Mapping[str, str]) -> Iterator[Path]:
    """Give a folder with these files for the time of an upload, some with texts of their own."""
    remove_staged()
    with tempfile.TemporaryDirectory(prefix=f"{STAGING}{os.getpid()}-{HOST}-") as temporary:
        ready = Path(temporary)
        for name in names:
            target = ready / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name in texts:
                target.write_text(texts[name], "utf-8")
            elif os.name == "nt":  # links need a privilege there
                shutil.copyfile(folder / name, target)
            else:
                target.symlink_to((folder / name).resolve())
        yield ready


def public_text(folder: ModelFolder, name: str, names: list[str]) -> str | None:
    """What a text of these files says in public; `None` for a file that goes as it is."""
    path = folder.path / name
    if name in (PROVENANCE, RESULT):
        return dump_json(without_paths(read_json(path)))
    if name == README:
        return cut_paths(public_card(folder, names))
    if not name.startswith("report/") or path.suffix not in TEXTS:
        return None
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        lines = [
            json.dumps(without_paths(json.loads(line)), ensure_ascii=False)
            for line in text.split("\n")
            if line.strip()
        ]
        return "".join(f"{line}\n" for line in lines)
    return cut_paths(text)


def remove_staged() -> None:
    """Remove what killed uploads of this user left in the folder for temporary files."""
    pattern = re.compile(rf"{STAGING}(\d+)-{re.escape(HOST)}-\w+")
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as there:
        for entry in there:
            match = pattern.fullmatch(entry.name)
            if not match or not dead(int(match[1])) or not entry.is_dir(follow_symlinks=False):
                continue
            if os.name == "nt" or entry.stat(follow_symlinks=False).st_uid == os.getuid():
                shutil.rmtree(entry.path, ignore_errors=True)


def subject(folder: ModelFolder) -> str:
    """Return the default commit subject: what the model is."""
    plan = folder.provenance.get("plan")
    source = plan.get("source") if isinstance(plan, dict) else None
    words = f"Upload {folder.family} model"
    return f"{words}, {source}" if source else words
