"""The speakers of a published folder: `spk2info.pt`, a table of names to what the model hears.

A preset speaker is an `embedding`. One that the official program saved from a clip
(`add_zero_shot_spk` and `save_spkinfo` of FunAudioLLM/CosyVoice, cosyvoice/cli/cosyvoice.py) has
`flow_embedding`, the tokens and mel of the clip and the ids of its transcript, each with a first
axis of 1. Read without running code.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mamtra_cli.errors import CheckpointError
from mamtra_cli.pt_file import load_pt
from mamtra_cli.voices.voice import FOLDER, SUFFIX, Voice, list_voices

TABLE = "spk2info.pt"
EMBEDDINGS = ("embedding", "flow_embedding", "llm_embedding")
TOKENS = ("flow_prompt_speech_token", "llm_prompt_speech_token")
MEL, TEXT = "prompt_speech_feat", "prompt_text"


def read_table(folder: Path) -> dict[str, Voice]:
    """Return the speakers of a published folder by name; none where it has no table.

    Raises:
        CheckpointError: the table is damaged, holds code, or a speaker is not understood.
    """
    path = folder / TABLE
    if not path.is_file():
        return {}
    data = load_pt(path)
    if not isinstance(data, dict) or not all(isinstance(one, dict) for one in data.values()):
        raise CheckpointError(f"`{path}` is no table of speakers", "download the file again")
    return {str(name): read_speaker(str(name), facts, path) for name, facts in data.items()}


def all_names(folder: Path) -> list[str]:
    """Names of the voice files of a model folder, then of the speakers of its table."""
    return list(dict.fromkeys([*list_voices(folder), *read_table(folder)]))


def file_name(name: str) -> str:
    """The name of the voice file that a speaker of a table becomes."""
    plain = re.sub(r"[^\w.-]+", "-", name).lstrip("-._")[:64].rstrip("-.")
    return f"{FOLDER}/{plain or 'speaker'}{SUFFIX}"


def read_speaker(name: str, facts: Mapping[str, object], path: Path) -> Voice:
    """Return one speaker of a table."""

    def find(names: tuple[str, ...]) -> Tensor | None:
        found = (facts.get(key) for key in names)
        return next((value for value in found if isinstance(value, Tensor)), None)

    embedding, tokens = find(EMBEDDINGS), find(TOKENS)
    mel, text = find((MEL,)), find((TEXT,))
    if embedding is None:
        raise CheckpointError(f"speaker `{name}` of `{path}` has no `embedding`")
    parts: dict[str, Any] = {"embedding": embedding.reshape(-1).float()}
    if tokens is not None and mel is not None and tokens.numel():
        parts["prompt_tokens"] = tokens.reshape(-1).long()
        parts["prompt_mel"] = mel.reshape(-1, mel.shape[-1]).float()
        if text is not None:
            parts["prompt_text_ids"] = text.reshape(-1).long()
    for part in parts.values():
        if not bool(torch.isfinite(part).all()):
            raise CheckpointError(f"speaker `{name}` of `{path}` holds values that are not finite")
    return Voice(name=name, **parts)
