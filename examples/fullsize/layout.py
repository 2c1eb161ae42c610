"""The files of a published CosyVoice 2 folder beside its parts: YAML, Qwen2 model, tokenizer.

Structure and key names are the published ones, which a loader has to understand; the vocabulary is
our own, trained on this package's sentences and filled up to the published number of ids.
"""

import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from mamtra_cli.families.cosyvoice2.bpe import WORDS
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config
from mamtra_cli.text.sentences import closed

PUBLISHED_BASE = 151_643  # ids of vocab.json; the markup follows
BODY = "llm.model."  # what llm.pt has before the names of the text model
TEXT_HEAD = "lm_head.weight"
SENTENCES = 600
LEARNED = 2000  # ids that the training may fill; the rest are pairs of them
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def qwen_config(config: CosyVoice2Config) -> dict[str, object]:
    """The sizes in CosyVoice-BlankEN/config.json."""
    lm = config.lm
    sizes: dict[str, object] = {
        "architectures": ["Qwen2ForCausalLM"],
        "hidden_act": "silu",
        "hidden_size": lm.d_model,
        "intermediate_size": lm.d_ff,
        "max_position_embeddings": 32_768,
        "model_type": "qwen2",
        "num_attention_heads": lm.n_heads,
        "num_hidden_layers": lm.n_layers,
        "num_key_value_heads": lm.n_kv_heads,
        "rms_norm_eps": lm.norm_eps,
        "rope_theta": lm.rope_theta,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "vocab_size": lm.vocab_size,
    }
    if lm.head_dim * lm.n_heads != lm.d_model:
        sizes["head_dim"] = lm.head_dim
    return sizes


