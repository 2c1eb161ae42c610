"""The stand-in has the published layout, to the last key and byte."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from examples.fullsize import layout, make_standin
from safetensors.torch import load_file

from mamtra_cli.families.cosyvoice2.published import QWEN_FOLDER, Ref, read_yaml

TEXT_MODEL_BYTES = 988_097_824  # CosyVoice-BlankEN/model.safetensors as published
ROWS = [[1, 3, 5]] * 3
PUBLISHED: dict[str, Any] = {
    "sample_rate": 24_000,
    "llm_input_size": 896,
    "llm_output_size": 896,
    "spk_embed_dim": 192,
    "qwen_pretrain_path": "",
    "token_frame_rate": 25,
    "token_mel_ratio": 2,
    "chunk_size": 25,
    "num_decoding_left_chunks": -1,
    "llm": {
        "llm_input_size": Ref("<llm_input_size>"),
        "llm_output_size": Ref("<llm_output_size>"),
        "speech_token_size": 6561,
        "length_normalized_loss": True,
        "lsm_weight": 0,
        "mix_ratio": [5, 15],
        "llm": {"pretrain_path": Ref("<qwen_pretrain_path>")},
        "sampling": {"top_p": 0.8, "top_k": 25, "win_size": 10, "tau_r": 0.1},
    },
    "flow": {
        "input_size": 512,
        "output_size": 80,
        "spk_embed_dim": Ref("<spk_embed_dim>"),
        "output_type": "mel",
        "vocab_size": 6561,
        "input_frame_rate": Ref("<token_frame_rate>"),
        "only_mask_loss": True,
        "token_mel_ratio": Ref("<token_mel_ratio>"),
        "pre_lookahead_len": 3,
        "encoder": {
            "output_size": 512,
            "attention_heads": 8,
            "linear_units": 2048,
            "num_blocks": 6,
            "dropout_rate": 0.1,
            "positional_dropout_rate": 0.1,
            "attention_dropout_rate": 0.1,
            "normalize_before": True,
            "input_layer": "linear",
            "pos_enc_layer_type": "rel_pos_espnet",
            "selfattention_layer_type": "rel_selfattn",
            "input_size": 512,
            "use_cnn_module": False,
            "macaron_style": False,
            "static_chunk_size": Ref("<chunk_size>"),
        },
        "decoder": {
            "in_channels": 240,
            "n_spks": 1,
            "spk_emb_dim": 80,
            "cfm_params": {
                "content": {
                    "sigma_min": "1e-06",
                    "solver": "euler",
                    "t_scheduler": "cosine",
                    "training_cfg_rate": 0.2,
                    "inference_cfg_rate": 0.7,
                    "reg_loss_type": "l1",
                }
            },
            "estimator": {
                "in_channels": 320,
                "out_channels": 80,
                "channels": [256],
                "dropout": 0.0,
                "attention_head_dim": 64,
                "n_blocks": 4,
                "num_mid_blocks": 12,
                "num_heads": 8,
                "act_fn": "gelu",
                "static_chunk_size": Ref("<chunk_size> * <token_mel_ratio>"),
                "num_decoding_left_chunks": Ref("<num_decoding_left_chunks>"),
            },
        },
    },
    "hift": {
        "in_channels": 80,
        "base_channels": 512,
        "nb_harmonics": 8,
        "sampling_rate": Ref("<sample_rate>"),
        "nsf_alpha": 0.1,
        "nsf_sigma": 0.003,
        "nsf_voiced_threshold": 10,
        "upsample_rates": [8, 5, 3],
        "upsample_kernel_sizes": [16, 11, 7],
        "istft_params": {"n_fft": 16, "hop_len": 4},
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": ROWS,
        "source_resblock_kernel_sizes": [7, 7, 11],
        "source_resblock_dilation_sizes": ROWS,
        "lrelu_slope": 0.1,
        "audio_limit": 0.99,
        "f0_predictor": {"num_class": 1, "in_channels": 80, "cond_channels": 512},
    },
    "get_tokenizer": {"token_path": Ref("<qwen_pretrain_path>"), "skip_special_tokens": True},
    "allowed_special": "all",
    "feat_extractor": {
        "n_fft": 1920,
        "num_mels": 80,
        "sampling_rate": Ref("<sample_rate>"),
        "hop_size": 480,
        "win_size": 1920,
        "fmin": 0,
        "fmax": 8000,
        "center": False,
    },
}
"""What speaks of the published cosyvoice2.yaml (7,330 bytes, revision eec1ae6c)."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_standin.write(tmp_path_factory.mktemp("models") / "standin", size="tiny")


def test_yaml_at_full_size_has_the_published_keys_and_values(tmp_path: Path) -> None:
    path = tmp_path / "cosyvoice2.yaml"
    path.write_text(layout.yaml_text(make_standin.SIZES["full"]))
    told = read_yaml(path)
    seeds = [key for key in told if key.startswith("__set_seed")]
    assert seeds == [f"__set_seed{n}" for n in (1, 2, 3, 4)]
    assert {key: value for key, value in told.items() if key not in seeds} == PUBLISHED


def test_small_keeps_the_channels_that_the_official_encoder_fixes() -> None:
    assert make_standin.SIZES["small"].flow.encoder.width == 512


def test_text_model_has_the_published_size(tiny: Path) -> None:
    shapes = make_standin.shapes(make_standin.SIZES["full"], "lm")
    sizes = {
        name.removeprefix(layout.BODY): shape
        for name, shape in shapes.items()
        if name.startswith(layout.BODY)
    }
    assert load_file(tiny / QWEN_FOLDER / "model.safetensors").keys() == sizes.keys()
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(sizes):
        start, end = end, end + 2 * math.prod(sizes[name])
        entry = {"dtype": "BF16", "shape": sizes[name], "data_offsets": [start, end]}
        header[name] = entry
    words = len(json.dumps(header, separators=(",", ":")))
    assert 8 + -(-words // 8) * 8 + end == TEXT_MODEL_BYTES


def test_text_model_opens_as_the_official_constructor_opens_it(tiny: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model, told = transformers.Qwen2ForCausalLM.from_pretrained(
        tiny / QWEN_FOLDER, output_loading_info=True
    )
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    lm = torch.load(tiny / "llm.pt", weights_only=True)
    body = {k.removeprefix("llm.model."): v for k, v in lm.items() if k.startswith("llm.model.")}
    model.load_state_dict(body)
