"""Small Zonos folders: published ones around the golden weights, for whatever reads a folder."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from mamtra_cli.codecs.dac.config import DacConfig
from mamtra_cli.codecs.dac.model import Dac
from mamtra_cli.families.zonos.config import SpeakerConfig
from mamtra_cli.families.zonos.speaker_encoder import SpeakerEncoder
from mamtra_cli.families.zonos.weights import ENCODER_FILE, LDA_FILE

CODEC = DacConfig(
    sample_rate=8000, encoder_width=4, decoder_width=32, latent=8, strides=(2, 4), code_dim=4
)
SPEAKER = SpeakerConfig(width=2, blocks=(1, 1, 1, 1), bottleneck=4, dim=16)


def published_folder(goldens: Path, kind: str, folder: Path) -> Path:
    """Write a published folder `transformer` or `hybrid` whose parts are small.

    Args:
        goldens: reference data.
        kind: which checkpoint.
        folder: where to; made.
    """
    stored = goldens / "zonos"
    for name in ("codec", "speaker"):
        (folder / name).mkdir(parents=True)
    told = json.loads((stored / f"tiny_{kind}.json").read_text("utf-8"))
    told["speaker_encoder"] = asdict(SPEAKER)
    (folder / "config.json").write_text(json.dumps(told), "utf-8")
    shutil.copyfile(stored / f"tiny_{kind}_weights.safetensors", folder / "model.safetensors")
    torch.manual_seed(0)
    save_file(Dac(CODEC).state_dict(), folder / "codec" / "model.safetensors")
    codec = {
        "sampling_rate": CODEC.sample_rate,
        "encoder_hidden_size": CODEC.encoder_width,
        "decoder_hidden_size": CODEC.decoder_width,
        "downsampling_ratios": list(CODEC.strides),
        "hidden_size": CODEC.latent,
        "codebook_dim": CODEC.code_dim,
    }
    (folder / "codec" / "config.json").write_text(json.dumps(codec), "utf-8")
    state = SpeakerEncoder(SPEAKER).state_dict()
    lda = {name.removeprefix("lda."): v for name, v in state.items() if name.startswith("lda.")}
    encoder = {name: value for name, value in state.items() if not name.startswith("lda.")}
    torch.save(encoder, folder / "speaker" / ENCODER_FILE)
    torch.save(lda, folder / "speaker" / LDA_FILE)
    return folder
