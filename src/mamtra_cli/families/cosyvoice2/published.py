"""A published CosyVoice-2 folder: is it one, is it whole, and what sizes do its files state.

`cosyvoice2.yaml` is read as data: its `!new:`, `!name:` and `!apply:` tags name code, which is
never looked up, but must be the code that is meant here; `!ref` is followed. The stack's sizes come
from the Qwen2 `config.json`. What a file does not state keeps the published value; the weights are
checked against all of it.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from mamtra_cli.codecs.flow_hift.config import (
    FlowConfig,
    FlowEncoderConfig,
    FlowEstimatorConfig,
    HiFTConfig,
    MelConfig,
)
from mamtra_cli.config import brief, parse_json, read_small
from mamtra_cli.errors import CheckpointError, UsageError
from mamtra_cli.families.base import Upstream
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config, LMConfig
from mamtra_cli.families.cosyvoice2.repository import (
    FILES,
    MERGES_FILE,
    PUBLISHED,
    QWEN_FOLDER,
    VOCAB_FILE,
)

YAML_FILE = "cosyvoice2.yaml"
ONNX_PARTS = {"speech_tokenizer": "speech_tokenizer_v2.onnx", "speaker_encoder": "campplus.onnx"}
OLDER_YAML = "cosyvoice.yaml"
VERSIONS = {"TransformerLM": "1", "Qwen2LM": "2", "CosyVoice3LM": "3"}
CLASSES = {
    "llm": "Qwen2LM",
    "llm.llm": "Qwen2Encoder",
    "llm.sampling": "ras_sampling",
    "flow": "CausalMaskedDiffWithXvec",
    "flow.encoder": "UpsampleConformerEncoder",
    "flow.decoder": "CausalConditionalCFM",
    "flow.decoder.estimator": "CausalConditionalDecoder",
    "hift": "HiFTGenerator",
    "hift.f0_predictor": "ConvRNNF0Predictor",
    "feat_extractor": "mel_spectrogram",
}
"""What makes each section; a section without a tag is taken as it is."""
OTHER_VERSIONS = {
    "cosyvoice.yaml": "CosyVoice 1",
    "cosyvoice3.yaml": "CosyVoice 3",
    "speech_tokenizer_v1.onnx": "CosyVoice 1",
    "speech_tokenizer_v3.onnx": "CosyVoice 3",
}
DEEPEST_REF = 8
MOST_FACTORS = 3  # of a reference
MOST_ALIASES = 8
LARGEST = 4 << 20  # bytes of the YAML
HINT = "download the folder again"

LM = {
    "speech_vocab": "llm.speech_token_size",
    "text_chunk": "llm.mix_ratio.0",
    "speech_chunk": "llm.mix_ratio.1",
}
QWEN = {
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "d_ff": "intermediate_size",
    "vocab_size": "vocab_size",
    "rope_theta": "rope_theta",
    "norm_eps": "rms_norm_eps",
}
SAMPLING = {
    "top_p": "llm.sampling.top_p",
    "top_k": "llm.sampling.top_k",
    "ras_window": "llm.sampling.win_size",
    "ras_threshold": "llm.sampling.tau_r",
}
MEL = {
    "sample_rate": "feat_extractor.sampling_rate",
    "n_fft": "feat_extractor.n_fft",
    "hop": "feat_extractor.hop_size",
    "n_mels": "feat_extractor.num_mels",
    "fmin": "feat_extractor.fmin",
    "fmax": "feat_extractor.fmax",
}
FLOW = {
    "vocab_size": "flow.vocab_size",
    "mel_bins": "flow.output_size",
    "speaker_dim": "flow.spk_embed_dim",
    "cfg_rate": "flow.decoder.cfm_params.content.inference_cfg_rate",
}
ENCODER = {
    "width": "flow.encoder.output_size",
    "heads": "flow.encoder.attention_heads",
    "d_ff": "flow.encoder.linear_units",
    "blocks": "flow.encoder.num_blocks",
    "lookahead": "flow.pre_lookahead_len",
    "upsample": "flow.token_mel_ratio",
    "chunk": "flow.encoder.static_chunk_size",
}
ESTIMATOR = {
    "channels": "flow.decoder.estimator.channels.0",
    "heads": "flow.decoder.estimator.num_heads",
    "head_dim": "flow.decoder.estimator.attention_head_dim",
    "n_blocks": "flow.decoder.estimator.n_blocks",
    "mid_blocks": "flow.decoder.estimator.num_mid_blocks",
    "chunk": "flow.decoder.estimator.static_chunk_size",
}
HIFT = {
    "mel_bins": "hift.in_channels",
    "base_channels": "hift.base_channels",
    "f0_channels": "hift.f0_predictor.cond_channels",
    "harmonics": "hift.nb_harmonics",
    "sample_rate": "hift.sampling_rate",
    "sine_amplitude": "hift.nsf_alpha",
    "noise_sigma": "hift.nsf_sigma",
    "voiced_threshold": "hift.nsf_voiced_threshold",
    "upsample_rates": "hift.upsample_rates",
    "upsample_kernels": "hift.upsample_kernel_sizes",
    "n_fft": "hift.istft_params.n_fft",
    "hop": "hift.istft_params.hop_len",
    "resblock_kernels": "hift.resblock_kernel_sizes",
    "resblock_dilations": "hift.resblock_dilation_sizes.0",
    "source_resblock_kernels": "hift.source_resblock_kernel_sizes",
    "leaky_slope": "hift.lrelu_slope",
    "audio_limit": "hift.audio_limit",
}


@dataclass(frozen=True)
class Ref:
    """A `!ref`: names in angle brackets and numbers, joined by `*`."""

    text: str


class Made(dict[str, Any]):
    """A section with a tag; `by` is the last word of the class or function that it names."""

    by = ""


class TaggedLoader(yaml.SafeLoader):  # type: ignore[misc]
    """The safe loader, to which a tag of the model's own is just another node."""

    aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node; a few names for repeated ones are meant, many are a trap."""
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > MOST_ALIASES:
                raise yaml.YAMLError("it repeats itself by names more often than any model does")
        return super().compose_node(parent, index)


def _tagged(loader: TaggedLoader, tag: str, node: yaml.Node) -> Any:
    if tag == "ref" and isinstance(node, yaml.ScalarNode):
        return Ref(str(node.value))
    if isinstance(node, yaml.MappingNode):
        made = Made(loader.construct_mapping(node, deep=True))
        made.by = re.split(r"[:.]", tag)[-1]
        return made
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


TaggedLoader.add_multi_constructor("!", _tagged)


def read_yaml(path: Path) -> dict[str, Any]:
    """The file's keys as plain data, `Ref`s unresolved."""
    try:
        data = yaml.load(read_small(path, LARGEST), Loader=TaggedLoader)
    except RecursionError as error:
        raise CheckpointError(f"`{path}` is nested too deep", HINT) from error
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"cannot read `{path}`: {line}", HINT) from error
    if not isinstance(data, dict):
        raise CheckpointError(f"`{path}` holds no keys", HINT)
    return data


