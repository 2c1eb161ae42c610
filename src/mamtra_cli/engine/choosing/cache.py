"""Measured layer choices on disk, so that asking the same question twice costs a hash.

A choice depends on the teacher's weights, the request, the mixers and the speech; the file's name
is a hash over all of them. Files are written under another name and renamed. A file that cannot
be read is told of and measured again; a folder that cannot be written costs the next run time,
nothing else.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mamtra_cli.config import from_dict, parse_json, read_small, to_dict
from mamtra_cli.errors import MamtraError
from mamtra_cli.events import Note, Report, ignore
from mamtra_cli.recipes.selection import LayerSelection
from mamtra_cli.user_folders import cache_folder

VERSION = 1  # of the way scores are computed; an older file is not asked
FOLDER = "layer-selection"


def weights_hash(module: nn.Module) -> str:
    """SHA-256 over names, types, shapes and values of a module's tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        flat = value.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def key_of(facts: Mapping[str, Any]) -> str:
    """The name of a question: SHA-256 over what its answer depends on."""
    text = json.dumps({"version": VERSION, **to_dict(facts)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def load(key: str, report: Report = ignore) -> LayerSelection | None:
    """Read an earlier answer, if there is one."""
    path = cache_folder(FOLDER) / f"{key}.json"
    try:
        data = parse_json(read_small(path))
        return replace(from_dict(LayerSelection, data, str(path)), cached=True)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError, MamtraError) as error:
        text = f"cached layer scores `{path}` cannot be read ({error}); measuring again"
        report(Note(text=text, warning=True))
        return None


def save(key: str, selection: LayerSelection, report: Report = ignore) -> None:
    """Keep an answer; readers see the whole file or none."""
    folder = cache_folder(FOLDER)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".", suffix=".json", dir=folder)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(to_dict(selection), file)
            os.replace(name, folder / f"{key}.json")
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        text = f"layer scores are not cached: {error}"
        report(Note(text=text, warning=True))
