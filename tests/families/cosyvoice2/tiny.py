"""A CosyVoice-2 model of a few thousand numbers, as a config and as a published folder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from torch import nn

from mamtra_cli.codecs.flow_hift.config import (
    FlowConfig,
    FlowEncoderConfig,
    FlowEstimatorConfig,
    HiFTConfig,
)
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config, LMConfig
from mamtra_cli.families.cosyvoice2.family import FAMILY
from mamtra_cli.families.cosyvoice2.published import QWEN_FOLDER, YAML_FILE
from mamtra_cli.families.cosyvoice2.repository import FILES

CODES = 81
MERGES = ["t h", "th e", "Ġ the", "Ġ s", "o n", "i n", "Ġ a", "n d", "e r", "Ġs p"]


def tiny_config(**lm: Any) -> CosyVoice2Config:
    """Every part small; `lm` changes sizes of the language model."""
    sizes: dict[str, Any] = {
        "d_model": 32,
        "n_layers": 4,
        "n_heads": 4,
        "n_kv_heads": 2,
        "head_dim": 8,
        "d_ff": 48,
        "vocab_size": 320,
        "speech_vocab": CODES,
    }
    return CosyVoice2Config(
        lm=LMConfig(**{**sizes, **lm}),
        flow=FlowConfig(
            vocab_size=CODES,
            encoder=FlowEncoderConfig(width=32, heads=2, d_ff=48, blocks=1, up_blocks=4),
            estimator=FlowEstimatorConfig(
                channels=32, heads=2, head_dim=8, n_blocks=1, mid_blocks=1
            ),
        ),
        hift=HiFTConfig(base_channels=32, f0_channels=16),
    )


def random_part(config: CosyVoice2Config, part: str, seed: int = 0) -> nn.Module:
    """A part with reproducible weights, biases included."""
    generator = torch.Generator().manual_seed(seed)
    module = FAMILY.build_part(config, part)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1 or name.endswith(".bias"):
                parameter.normal_(std=0.1, generator=generator)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return module.eval()


def write_random_checkpoint(folder: Path, config: CosyVoice2Config | None = None) -> Path:
    """Write a folder as the authors publish it: three `.pt` files, YAML, Qwen2 files, toy BPE.

    Args:
        folder: made if it is missing.
        config: sizes; `None` for `tiny_config()`. Its parts beyond the three are not written.
    """
    config = config or tiny_config()
    (folder / QWEN_FOLDER).mkdir(parents=True, exist_ok=True)
    for seed, (part, name) in enumerate(FILES.items()):
        state = random_part(config, part, seed).state_dict()
        published = FAMILY.to_published(part, state)
        torch.save({**published, "epoch": 3, "step": 1000}, folder / name)
    (folder / YAML_FILE).write_text(yaml_text(config), "utf-8")
    write_qwen(folder / QWEN_FOLDER, config)
    return folder


def write_qwen(folder: Path, config: CosyVoice2Config) -> None:
    """Write the Qwen2 config and a toy BPE."""
    lm = config.lm
    sizes = {
        "hidden_size": lm.d_model,
        "num_hidden_layers": lm.n_layers,
        "num_attention_heads": lm.n_heads,
        "num_key_value_heads": lm.n_kv_heads,
        "intermediate_size": lm.d_ff,
        "vocab_size": lm.vocab_size,
        "rope_theta": lm.rope_theta,
        "rms_norm_eps": lm.norm_eps,
        "hidden_act": "silu",
        "use_sliding_window": False,
        "tie_word_embeddings": True,
    }
    if lm.head_dim * lm.n_heads != lm.d_model:
        sizes["head_dim"] = lm.head_dim
    (folder / "config.json").write_text(json.dumps(sizes), "utf-8")
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(m.replace(" ", "") for m in MERGES)]
    vocab = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocab), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]), "utf-8")


def yaml_text(config: CosyVoice2Config) -> str:
    """The published YAML of a config, tags and references as its authors write them."""
    lm, flow, hift, mel = config.lm, config.flow, config.hift, config.mel
    encoder, estimator = flow.encoder, flow.estimator
    dilations = [list(hift.resblock_dilations)] * len(hift.resblock_kernels)
    return f"""\