def upstream(folder: Path, *, configs_only: bool = False) -> Upstream | None:
    """What a published folder holds; `None` if it is none of CosyVoice.

    Args:
        folder: the folder.
        configs_only: do not ask for weights and text files, of which none will be read.

    Raises:
        CheckpointError: it is another version, incomplete or damaged.
    """
    yaml_path = yaml_of(folder)
    if yaml_path.is_file():
        told = version_of(yaml_path)
        if told not in ("", "2"):
            raise CheckpointError(
                f"`{folder}` holds CosyVoice {told}; only CosyVoice 2 can be read",
                f"use {PUBLISHED.name}",
            )
    else:
        for name, version in OTHER_VERSIONS.items():
            if (folder / name).is_file():
                raise CheckpointError(
                    f"`{folder}` holds {version}; only CosyVoice 2 can be read",
                    f"use {PUBLISHED.name}",
                )
        if not (folder / FILES["lm"]).is_file():
            return None
    qwen = folder / QWEN_FOLDER
    needed = [yaml_path, *(folder / name for name in FILES.values())]
    needed += [qwen / name for name in ("config.json", VOCAB_FILE, MERGES_FILE)]
    if configs_only:
        needed = [yaml_path, qwen / "config.json"]
    missing = [str(path.relative_to(folder)) for path in needed if not path.is_file()]
    if missing:
        raise CheckpointError(
            f"`{folder}` lacks {len(missing)} of the published files: {', '.join(missing[:5])}",
            fetch_command(folder, missing),
        )
    companions = {
        name: qwen / name for name in (VOCAB_FILE, MERGES_FILE) if (qwen / name).is_file()
    }
    companions |= {name: folder / name for name in ONNX_PARTS.values() if (folder / name).is_file()}
    return Upstream(
        config=read_config(folder),
        parts={part: folder / name for part, name in FILES.items()},
        companions=companions,
    )


def yaml_of(folder: Path) -> Path:
    """The YAML of a folder: folders from before 2025 have the name of version 1 for it."""
    older = folder / OLDER_YAML
    if not (folder / YAML_FILE).is_file() and older.is_file() and version_of(older) == "2":
        return older
    return folder / YAML_FILE


def version_of(path: Path) -> str:
    """The version that a YAML is for, by the class of its language model or by its fields; "" where
    neither tells."""
    try:
        text = read_small(path, LARGEST)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read `{path}`: {error}", HINT) from error
    named = re.search(r"^llm:\s*!new:[\w.]*?(\w+)\s*$", text, re.MULTILINE)
    if named and named[1] in VERSIONS:
        return VERSIONS[named[1]]
    return "2" if re.search(r"^qwen_pretrain_path:|^\s+mix_ratio:", text, re.MULTILINE) else ""


def fetch_command(folder: Path, names: Sequence[str]) -> str:
    """The command that fetches published files into a folder."""
    listed = " ".join(names)
    at = f"--revision {PUBLISHED.revision} --local-dir {folder}"
    return f"`hf download {PUBLISHED.name} {listed} {at}`"