def write_qwen(folder: Path, config: CosyVoice2Config, base: int) -> None:
    """Write the files of CosyVoice-BlankEN, with `base` ids in the vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab, merges = byte_pairs(base)
    tokenizer = {
        "added_tokens_decoder": {
            str(base + i): {"content": text, "special": True} for i, text in enumerate(SPECIAL)
        },
        "additional_special_tokens": list(SPECIAL[1:]),
        "bos_token": None,
        "eos_token": SPECIAL[0],
        "pad_token": SPECIAL[0],
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    files = {
        "config.json": json.dumps(qwen_config(config), indent=2),
        "generation_config.json": json.dumps({"do_sample": True, "top_k": 20, "top_p": 0.8}),
        "tokenizer_config.json": json.dumps(tokenizer, indent=2),
        "vocab.json": json.dumps(vocab, ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges), ""]),
    }
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")


def write_text_model(path: Path, lm: Mapping[str, torch.Tensor]) -> None:
    """Write the text model that the official constructor opens before llm.pt replaces its numbers.

    Args:
        path: CosyVoice-BlankEN/model.safetensors.
        lm: tensors of llm.pt; those of its body are written in bfloat16, without the head, which
            is the table.
    """
    body = {name.removeprefix(BODY): value for name, value in lm.items() if name.startswith(BODY)}
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: value.bfloat16() for name, value in body.items() if name != TEXT_HEAD}
    save_file(kept, path, {"format": "pt"})


def byte_pairs(size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level vocabulary of exactly `size` ids, and its merges in order of rank."""
    split = [
        pre_tokenizers.Split(Regex(WORDS), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(split)
    trainer = trainers.BpeTrainer(
        vocab_size=min(size, LEARNED),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(closed(0, SENTENCES), trainer)
    model = json.loads(learner.to_str())["model"]
    vocab: dict[str, int] = model["vocab"]
    merges: list[tuple[str, str]] = [
        (pair[0], pair[1]) if isinstance(pair, list) else tuple(pair.split(" "))
        for pair in model["merges"]
    ]
    tokens = sorted(vocab, key=vocab.__getitem__)
    for left, right in product(tokens, tokens):
        if len(vocab) == size:
            break
        if left + right not in vocab:
            vocab[left + right] = len(vocab)
            merges.append((left, right))
    if len(vocab) != size:
        raise ValueError(f"no vocabulary of {size} ids: it holds {len(vocab)}")
    return vocab, merges


def yaml_text(config: CosyVoice2Config) -> str:
    """`cosyvoice2.yaml` of a config, with the tags and references of the published one.

    The keys are all that the published file has for speaking; those for training are left out.
    """
    lm, flow, hift, mel = config.lm, config.flow, config.hift, config.mel
    encoder, estimator = flow.encoder, flow.estimator
    dilations = [list(hift.resblock_dilations)] * len(hift.resblock_kernels)
    return f"""\
__set_seed1: !apply:random.seed [1986]
__set_seed2: !apply:numpy.random.seed [1986]
__set_seed3: !apply:torch.manual_seed [1986]
__set_seed4: !apply:torch.cuda.manual_seed_all [1986]
sample_rate: {mel.sample_rate}
llm_input_size: {lm.d_model}
llm_output_size: {lm.d_model}
spk_embed_dim: {flow.speaker_dim}
qwen_pretrain_path: ''
token_frame_rate: 25
token_mel_ratio: {encoder.upsample}
chunk_size: {encoder.chunk}
num_decoding_left_chunks: -1
llm: !new:cosyvoice.llm.llm.Qwen2LM
    llm_input_size: !ref <llm_input_size>
    llm_output_size: !ref <llm_output_size>
    speech_token_size: {lm.speech_vocab}
    length_normalized_loss: True
    lsm_weight: 0
    mix_ratio: [{lm.text_chunk}, {lm.speech_chunk}]
    llm: !new:cosyvoice.llm.llm.Qwen2Encoder
        pretrain_path: !ref <qwen_pretrain_path>
    sampling: !name:cosyvoice.utils.common.ras_sampling
        top_p: {config.top_p}
        top_k: {config.top_k}
        win_size: {config.ras_window}
        tau_r: {config.ras_threshold}
flow: !new:cosyvoice.flow.flow.CausalMaskedDiffWithXvec
    input_size: {encoder.width}
    output_size: {flow.mel_bins}
    spk_embed_dim: !ref <spk_embed_dim>
    output_type: mel
    vocab_size: {flow.vocab_size}
    input_frame_rate: !ref <token_frame_rate>
    only_mask_loss: True
    token_mel_ratio: !ref <token_mel_ratio>
    pre_lookahead_len: {encoder.lookahead}
    encoder: !new:cosyvoice.transformer.upsample_encoder.UpsampleConformerEncoder
        output_size: {encoder.width}
        attention_heads: {encoder.heads}
        linear_units: {encoder.d_ff}
        num_blocks: {encoder.blocks}
        dropout_rate: 0.1
        positional_dropout_rate: 0.1
        attention_dropout_rate: 0.1
        normalize_before: True
        input_layer: linear
        pos_enc_layer_type: rel_pos_espnet
        selfattention_layer_type: rel_selfattn
        input_size: {encoder.width}
        use_cnn_module: False
        macaron_style: False
        static_chunk_size: !ref <chunk_size>
    decoder: !new:cosyvoice.flow.flow_matching.CausalConditionalCFM
        in_channels: {3 * flow.mel_bins}
        n_spks: 1
        spk_emb_dim: {flow.mel_bins}
        cfm_params: !new:omegaconf.DictConfig
            content:
                sigma_min: 1e-06
                solver: euler
                t_scheduler: cosine
                training_cfg_rate: 0.2
                inference_cfg_rate: {flow.cfg_rate}
                reg_loss_type: l1
        estimator: !new:cosyvoice.flow.decoder.CausalConditionalDecoder
            in_channels: {4 * flow.mel_bins}
            out_channels: {flow.mel_bins}
            channels: [{estimator.channels}]
            dropout: 0.0
            attention_head_dim: {estimator.head_dim}
            n_blocks: {estimator.n_blocks}
            num_mid_blocks: {estimator.mid_blocks}
            num_heads: {estimator.heads}
            act_fn: gelu
            static_chunk_size: !ref <chunk_size> * <token_mel_ratio>
            num_decoding_left_chunks: !ref <num_decoding_left_chunks>
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
        num_class: 1
        in_channels: {hift.mel_bins}
        cond_channels: {hift.f0_channels}
get_tokenizer: !name:cosyvoice.tokenizer.tokenizer.get_qwen_tokenizer
    token_path: !ref <qwen_pretrain_path>
    skip_special_tokens: True
allowed_special: all
feat_extractor: !name:matcha.utils.audio.mel_spectrogram
    n_fft: {mel.n_fft}
    num_mels: {mel.n_mels}
    sampling_rate: !ref <sample_rate>
    hop_size: {mel.hop}
    win_size: {mel.n_fft}
    fmin: {mel.fmin:g}
    fmax: {mel.fmax:g}
    center: False
"""
