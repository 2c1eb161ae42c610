"""Reads the Zonos goldens."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from mamtra_cli.families.zonos.lm import ZonosLM
from mamtra_cli.families.zonos.published import config_of
from mamtra_cli.families.zonos.weights import to_ours

Golden = tuple[dict[str, Any], dict[str, Tensor]]


def read(goldens: Path, name: str) -> Golden:
    """The meaning and the tensors of a golden; one without a JSON means nothing but itself."""
    folder = goldens / "zonos"
    told = folder / f"{name}.json"
    info: dict[str, Any] = json.loads(told.read_text("utf-8")) if told.is_file() else {}
    return info, load_file(folder / f"{name}.safetensors")


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose name begins so, without that beginning."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def golden_lm(goldens: Path, kind: str) -> ZonosLM:
    """The complete small model `transformer` or `hybrid`, in float32."""
    _, tensors = read(goldens, f"tiny_{kind}_weights")
    told = json.loads((goldens / "zonos" / f"tiny_{kind}.json").read_text("utf-8"))
    lm = ZonosLM(config_of(told).lm)
    lm.load_state_dict({name: value.float() for name, value in to_ours(tensors).items()})
    return lm.eval()