def read_config(folder: Path) -> CosyVoice2Config:
    """Every size that the published files of a folder state."""
    yaml_path, qwen_path = yaml_of(folder), folder / QWEN_FOLDER / "config.json"
    data = read_yaml(yaml_path)
    try:
        config = _from_yaml(data)
    except (UsageError, ValueError, TypeError, KeyError, IndexError, ArithmeticError) as error:
        raise CheckpointError(f"`{yaml_path}` is not understood: {error}", HINT) from error
    try:
        qwen = parse_json(read_small(qwen_path))
        return replace(config, lm=_with_qwen(config.lm, qwen))
    except (OSError, UsageError, ValueError, TypeError, ArithmeticError) as error:
        raise CheckpointError(f"`{qwen_path}` is not understood: {error}", HINT) from error


def _from_yaml(data: dict[str, Any]) -> CosyVoice2Config:
    for section in ("llm", "flow", "hift"):
        if not isinstance(data.get(section), dict):
            raise ValueError(f"section `{section}` is missing")
    for path, wanted in CLASSES.items():
        section = _find(data, path)
        if isinstance(section, Made) and section.by != wanted:
            raise ValueError(f"`{path}` is made by {brief(section.by)}, only {wanted} is known")
    schedule = _find(data, "flow.decoder.cfm_params.content.t_scheduler")
    if schedule not in (None, "cosine"):
        raise ValueError(f"steps of the flow by {brief(schedule)} are not supported, only cosine")
    dilations = [
        *(_find(data, "hift.resblock_dilation_sizes") or []),
        *(_find(data, "hift.source_resblock_dilation_sizes") or []),
    ]
    if any(row != dilations[0] for row in dilations):
        raise ValueError("residual blocks of different dilations are not supported")
    mel = _values(data, MEL, MelConfig())
    if "feat_extractor" in data and _find(data, MEL["fmax"]) is None:
        mel["fmax"] = mel.get("sample_rate", MelConfig().sample_rate) / 2
    return CosyVoice2Config(
        mel=MelConfig(**mel),
        lm=LMConfig(**_values(data, LM, LMConfig())),
        flow=FlowConfig(
            **_values(data, FLOW, FlowConfig()),
            encoder=FlowEncoderConfig(**_values(data, ENCODER, FlowEncoderConfig())),
            estimator=FlowEstimatorConfig(**_values(data, ESTIMATOR, FlowEstimatorConfig())),
        ),
        hift=HiFTConfig(**_values(data, HIFT, HiFTConfig())),
        **_values(data, SAMPLING, CosyVoice2Config()),
    )


def _with_qwen(config: LMConfig, qwen: Any) -> LMConfig:
    if not isinstance(qwen, dict):
        raise ValueError("it holds no keys")
    lacking = [key for key in QWEN.values() if key not in qwen]
    if lacking:
        raise ValueError(f"it lacks {', '.join(lacking)}")
    if qwen.get("hidden_act", "silu") != "silu" or qwen.get("use_sliding_window", False):
        raise ValueError("only Qwen2 with silu and without sliding windows is supported")
    values = _values(qwen, QWEN, config)
    width, heads = values["d_model"], values["n_heads"]
    values["head_dim"] = _like(qwen.get("head_dim") or width // heads, 64, "head_dim")
    return replace(config, **values)


def _values(data: Mapping[str, Any], paths: Mapping[str, str], defaults: Any) -> dict[str, Any]:
    """Fields whose path is in the data, in the type of their default."""
    found = {name: _find(data, path) for name, path in paths.items()}
    return {
        name: _like(value, getattr(defaults, name), paths[name])
        for name, value in found.items()
        if value is not None
    }


def _find(data: Any, path: str) -> Any:
    value = data
    for key in path.split("."):
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
        value = _resolve(data, value, DEEPEST_REF)
    return value


def _resolve(data: Any, value: Any, depth: int) -> Any:
    if not isinstance(value, Ref):
        return value
    if depth == 0:
        raise ValueError(f"reference {brief(value.text)} goes round in circles")
    factors = []
    words = value.text.split("*")
    if len(words) > MOST_FACTORS:
        raise ValueError(f"reference {brief(value.text)} has {len(words)} factors")
    for word in (word.strip() for word in words):
        if word.startswith("<") and word.endswith(">"):
            if word[1:-1] not in data:
                raise ValueError(f"reference {brief(word)} leads nowhere")
            factors.append(_resolve(data, data[word[1:-1]], depth - 1))
        else:
            try:
                factors.append(float(word) if "." in word else int(word))
            except ValueError:
                raise ValueError(f"reference {brief(word)} is no number") from None
    return factors[0] if len(factors) == 1 else math.prod(factors)


def _like(value: Any, default: Any, path: str) -> Any:
    """The value in the type of a default; YAML reads `1e-06` as a text."""
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(_like(item, default[0], path) for item in value)
    if isinstance(default, float) and isinstance(value, int | float | str):
        return float(value)
    if isinstance(default, int) and isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError(f"`{path}` is {value}")
        return value
    raise ValueError(f"`{path}` is {brief(value)}")
