"""A small conditioner whose every weight is away from its starting value."""

import torch

from mamtra_cli.families.mvc.conditioner import Conditioner
from mamtra_cli.families.mvc.config import ConditionerConfig

SIZES = {
    "symbols": 21,
    "width": 32,
    "state": 8,
    "text_layers": 3,
    "rhythm_layers": 2,
    "prosody_layers": 2,
    "style_width": 12,
    "style_channels": 16,
    "mel_bins": 10,
}


def tiny_conditioner(dtype: torch.dtype = torch.float64, **changes: object) -> Conditioner:
    """Random weights, the same at every call."""
    torch.manual_seed(0)
    model = Conditioner(ConditionerConfig(**{**SIZES, **changes}))  # type: ignore[arg-type]
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.to(dtype).eval().requires_grad_(False)
