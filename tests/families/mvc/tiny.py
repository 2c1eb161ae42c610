"""A small conditioner whose every weight is away from its starting value, alone and as a folder."""

from pathlib import Path

import torch
from tests.tiny_model import FRONT_END, SYMBOLS, write_tiny_model

from mamtra_cli.checkpoint import FolderWriter, Shared, read_model_folder, sha256
from mamtra_cli.codecs.flow_hift.config import SpeakerEncoderConfig
from mamtra_cli.config import from_dict, to_dict
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config
from mamtra_cli.families.mvc.conditioner import Conditioner
from mamtra_cli.families.mvc.config import ConditionerConfig, MVCConfig

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


def write_tiny_mvc(root: Path, *, source_filter: bool = True) -> Path:
    """A folder `mvc` that shares flow, vocoder, encoder and front end with `tiny` beside it.

    Args:
        root: of both folders.
        source_filter: the vocoder; else HiFT.
    """
    base = write_tiny_model(root / "tiny", copies=True, source_filter=source_filter)
    sizes = from_dict(CosyVoice2Config, read_model_folder(base).config, "tiny")
    model = tiny_conditioner(torch.float32, symbols=SYMBOLS, mel_bins=80)
    model.duration.bias.data += 2.5  # phones of some frames
    config = MVCConfig(
        conditioner=model.config,
        flow=sizes.flow,
        hift=sizes.hift,
        source_filter=sizes.source_filter,
        speaker_encoder=SpeakerEncoderConfig(width=8, layers=1),
    )
    parts = [f"{part}.safetensors" for part in ("flow", config.vocoder_part, "speaker_encoder")]
    files = {name: sha256(base / name) for name in (*parts, *FRONT_END)}
    with FolderWriter(root / "mvc") as writer:
        writer.write_tensors("conditioner.safetensors", model.state_dict().items())
        writer.write_config("mvc", to_dict(config), Shared(model="tiny", files=files))
        writer.write_text("README.md", "---\nlicense: apache-2.0\n---\n")
        generator = torch.Generator().manual_seed(0)
        for voice in ("ann", "bob"):
            embedding = torch.randn(config.voice_dim, generator=generator)
            writer.write_tensors(f"voices/{voice}.safetensors", [("embedding", embedding)])
    return root / "mvc"
