"""Which families there are; a family's code is imported only when it is asked for.

Built-in families are one line each: a package with `FAMILY` in its `family.py`, and in its
`repository.py`, which imports no torch, the `REPOSITORIES` where its authors publish models. Other
packages add theirs through the entry point groups `mamtra.families` (name =
"package.module:FAMILY") and, where they have any, `mamtra.repositories` (name =
"package.repository:REPOSITORIES").
"""

import os
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mamtra_cli import hub
from mamtra_cli.config import from_dict, nearest
from mamtra_cli.errors import CheckpointError, ModelNotFoundError, UsageError
from mamtra_cli.events import Report, ignore

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from mamtra_cli.families.base import Family
    from mamtra_cli.families.folder import Model
    from mamtra_cli.families.light import LightFamily

GROUP = "mamtra.families"
REPOSITORY_GROUP = "mamtra.repositories"
BUILT_IN = {
    "cosyvoice2": "mamtra_cli.families.cosyvoice2",
    "mvc": "mamtra_cli.families.mvc",
    "zonos": "mamtra_cli.families.zonos",
}


def names() -> tuple[str, ...]:
    """Every family's name; built-in ones first."""
    return tuple(dict.fromkeys([*BUILT_IN, *_plugins()]))


@cache
def family(name: str) -> "Family":
    """The family of that name.

    Raises:
        CheckpointError: there is none, or a plugin does not load.
    """
    if name in BUILT_IN:
        return cast("Family", import_module(f"{BUILT_IN[name]}.family").FAMILY)
    plugin = _plugins().get(name)
    if plugin is None:
        near = nearest(name, names())
        known = f"known: {', '.join(names())}"
        raise CheckpointError(
            f"no model family `{name}`", f"did you mean `{near}`?" if near else known
        )
    return cast("Family", _loaded(name, plugin))


def light_family(name: str) -> "LightFamily | None":
    """What the family of that name brings to speak without torch; `None` for nothing."""
    package = BUILT_IN.get(name)
    if package is None or find_spec(f"{package}.light") is None:
        return None
    return cast("LightFamily", import_module(f"{package}.light").LIGHT)


def repositories() -> tuple[hub.Repository, ...]:
    """Where the families' authors publish their models; no family's code is imported.

    Raises:
        CheckpointError: a plugin's list does not load.
    """
    known: list[hub.Repository] = []
    for package in BUILT_IN.values():
        known += import_module(f"{package}.repository").REPOSITORIES
    for name, plugin in _plugins(REPOSITORY_GROUP).items():
        known += _loaded(name, plugin)
    return tuple(known)


def locate(name: str, *, configs_only: bool = False, report: Report = ignore) -> hub.Located:
    """Find a model by any name that a family knows; see `hub.locate`."""
    here = name in hub.BUILT_IN or os.path.isdir(name)
    known = () if here else repositories()
    return hub.locate(name, known, configs_only=configs_only, report=report)


def open_model(folder: Path, *, configs_only: bool = False, files: Sequence[str] = ()) -> "Model":
    """Find out what a folder holds: our format, or one that a family recognises.

    Args:
        folder: the folder.
        configs_only: accept a published folder whose weights were not fetched.
        files: `NAME=FILE`, a part of a published folder and another file of it.

    Raises:
        ModelNotFoundError: there is no such folder, or no family knows it.
        CheckpointError: the folder is of a known kind but incomplete or damaged.
        UsageError: `files` names no part or no file of it.
    """
    from mamtra_cli.checkpoint import CONFIG, read_json, read_model_folder
    from mamtra_cli.families.folder import Model, OwnSource, PublishedSource, with_files

    if not folder.is_dir():
        raise ModelNotFoundError(f"there is no model folder `{folder}`")
    # Published folders may have a `config.json` too; ours carries a format number.
    if (folder / CONFIG).is_file() and "format_version" in read_json(folder / CONFIG):
        source = read_model_folder(folder)
        owner = family(source.family)
        try:
            config = from_dict(owner.config_class, source.config, f"{folder.name}/{CONFIG}")
        except UsageError as error:
            raise CheckpointError(error.message, error.hint) from error
        if files:
            raise UsageError(
                f"`--part` chooses files of a published folder; `{folder}` is none",
                "convert the published folder with it",
            )
        own = OwnSource(folder=source)
        return checked(Model(family=owner, folder=folder, config=config, source=own))
    for name in names():
        owner = family(name)
        upstream = owner.upstream(folder, configs_only=configs_only)
        if upstream is not None:
            upstream = with_files(upstream, folder, files)
            published = PublishedSource(family=owner, upstream=upstream)
            model = Model(family=owner, folder=folder, config=upstream.config, source=published)
            return checked(model)
    raise ModelNotFoundError(
        f"`{folder}` is no model folder",
        f"it has neither a mamtra {CONFIG} nor the files of a known family ({', '.join(names())})",
    )


def checked(model: "Model") -> "Model":
    """Return a model whose sizes go together.

    Raises:
        CheckpointError: they do not: what follows from them cannot be computed.
    """
    try:
        _ = model.facts
    except (UsageError, ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise CheckpointError(
            f"the sizes in `{model.folder}` do not go together: {error}",
            "fetch or make the folder again",
        ) from error
    return model


def _plugins(group: str = GROUP) -> dict[str, "EntryPoint"]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=group)}


def _loaded(name: str, plugin: "EntryPoint") -> Any:
    try:
        return plugin.load()
    except Exception as error:
        raise CheckpointError(
            f"family `{name}` does not load from `{plugin.value}`: {error}",
            "update or remove the package that brings it",
        ) from error
