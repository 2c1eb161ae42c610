"""The state of a language model as named tensors and plain data, so that a file can hold it.

Only columns in use are kept. Knows layer states, not models.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mamtra_cli.errors import CheckpointError
from mamtra_cli.layers.state import STATES, HybridState, LayerState


def pack_state(state: HybridState) -> tuple[dict[str, Tensor], list[list[Any]]]:
    """Return tensors by name, and [kind, length, seen] of each layer."""
    tensors = {"position": torch.as_tensor(state.position).cpu().reshape(-1)}
    layers: list[list[Any]] = []
    for number, layer in enumerate(state.layers):
        name = f"{number}."
        parts, length = layer.parts()
        layers.append([layer.tag, length, layer.seen])
        # A clone: what is sliced would drag its whole cache into the file.
        for key, part in parts.items():
            tensors[name + key] = part.detach().cpu().clone(memory_format=torch.contiguous_format)
    return tensors, layers


def unpack_state(tensors: Mapping[str, Tensor], layers: list[list[Any]]) -> HybridState:
    """The inverse of `pack_state`."""
    found: list[LayerState] = []
    try:
        for number, (kind, length, seen) in enumerate(layers):
            name = f"{number}."
            parts = {
                key.removeprefix(name): value
                for key, value in tensors.items()
                if key.startswith(name)
            }
            found.append(STATES[kind].of_parts(parts, int(length), int(seen)))
        position = tensors["position"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"a kept language-model state is damaged: {error}") from error
    return HybridState(layers=tuple(found), position=position)
