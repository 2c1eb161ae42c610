"""A voice as a small safetensors file: a speaker vector and, for a copied voice, its prompt.

A model folder keeps its voices in `voices/<name>.safetensors`, a user his own in a folder of
theirs (library.py); a path to such a file works everywhere a name does. Tensors:
`embedding` (speaker_dim,) float32, and all or none of `prompt_tokens` (P,) integers, `prompt_mel`
(F, mel) float32 and `prompt_text_ids` (N,) integers, N = 0 where no transcript was given; a
language model's state after the transcript may follow as `state.*`. Metadata of a voice made
from a clip: `format_version` and `voice`, JSON of `VoiceFacts`. Knows files and shapes, not how
a voice is made.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open

from mamtra_cli.config import from_dict, nearest, parse_json, to_dict
from mamtra_cli.errors import (
    CheckpointError,
    FormatVersionError,
    ModelNotFoundError,
    UsageError,
)
from mamtra_cli.publish import output_errors, written_whole
from mamtra_cli.recipes.voice_facts import VoiceFacts
from mamtra_cli.tensor_header import read_header

if TYPE_CHECKING:
    from torch import Tensor

    from mamtra_cli.layers.state import HybridState

FOLDER = "voices"
SUFFIX = ".safetensors"
FORMAT_VERSION = 1
PREFIX = "state."  # of the tensors of a kept state
PROMPT = ("prompt_tokens", "prompt_mel", "prompt_text_ids")

Mode = Literal["zero-shot", "cross-lingual", "instruct", "speaker"]


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How a voice is asked to speak.

    Attributes:
        mode: `zero-shot` goes on from transcript and tokens of the clip; `cross-lingual` shows the
            language model neither; `instruct` shows it an instruction in their place; `speaker`
            uses the vector alone. `None` is the richest that the voice allows.
        instruction: ids of the instruction, as the model's front end made them.
        told: `NAME=VALUE` words that the family reads, and nobody else.
    """

    mode: Mode | None = None
    instruction: tuple[int, ...] = ()
    told: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A speaker, and what was said in the clip it was copied from, if it was.

    embedding: (speaker_dim,) float32, or (0,) for a voice of the model's choice; prompt_tokens:
    (P,) long, (P, K) where frames have K ids; prompt_mel: (F, mel) float32; prompt_text_ids: (N,)
    long. P, F and N are 0 for a voice without a prompt. facts: what its file says of it; state: of
    the language model that `facts` names, after the transcript. Where there is no torch, arrays
    take the place of tensors, and no state is read.
    """

    name: str
    embedding: "Tensor"
    prompt_tokens: "Tensor" = field(default_factory=lambda: _none("long", 0))
    prompt_mel: "Tensor" = field(default_factory=lambda: _none("float32", 0, 80))
    prompt_text_ids: "Tensor" = field(default_factory=lambda: _none("long", 0))
    facts: VoiceFacts | None = None
    state: "HybridState | None" = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.embedding.ndim != 1:
            raise ValueError(f"embedding must be (speaker_dim,), got {tuple(self.embedding.shape)}")
        if self.prompt_mel.ndim != 2:
            raise ValueError(f"prompt_mel must be (F, mel), got {tuple(self.prompt_mel.shape)}")
        if self.prompt_tokens.ndim not in (1, 2) or self.prompt_text_ids.ndim != 1:
            raise ValueError("prompt_tokens have one axis or two, prompt_text_ids one")
        if len(self.prompt_text_ids) and not len(self.prompt_tokens):
            raise ValueError("prompt_text_ids are given without prompt_tokens")

    @property
    def mode(self) -> Mode:
        """How this voice speaks unless it is told otherwise."""
        return own_mode(len(self.prompt_tokens), len(self.prompt_text_ids))

    def asked(self, manner: Manner) -> Mode:
        """The mode of a manner, checked against what the voice has.

        Raises:
            UsageError: the voice lacks what the mode needs.
        """
        mode = manner.mode or self.mode
        if mode == "zero-shot" and self.mode != "zero-shot":
            lacking = "transcript" if self.mode == "cross-lingual" else "clip"
            raise UsageError(
                f"voice `{self.name}` has no {lacking}, so it cannot speak zero-shot",
                "make it again: mamtra voice add NAME clip.wav --text ...",
            )
        if mode == "cross-lingual" and self.mode == "speaker":
            raise UsageError(
                f"voice `{self.name}` has no clip, so it has no cross-lingual mode",
                "leave out `--cross-lingual`: this voice never shows a prompt",
            )
        return mode

    def heard(self, manner: Manner) -> tuple[list[int], list[int]]:
        """Text ids and speech tokens that the language model reads before and around the text."""
        mode = self.asked(manner)
        if mode == "instruct":
            return list(manner.instruction), []
        if mode == "zero-shot":
            return self.prompt_text_ids.tolist(), self.prompt_tokens.tolist()
        return [], []

    def seen(self, manner: Manner) -> "Voice":
        """The voice as the flow meets it: without its clip in the `speaker` mode."""
        if self.asked(manner) != "speaker":
            return self
        return Voice(
            name=self.name,
            embedding=self.embedding,
            prompt_tokens=self.prompt_tokens[:0],
            prompt_mel=self.prompt_mel[:0],
            prompt_text_ids=self.prompt_text_ids[:0],
            facts=self.facts,
        )


def _none(kind: str, *shape: int) -> "Tensor":
    import torch

    return torch.zeros(shape, dtype=getattr(torch, kind))


def own_mode(tokens: int, text: int) -> Mode:
    """The richest mode of a voice with so many prompt tokens and text ids."""
    if not tokens:
        return "speaker"
    return "zero-shot" if text else "cross-lingual"


def list_voices(folder: Path) -> list[str]:
    """Name the voices of a model folder in order."""
    return names_in(folder / FOLDER)


def names_in(folder: Path) -> list[str]:
    """Name the voice files of a folder in order."""
    return sorted(path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}"))


def find_voice(
    folder: Path,
    name: str = "",
    library: Path | None = None,
    others: Sequence[str] = (),
    *,
    arrays: bool = False,
) -> Voice:
    """Load a voice.

    Args:
        folder: the model folder.
        name: a voice of the model or of the library, a path to a voice file, or "" for the
            model's first voice.
        library: a folder of voice files that is looked through after the model's.
        others: further names that exist, for the message where this one does not.
        arrays: see `load_voice`.
    """
    names = list_voices(folder)
    own = [] if library is None else names_in(library)
    if not name:
        if not names:
            raise ModelNotFoundError(
                f"model `{folder.name}` has no voices",
                hint=f"choose one of yours: `--voice {own[0]}`"
                if own
                else "make one: mamtra voice add NAME clip.wav --text ..., or give a voice file, "
                "`--voice FILE.safetensors`",
            )
        name = names[0]
    if name in names:
        return load_voice(folder / FOLDER / f"{name}{SUFFIX}", arrays=arrays)
    if library is not None and name in own:
        return load_voice(library / f"{name}{SUFFIX}", arrays=arrays)
    path = Path(name)
    if path.suffix == SUFFIX:
        if not path.is_file():
            raise ModelNotFoundError(f"no voice file `{name}`")
        return load_voice(path, arrays=arrays)
    if path.is_file():
        raise ModelNotFoundError(
            f"`{name}` is no voice file", f"to speak as a recording does: `--clip {name}`"
        )
    known = list(dict.fromkeys([*names, *others, *own]))
    near = nearest(name, known)
    listed = ", ".join(known) or "none"
    raise ModelNotFoundError(
        f"model `{folder.name}` has no voice `{name}`" + (", nor have you" if own else ""),
        hint=f"did you mean `{near}`? voices: {listed}" if near else f"voices: {listed}",
    )


def load_voice(path: Path, *, arrays: bool = False) -> Voice:
    """Read a voice file; with `arrays` without torch, and without the state that it may keep."""
    try:
        read_header(path)  # tells what is wrong, and that it is a file at all
        with safe_open(path, framework="np" if arrays else "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"voice file `{path}` cannot be read: {error}") from error
    facts, layers = read_metadata(metadata, path)
    kept = {
        name.removeprefix(PREFIX): tensors.pop(name)
        for name in list(tensors)
        if name.startswith(PREFIX)
    }
    unknown = tensors.keys() - {"embedding", *PROMPT}
    given = [name for name in PROMPT if name in tensors]
    if "embedding" not in tensors or unknown or len(given) not in (0, len(PROMPT)):
        raise CheckpointError(
            f"voice file `{path}` holds {', '.join(sorted(tensors)) or 'nothing'}",
            hint=f"a voice has `embedding`, and all or none of {', '.join(PROMPT)}",
        )
    parts = _typed(tensors, arrays=arrays)
    if not all(bool((abs(part) < math.inf).all()) for part in (*parts.values(), *kept.values())):
        raise CheckpointError(f"voice file `{path}` holds values that are not finite")
    state = None
    if kept and not arrays:
        from mamtra_cli.voices.state import unpack_state

        state = unpack_state(kept, layers)
    name = path.name.removesuffix(SUFFIX)
    try:
        return Voice(name=name, metadata=metadata, facts=facts, state=state, **parts)
    except ValueError as error:
        raise CheckpointError(f"voice file `{path}`: {error}") from error


def _typed(tensors: Mapping[str, Any], *, arrays: bool) -> dict[str, Any]:
    """What a voice is made of in the types that it has; of arrays, nothing is left to defaults."""
    wide = ("embedding", "prompt_mel")
    if not arrays:
        return {
            name: value.float() if name in wide else value.long() for name, value in tensors.items()
        }
    none = {name: np.zeros((0, 80) if name in wide else 0) for name in PROMPT}
    return {
        name: value.astype(np.float32 if name in wide else np.int64)
        for name, value in (none | dict(tensors)).items()
    }


def read_metadata(
    metadata: Mapping[str, str], path: Path
) -> tuple[VoiceFacts | None, list[list[Any]]]:
    """What a voice file says of itself, and the layers of a state it keeps.

    Raises:
        FormatVersionError: it was written by a newer version.
        CheckpointError: it is not understood.
    """
    if "format_version" not in metadata:
        return None, []
    version = str(metadata["format_version"])
    if version.isdecimal() and int(version) > FORMAT_VERSION:
        raise FormatVersionError(
            f"voice file `{path}` was written by format {version}; this version reads up to "
            f"{FORMAT_VERSION}",
            "upgrade with `pip install -U mamtra-cli`",
        )
    try:
        if int(version) < 1:
            raise ValueError(f"format {version}")
        facts = from_dict(VoiceFacts, parse_json(metadata["voice"]), f"`{path.name}`")
        layers = parse_json(metadata.get("state", "[]"))
    except (KeyError, ValueError, TypeError, AttributeError, UsageError) as error:
        raise CheckpointError(
            f"what voice file `{path}` says of itself is not understood: {error}",
            "make the voice again",
        ) from error
    return facts, layers


def save_voice(voice: Voice, path: Path, *, replace: bool = True) -> None:
    """Write a voice file; it appears under its name only when it is whole."""
    tensors = {"embedding": voice.embedding.contiguous()}
    metadata = dict(voice.metadata)
    if len(voice.prompt_tokens):
        tensors |= {name: getattr(voice, name).contiguous() for name in PROMPT}
    if voice.facts is not None:
        metadata["format_version"] = str(FORMAT_VERSION)
        metadata["voice"] = json.dumps(to_dict(voice.facts), ensure_ascii=False)
    if voice.state is not None:
        from mamtra_cli.voices.state import pack_state

        kept, layers = pack_state(voice.state)
        tensors |= {PREFIX + name: value for name, value in kept.items()}
        metadata["state"] = json.dumps(layers)
    from safetensors.torch import save_file

    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path, replace=replace) as partial:
        save_file(tensors, partial, metadata)
