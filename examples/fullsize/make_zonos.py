"""A random Zonos-v0.1 checkpoint in the published layout, full-size, for trying programs on.

    python examples/fullsize/make_zonos.py work/zonos                     # transformer, 3.3 GB
    python examples/fullsize/make_zonos.py work/zonos-hybrid --hybrid     # hybrid, 3.3 GB
    python examples/fullsize/make_zonos.py work/zonos --encoders          # + codec, speaker: 0.7 GB

Names, shapes and types are the published ones; what is said is noise. Tensors are drawn one after
the other, so memory stays small.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mamtra_cli.codecs.dac.model import Dac
from mamtra_cli.families.zonos.config import HYBRID, Condition, LMConfig, ZonosConfig
from mamtra_cli.families.zonos.lm import ZonosLM
from mamtra_cli.families.zonos.published import TYPES
from mamtra_cli.families.zonos.speaker_encoder import SpeakerEncoder
from mamtra_cli.families.zonos.weights import ENCODER_FILE, LDA_FILE, to_published
from mamtra_cli.tensors import write_file

STD = 0.02


def config_json(config: LMConfig) -> dict[str, object]:
    """The published `config.json` of these sizes."""
    hybrid = config.native is not None
    attention: dict[str, object] = {
        "causal": True,
        "num_heads": config.n_heads,
        "num_heads_kv": config.n_kv_heads,
        "rotary_emb_dim": config.head_dim,
        "qkv_proj_bias": False,
        "out_proj_bias": False,
    }
    if config.rope == "interleaved":
        attention["rotary_emb_interleaved"] = True
    return {
        "backbone": {
            "d_model": config.d_model,
            "d_intermediate": 0,
            "attn_mlp_d_intermediate": config.d_ff,
            "n_layer": config.n_layers,
            "ssm_cfg": {"layer": "Mamba2"} if hybrid else {},
            "attn_layer_idx": list(config.hybrid.plan.attention),
            "attn_cfg": attention,
            "rms_norm": False,
            "residual_in_fp32": False,
            "norm_epsilon": config.norm_eps,
        },
        "prefix_conditioner": {
            "conditioners": [condition_json(each) for each in config.conditions],
            "projection": "linear",
        },
        "eos_token_id": config.eos_id,
        "masked_token_id": config.mask_id,
    }


def condition_json(condition: Condition) -> dict[str, object]:
    """One conditioner as the published config tells it."""
    kinds = {ours: theirs for theirs, ours in TYPES.items()}
    told: dict[str, object] = {"type": kinds[condition.kind], "name": condition.name}
    if condition.learned:
        told["uncond_type"] = "learned"
    if condition.kind == "vector":
        told |= {"cond_dim": condition.width, "projection": "linear"}
    if condition.kind == "fourier":
        told["input_dim"] = condition.width
    if condition.kind in ("fourier", "integer"):
        told |= {"min_val": condition.low, "max_val": condition.high}
    return told


def drawn(name: str, shape: torch.Size, draw: torch.Generator) -> Tensor:
    """Random numbers of the size that a trained tensor of this name has."""
    if name.endswith(("norm.weight", "norm2.weight", "norm_f.weight", ".D")):
        return torch.ones(shape)
    if name.endswith(".bias"):
        return torch.zeros(shape)
    if name.endswith(".A_log"):
        return (1 + 15 * torch.rand(shape, generator=draw)).log()
    if name.endswith(".dt_bias"):
        steps = 10 ** (-3 + 2 * torch.rand(shape, generator=draw))
        return steps.expm1().log()
    return STD * torch.randn(shape, generator=draw)


def entries(shapes: Mapping[str, Tensor], dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Every tensor, drawn as it is asked for."""
    draw = torch.Generator().manual_seed(0)
    for name, value in shapes.items():
        yield name, drawn(name, value.shape, draw).to(dtype)


def make(folder: Path, config: ZonosConfig, *, encoders: bool) -> None:
    """Write the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    told = json.dumps(config_json(config.lm), indent=2)
    (folder / "config.json").write_text(told, "utf-8")
    with torch.device("meta"):
        state = ZonosLM(config.lm).state_dict()
    write_file(folder / "model.safetensors", entries(to_published(state), torch.bfloat16), {})
    if not encoders:
        return
    for name in ("codec", "speaker"):
        (folder / name).mkdir(exist_ok=True)
    torch.manual_seed(0)
    codec = Dac(config.codec).state_dict()
    write_file(folder / "codec" / "model.safetensors", codec.items(), {})
    (folder / "codec" / "config.json").write_text('{"sampling_rate": 44100}', "utf-8")
    speaker = SpeakerEncoder(config.speaker).state_dict()
    lda = {name.removeprefix("lda."): v for name, v in speaker.items() if name.startswith("lda.")}
    encoder = {name: value for name, value in speaker.items() if not name.startswith("lda.")}
    torch.save(encoder, folder / "speaker" / ENCODER_FILE)
    torch.save(lda, folder / "speaker" / LDA_FILE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hybrid", action="store_true")
    parser.add_argument("--encoders", action="store_true", help="write codec and speaker too")
    given = parser.parse_args()
    make(given.folder, HYBRID if given.hybrid else ZonosConfig(), encoders=given.encoders)
