"""A published Zonos folder: is it one, is it whole, and what sizes does its config state.

The codec and the speaker encoder are published apart; their files are looked for in the folders
`codec` and `speaker` inside, then where the hub keeps what was fetched along. What the config does
not state keeps the published value; keys that mean nothing here are left alone, as other tools add
them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mamtra_cli.config import brief, from_dict, parse_json, read_small
from mamtra_cli.errors import CheckpointError, UsageError
from mamtra_cli.families.base import Upstream
from mamtra_cli.families.zonos.config import ZonosConfig
from mamtra_cli.families.zonos.repository import CODEC, HYBRID, SPEAKER, TRANSFORMER
from mamtra_cli.families.zonos.weights import ENCODER_FILE, LDA_FILE
from mamtra_cli.hub import Repository, cached

CONFIG_FILE = "config.json"
LM_FILE = CODEC_FILE = "model.safetensors"
TYPES = {
    "EspeakPhonemeConditioner": "phones",
    "PassthroughConditioner": "vector",
    "FourierConditioner": "fourier",
    "IntegerConditioner": "integer",
}
CODEC_FIELDS = {  # published name to ours
    "sampling_rate": "sample_rate",
    "encoder_hidden_size": "encoder_width",
    "decoder_hidden_size": "decoder_width",
    "downsampling_ratios": "strides",
    "hidden_size": "latent",
    "n_codebooks": "codebooks",
    "codebook_size": "codes",
    "codebook_dim": "code_dim",
}
NATIVE_FIELDS = {
    "d_state": "d_state",
    "headdim": "head_dim",
    "expand": "expand",
    "ngroups": "groups",
    "d_conv": "conv_kernel",
}
DEEPEST = 1024
ZONOS2 = "zonos2"


def upstream(folder: Path, *, configs_only: bool = False) -> Upstream | None:
    """What a published folder holds; `None` if it is none of Zonos.

    Args:
        folder: the folder.
        configs_only: do not ask for weights, none will be read.

    Raises:
        CheckpointError: it is ZONOS2, incomplete or damaged.
    """
    data = _json(folder / CONFIG_FILE)
    refuse_zonos2(folder, data)
    if not (isinstance(data.get("backbone"), dict) and "prefix_conditioner" in data):
        return None
    files = {
        "lm": folder / LM_FILE,
        "codec": beside(folder, "codec", CODEC, CODEC_FILE),
        "speaker": beside(folder, "speaker", SPEAKER, ENCODER_FILE),
    }
    needed = [*files.values(), files["speaker"].with_name(LDA_FILE)]
    missing = [path.name for path in needed if not path.is_file()]
    if missing and not configs_only:
        raise CheckpointError(
            f"`{folder}` lacks {len(missing)} of the published files: {', '.join(missing)}",
            f"fetch `{TRANSFORMER.alias}` or `{HYBRID.alias}`, or put {CODEC.name} into its folder "
            f"`codec` and {SPEAKER.name} into `speaker`",
        )
    try:
        config = config_of(data, _json(files["codec"].with_name(CONFIG_FILE)))
    except (UsageError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"`{folder / CONFIG_FILE}` is not understood: {error}", "download the folder again"
        ) from error
    return Upstream(config=config, parts=files)


def beside(folder: Path, inner: str, repository: Repository, name: str) -> Path:
    """Where a file of another repository is: inside the folder, or as it was fetched along."""
    own = folder / inner / name
    if own.is_file():
        return own
    return cached(repository, name) or own


def refuse_zonos2(folder: Path, data: Mapping[str, Any]) -> None:
    """Fail where a folder holds the second generation, which is another model.

    Raises:
        CheckpointError: it does.
    """
    params = _json(folder / "params.json")
    named = f"{data.get('model_type')} {data.get('architectures')}".lower()
    inner = params.get("model")
    if ZONOS2 in named or "moe_n_experts" in {
        **params,
        **(inner if isinstance(inner, dict) else {}),
    }:
        raise CheckpointError(
            f"`{folder}` holds ZONOS2, a mixture of experts with other conditions and another "
            "speaker encoder; only Zonos-v0.1 can be read",
            "use `zonos` or `zonos-hybrid`",
        )


def config_of(data: Mapping[str, Any], codec: Mapping[str, Any] | None = None) -> ZonosConfig:
    """Every size that the published configs state.

    Args:
        data: of the language model; small models may tell a `speaker_encoder` of their own size.
        codec: of the codec; the published sizes where absent or empty.
    """
    backbone, attention = data["backbone"], data["backbone"]["attn_cfg"]
    mamba = backbone.get("ssm_cfg") or {}
    if mamba and mamba.get("layer") != "Mamba2":
        raise ValueError(f"layers of `{mamba.get('layer')}` are not known")
    if backbone.get("rms_norm", False) or backbone.get("d_intermediate", 0):
        raise ValueError("only LayerNorm, and Mamba layers without a feed-forward, are known")
    if any(attention.get(key, False) for key in ("qkv_proj_bias", "out_proj_bias")):
        raise ValueError("attention with biases is not known")
    width, depth, heads = backbone["d_model"], backbone["n_layer"], attention["num_heads"]
    head_dim = attention.get("head_dim") or width // heads
    if attention["rotary_emb_dim"] != head_dim:
        raise ValueError(f"rotary width {attention['rotary_emb_dim']} is not that of a head")
    if not (isinstance(depth, int) and 1 <= depth <= DEEPEST):
        raise ValueError(f"{brief(depth)} is no number of layers")
    attends = set(backbone["attn_layer_idx"])
    kinds = "".join("T" if layer in attends else "N" for layer in range(depth))
    native = {ours: mamba[theirs] for theirs, ours in NATIVE_FIELDS.items() if theirs in mamba}
    lm = {
        "d_model": width,
        "n_layers": depth,
        "n_heads": heads,
        "n_kv_heads": attention.get("num_heads_kv") or heads,
        "head_dim": head_dim,
        "d_ff": backbone["attn_mlp_d_intermediate"],
        "rope": "interleaved" if attention.get("rotary_emb_interleaved") else "half",
        "rope_theta": attention.get("rotary_emb_base", 10_000.0),
        "norm_eps": backbone.get("norm_epsilon", 1e-5),
        "native": native if "N" in kinds else None,
        "codes": data.get("eos_token_id", 1024),
        "conditions": [_condition(each) for each in data["prefix_conditioner"]["conditioners"]],
        "kinds": kinds if "N" in kinds else "",
    }
    told = {"lm": lm, "codec": _codec(codec or {}), "speaker": data.get("speaker_encoder", {})}
    return from_dict(ZonosConfig, told, CONFIG_FILE)


def _condition(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": told["name"],
        "kind": TYPES[told["type"]],
        "width": told.get("cond_dim") or told.get("input_dim", 1),
        "low": told.get("min_val", 0.0),
        "high": told.get("max_val", 1.0),
        "learned": told.get("uncond_type") == "learned",
    }


def _codec(told: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `DacConfig` by the published ones."""
    return {ours: told[theirs] for theirs, ours in CODEC_FIELDS.items() if theirs in told}


def _json(path: Path) -> dict[str, Any]:
    try:
        data = parse_json(read_small(path)) if path.is_file() else {}
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
