"""Folders of other people's models that judge speech, for transformers: local, or from the hub.

A judge must be named exactly, so each folder comes with what identifies it: the commit of its
repository, or the SHA-256 of its weights. Knows files, not models.
"""

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from mamtra_cli.checkpoint import sha256
from mamtra_cli.errors import MissingDependencyError, ModelNotFoundError
from mamtra_cli.hub import HUB_NAME
from mamtra_cli.hub_client import client, hub_errors

INSTALL = "pip install 'mamtra-cli[eval]'"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
WANTED = ["*.json", "*.txt", "model.safetensors", "model-*.safetensors"]


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A folder for transformers' `from_pretrained`, with its name and `identity`."""

    folder: Path
    name: str
    identity: str


def find_pretrained(name: str) -> Pretrained:
    """Find a folder, or fetch a repository `org/name[@revision]`.

    Raises:
        ModelNotFoundError: it is neither, or holds no weights.
        HubError: the hub refused or was out of reach.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        weights = next((path / file for file in WEIGHTS if (path / file).is_file()), None)
        if weights is None:
            raise ModelNotFoundError(
                f"`{name}` holds no weights", f"it needs one of: {', '.join(WEIGHTS)}"
            )
        return Pretrained(folder=path, name=path.name, identity=f"sha256:{sha256(weights)}")
    match = HUB_NAME.fullmatch(name)
    if match is None or name.startswith(("./", "../", "~", "/")):
        raise ModelNotFoundError(f"there is no folder `{name}`", "name a folder or org/name")
    repo, revision = match[1], match[2]
    hub = client()
    with hub_errors(repo, revision):
        files = hub.HfApi().list_repo_files(repo, revision=revision) if online() else []
        # Older repositories have pickled weights only; transformers reads them without code.
        safe = not files or any(file.endswith(".safetensors") for file in files)
        folder = Path(
            hub.snapshot_download(
                repo,
                revision=revision,
                cache_dir=os.environ.get("MAMTRA_CACHE"),
                allow_patterns=WANTED if safe else [*WANTED, "pytorch_model*.bin"],
            )
        )
    return Pretrained(folder=folder, name=repo, identity=f"revision:{folder.name}")


def import_transformers() -> Any:
    """Import transformers, quietly, or say how to get it."""
    try:
        transformers: Any = import_module("transformers")
    except ImportError:
        raise MissingDependencyError("this judge needs the package transformers", INSTALL) from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def online() -> bool:
    """Whether the hub client may use the network."""
    from huggingface_hub import constants

    return not constants.HF_HUB_OFFLINE