__set_seed1: !apply:random.seed [1986]
__set_seed2: !apply:os.system ["exit 1"]
sample_rate: {mel.sample_rate}
spk_embed_dim: {flow.speaker_dim}
qwen_pretrain_path: ''
token_frame_rate: 25
token_mel_ratio: {encoder.upsample}
chunk_size: {encoder.chunk}
llm: !new:cosyvoice.llm.llm.Qwen2LM
    speech_token_size: {lm.speech_vocab}
    mix_ratio: [{lm.text_chunk}, {lm.speech_chunk}]
    llm: !new:cosyvoice.llm.llm.Qwen2Encoder
        pretrain_path: !ref <qwen_pretrain_path>
    sampling: !name:cosyvoice.utils.common.ras_sampling
        top_p: {config.top_p}
        top_k: {config.top_k}
        win_size: {config.ras_window}
        tau_r: {config.ras_threshold}
flow: !new:cosyvoice.flow.flow.CausalMaskedDiffWithXvec
    output_size: {flow.mel_bins}
    spk_embed_dim: !ref <spk_embed_dim>
    vocab_size: {flow.vocab_size}
    token_mel_ratio: !ref <token_mel_ratio>
    pre_lookahead_len: {encoder.lookahead}
    encoder: !new:cosyvoice.transformer.upsample_encoder.UpsampleConformerEncoder
        output_size: {encoder.width}
        attention_heads: {encoder.heads}
        linear_units: {encoder.d_ff}
        num_blocks: {encoder.blocks}
        static_chunk_size: !ref <chunk_size>
    decoder: !new:cosyvoice.flow.flow_matching.CausalConditionalCFM
        cfm_params: !new:omegaconf.DictConfig
            content:
                sigma_min: 1e-06
                inference_cfg_rate: {flow.cfg_rate}
        estimator: !new:cosyvoice.flow.decoder.CausalConditionalDecoder
            channels: [{estimator.channels}]
            attention_head_dim: {estimator.head_dim}
            n_blocks: {estimator.n_blocks}
            num_mid_blocks: {estimator.mid_blocks}
            num_heads: {estimator.heads}
            static_chunk_size: !ref <token_frame_rate> * <token_mel_ratio>
hift: !new:cosyvoice.hifigan.generator.HiFTGenerator
    in_channels: {hift.mel_bins}
    base_channels: {hift.base_channels}
    nb_harmonics: {hift.harmonics}
    sampling_rate: !ref <sample_rate>
    nsf_alpha: {hift.sine_amplitude}
    nsf_sigma: {hift.noise_sigma}
    nsf_voiced_threshold: {hift.voiced_threshold:g}
    upsample_rates: {list(hift.upsample_rates)}
    upsample_kernel_sizes: {list(hift.upsample_kernels)}
    istft_params:
        n_fft: {hift.n_fft}
        hop_len: {hift.hop}
    resblock_kernel_sizes: {list(hift.resblock_kernels)}
    resblock_dilation_sizes: {dilations}
    source_resblock_kernel_sizes: {list(hift.source_resblock_kernels)}
    source_resblock_dilation_sizes: {dilations}
    lrelu_slope: {hift.leaky_slope}
    audio_limit: {hift.audio_limit}
    f0_predictor: !new:cosyvoice.hifigan.f0_predictor.ConvRNNF0Predictor
        cond_channels: {hift.f0_channels}
feat_extractor: !name:matcha.utils.audio.mel_spectrogram
    n_fft: {mel.n_fft}
    num_mels: {mel.n_mels}
    sampling_rate: !ref <sample_rate>
    hop_size: {mel.hop}
    fmin: {mel.fmin:g}
    fmax: {mel.fmax:g}
data_pipeline: [
    !ref <feat_extractor>,
]
"""


def hybrid_config(kinds: str = "TMTM", **lm: Any) -> CosyVoice2Config:
    """The tiny config with converted layers."""
    config = tiny_config(**lm)
    return replace(config, lm=replace(config.lm, kinds=kinds))
