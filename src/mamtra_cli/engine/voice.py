"""A voice as a small safetensors file: a speaker vector and, for a copied voice, its prompt.

A model folder keeps its voices in `voices/<name>.safetensors`; a path to such a file works
everywhere a name does. Tensors: `embedding` (speaker_dim,) float32, and all or none of
`prompt_tokens` (P,) integers, `prompt_mel` (F, mel) float32 and `prompt_text_ids` (N,)
integers. Knows files and shapes, not how a voice is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mamtra_cli.config import nearest
from mamtra_cli.errors import CheckpointError, ModelNotFoundError

FOLDER = "voices"
SUFFIX = ".safetensors"
PROMPT = ("prompt_tokens", "prompt_mel", "prompt_text_ids")


@dataclass(frozen=True, kw_only=True)
class Voice:
    """A speaker, and what was said in the clip it was copied from, if it was.

    embedding: (speaker_dim,) float32; prompt_tokens: (P,) long; prompt_mel: (F, mel) float32;
    prompt_text_ids: (N,) long. P, F and N are 0 for a voice without a prompt.
    """

    name: str
    embedding: Tensor
    prompt_tokens: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    prompt_mel: Tensor = field(default_factory=lambda: torch.zeros(0, 80))
    prompt_text_ids: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.embedding.ndim != 1:
            raise ValueError(f"embedding must be (speaker_dim,), got {tuple(self.embedding.shape)}")
        if self.prompt_mel.ndim != 2:
            raise ValueError(f"prompt_mel must be (F, mel), got {tuple(self.prompt_mel.shape)}")
        if self.prompt_tokens.ndim != 1 or self.prompt_text_ids.ndim != 1:
            raise ValueError("prompt_tokens and prompt_text_ids must have one axis")


def list_voices(folder: Path) -> list[str]:
    """Name the voices of a model folder in order."""
    return sorted(path.name.removesuffix(SUFFIX) for path in (folder / FOLDER).glob(f"*{SUFFIX}"))


def find_voice(folder: Path, name: str = "") -> Voice:
    """Load a voice of a model folder.

    Args:
        folder: the model folder.
        name: a voice of the model, a path to a voice file, or "" for the first voice.
    """
    names = list_voices(folder)
    if not name:
        if not names:
            raise ModelNotFoundError(
                f"model `{folder.name}` has no voices",
                hint="give a voice file, `--voice FILE.safetensors`",
            )
        name = names[0]
    if name in names:
        return load_voice(folder / FOLDER / f"{name}{SUFFIX}")
    path = Path(name)
    if path.suffix == SUFFIX:
        if not path.is_file():
            raise ModelNotFoundError(f"no voice file `{name}`")
        return load_voice(path)
    near = nearest(name, names)
    known = ", ".join(names) or "none"
    raise ModelNotFoundError(
        f"model `{folder.name}` has no voice `{name}`",
        hint=f"did you mean `{near}`? voices: {known}" if near else f"voices: {known}",
    )


def load_voice(path: Path) -> Voice:
    """Read a voice file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"voice file `{path}` cannot be read: {error}") from error
    unknown = tensors.keys() - {"embedding", *PROMPT}
    given = [name for name in PROMPT if name in tensors]
    if "embedding" not in tensors or unknown or len(given) not in (0, len(PROMPT)):
        raise CheckpointError(
            f"voice file `{path}` holds {', '.join(sorted(tensors)) or 'nothing'}",
            hint=f"a voice has `embedding`, and all or none of {', '.join(PROMPT)}",
        )
    parts = {"embedding": tensors["embedding"].float()}
    if given:
        parts["prompt_tokens"] = tensors["prompt_tokens"].long()
        parts["prompt_text_ids"] = tensors["prompt_text_ids"].long()
        parts["prompt_mel"] = tensors["prompt_mel"].float()
    if not all(bool(torch.isfinite(part).all()) for part in parts.values()):
        raise CheckpointError(f"voice file `{path}` holds values that are not finite")
    try:
        return Voice(name=path.name.removesuffix(SUFFIX), metadata=metadata, **parts)
    except ValueError as error:
        raise CheckpointError(f"voice file `{path}`: {error}") from error


def save_voice(voice: Voice, path: Path) -> None:
    """Write a voice file."""
    tensors = {"embedding": voice.embedding.contiguous()}
    if len(voice.prompt_tokens):
        tensors |= {name: getattr(voice, name).contiguous() for name in PROMPT}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, dict(voice.metadata))
