"""Reads the language-model goldens and builds the model their weights belong to."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.lm import SpeechLM

Golden = tuple[dict[str, Any], dict[str, Tensor]]


def read(goldens: Path, name: str) -> Golden:
    """The meaning and the tensors of a golden."""
    folder = goldens / "cosyvoice2"
    info: dict[str, Any] = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return info, load_file(folder / f"{name}.safetensors")


def golden_config(info: dict[str, Any]) -> LMConfig:
    """Sizes of a golden's model."""
    qwen = info["qwen2"]
    text_chunk, speech_chunk = info.get("mix_ratio", (5, 15))
    return LMConfig(
        d_model=qwen["hidden_size"],
        n_layers=qwen["num_hidden_layers"],
        n_heads=qwen["num_attention_heads"],
        n_kv_heads=qwen["num_key_value_heads"],
        head_dim=qwen["hidden_size"] // qwen["num_attention_heads"],
        d_ff=qwen["intermediate_size"],
        rope_theta=qwen["rope_theta"],
        norm_eps=qwen["rms_norm_eps"],
        vocab_size=qwen["vocab_size"],
        speech_vocab=info["speech_token_size"],
        text_chunk=text_chunk,
        speech_chunk=speech_chunk,
    )


def golden_lm(info: dict[str, Any], tensors: dict[str, Tensor]) -> SpeechLM:
    """A golden's model with its weights."""
    lm = SpeechLM(golden_config(info))
    weights = {k.removeprefix("weights/"): v for k, v in tensors.items() if "weights/" in k}
    lm.load_state_dict(weights)
    return lm.eval()
