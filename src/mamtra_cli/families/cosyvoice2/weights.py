"""Published tensor names to ours and back, and the projections of each attention layer.

Our names are the published ones but for two things: the text head is dropped (it shares its
numbers with the text table and nothing reads it), and the vocoder's weight norm is folded into
plain weights. Knows names and tensors, no modules. Names after FunAudioLLM/CosyVoice2-0.5B.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mamtra_cli.errors import CheckpointError
from mamtra_cli.families.base import AttentionSite
from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.hift import fold_weight_norm
from mamtra_cli.tensors import load_pt_weights

FILES = {"lm": "llm.pt", "flow": "flow.pt", "hift": "hift.pt"}
TEXT_TABLE = "llm.model.model.embed_tokens.weight"
TEXT_HEAD = "llm.model.lm_head.weight"
LAYER = "llm.model.model.layers.{}."
COUNTERS = ("epoch", "step")
"""Entries that the training script adds to a state dict; `step` may be a tensor."""
PLAIN_CONVS = "source_downs."
"""Convolutions of the vocoder that have no weight norm."""


def read_published(path: Path) -> dict[str, Tensor]:
    """Tensors of a published `.pt` file; no code in it is ever run.

    Raises:
        CheckpointError: the file is missing, damaged, holds code or no tensors.
    """
    tensors = {name: t for name, t in load_pt_weights(path).items() if name not in COUNTERS}
    if not tensors:
        raise CheckpointError(f"`{path.name}` holds no tensors", "download the file again")
    return tensors


def to_ours(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Published tensors of `lm`, `flow` or `hift` under our names; nothing is copied needlessly."""
    if part == "hift":
        return fold_weight_norm(tensors)
    return {name: value for name, value in tensors.items() if (part, name) != ("lm", TEXT_HEAD)}


def to_published(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the published names, with the text head and the weight norm restored.

    A hybrid's new layers keep their names, which no published model has.
    """
    if part == "lm" and TEXT_TABLE in tensors:
        return {**tensors, TEXT_HEAD: tensors[TEXT_TABLE]}
    if part != "hift":
        return dict(tensors)
    published: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.endswith(".weight") and value.dim() == 3 and not name.startswith(PLAIN_CONVS):
            stem = f"{name.removesuffix('weight')}parametrizations.weight.original"
            published[f"{stem}0"] = torch.linalg.vector_norm(value, dim=(1, 2), keepdim=True)
            published[f"{stem}1"] = value
        else:
            published[name] = value
    return published


def attention_sites(config: LMConfig) -> tuple[AttentionSite, ...]:
    """The attention layers of the stack, in order."""
    sites = []
    for layer, kind in enumerate(config.hybrid.layer_kinds):
        if kind == "T":
            prefix = LAYER.format(layer)
            stems = {name: f"{prefix}self_attn.{name}_proj" for name in "qkvo"}
            sites.append(AttentionSite(layer=layer, prefix=prefix, mixer=f"{prefix}mixer", **stems))
    return tuple(sites)
