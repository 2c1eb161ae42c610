"""The user's voices: a folder of voice files, one a name; and whether a voice fits a model.

The folder is `--voices DIR`, else `voices` in `MAMTRA_HOME`, else in the user's data folder of
this system. Knows names, files and hashes; tensors only as shapes.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mamtra_cli.config import nearest, reason
from mamtra_cli.errors import (
    CheckpointError,
    MamtraError,
    ModelNotFoundError,
    OutputError,
    UsageError,
)
from mamtra_cli.tensor_header import read_header
from mamtra_cli.user_folders import data_folder
from mamtra_cli.voices.voice import (
    FOLDER,
    SUFFIX,
    Voice,
    names_in,
    own_mode,
    read_metadata,
    save_voice,
)

if TYPE_CHECKING:
    from mamtra_cli.recipes.voice import VoiceEntry

NAME = re.compile(r"[^\W_][\w.-]{0,63}")
MADE_BY = {
    "speech_tokenizer": ("speech tokenizer", "prompt_tokens"),
    "speaker_encoder": ("speaker encoder", "embedding"),
    "front_end": ("text front end", "prompt_text_ids"),
}


def library_folder(given: Path | None = None) -> Path:
    """The folder of the user's voices; it may not exist yet."""
    return data_folder(FOLDER) if given is None else given


def check_name(name: str) -> str:
    """Return a name that a voice may have.

    Raises:
        UsageError: it is none: empty, a path, or of other characters.
    """
    if not name:
        raise UsageError("no voice is named", "`mamtra voice list` names yours")
    if NAME.fullmatch(name) is None or name.endswith((".", SUFFIX)):
        raise UsageError(
            f"`{name}` cannot name a voice",
            "use letters, digits, `-`, `_` and `.`, a letter or digit first, at most 64 in all",
        )
    return name


def voice_path(library: Path, name: str) -> Path:
    """Where a voice of that name is or would be."""
    return library / f"{check_name(name)}{SUFFIX}"


def check_free(library: Path, name: str, *, force: bool) -> Path:
    """Return the path of a voice that may be written."""
    path = voice_path(library, name)
    if path.exists() and not force:
        raise OutputError(
            f"you have a voice `{name}` already",
            f"choose another name, or add `--force`; mamtra voice show {name}",
        )
    _check_own(path)
    return path


def _check_own(path: Path) -> None:
    """Refuse to delete or replace what is there and no voice.

    Raises:
        OutputError: the file holds something else, or cannot be read.
    """
    if not path.exists():
        return
    try:
        describe(path)
    except (MamtraError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise OutputError(
            f"`{path}` is no voice that can be read, and may be yours",
            "look at it, and delete it yourself",
        ) from error


def store(voice: Voice, library: Path, *, force: bool = False) -> Path:
    """Write a voice into a library and return its path."""
    path = check_free(library, voice.name, force=force)
    save_voice(voice, path, replace=force)
    return path


def entries(library: Path) -> tuple[list["VoiceEntry"], list[str]]:
    """Describe the voices of a library, and tell which files cannot be read."""
    good, bad = [], []
    for name in names_in(library):
        try:
            good.append(describe(library / f"{name}{SUFFIX}"))
        except MamtraError as error:
            bad.append(error.message)
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            bad.append(f"`{library / name}{SUFFIX}` is damaged: {error}")
    return good, bad


def describe(path: Path) -> "VoiceEntry":
    """What a voice file holds, by its header alone."""
    from mamtra_cli.recipes.voice import VoiceEntry

    header = read_header(path)
    facts, _ = read_metadata(header.get("__metadata__") or {}, path)
    if "embedding" not in header:
        raise CheckpointError(f"`{path}` is no voice file", "a voice has `embedding`")

    def count(name: str) -> int:
        return int(header[name]["shape"][0]) if name in header else 0

    tokens = count("prompt_tokens")
    return VoiceEntry(
        name=path.name.removesuffix(SUFFIX),
        path=str(path),
        bytes=path.stat().st_size,
        mode=own_mode(tokens, count("prompt_text_ids")),
        prompt_tokens=tokens,
        facts=facts,
    )


def find_file(library: Path, name: str) -> Path:
    """The file of a voice of a library, or the voice file that a path names.

    Raises:
        ModelNotFoundError: there is none.
    """
    if name.endswith(SUFFIX):
        if not Path(name).is_file():
            raise ModelNotFoundError(f"no voice file `{name}`")
        return Path(name)
    path = voice_path(library, name)
    if path.is_file():
        return path
    names = names_in(library)
    near = nearest(name, names)
    hint = f"did you mean `{near}`?" if near else f"your voices: {', '.join(names) or 'none'}"
    raise ModelNotFoundError(f"you have no voice `{name}` in `{library}`", hint)


def remove(library: Path, name: str) -> Path:
    """Delete a voice of a library and return the path it had."""
    check_name(name)
    path = find_file(library, name)
    _check_own(path)
    try:
        path.unlink()
    except OSError as error:
        raise OutputError(f"cannot delete `{path}`: {reason(error)}") from error
    return path


def check_width(voice: Voice, wanted: int) -> None:
    """Refuse a voice whose vector has not so many numbers.

    Raises:
        CheckpointError: it has more or fewer.
    """
    if len(voice.embedding) != wanted:
        raise CheckpointError(
            f"voice `{voice.name}` has {len(voice.embedding)} numbers, not {wanted}",
            "it belongs to another model",
        )


def check_fit(voice: Voice, fingerprint: Callable[[str], str]) -> None:
    """Refuse a voice whose tensors another tokenizer, encoder or front end made.

    A model that lacks the file in question (a voice can speak without it) cannot be compared.

    Args:
        voice: made from a clip, or not: then nothing is known and nothing refused.
        fingerprint: hash of a part of the model that is to speak; "" where it is not there.

    Raises:
        CheckpointError: it was made for another model; the message names the parts.
    """
    facts = voice.facts
    if facts is None:
        return
    other = []
    for part, (words, tensor) in MADE_BY.items():
        made, here = getattr(facts, part), fingerprint(part)
        if len(getattr(voice, tensor)) and made and here and made != here:
            other.append(f"{words} {made[:8]}, not {here[:8]}")
    if other:
        raise CheckpointError(
            f"voice `{voice.name}` was made with another model (`{facts.model}`): "
            + "; ".join(other),
            f"make it again: mamtra voice add {voice.name} clip.wav --text ... --model MODEL "
            "--consent ... --force",
        )
