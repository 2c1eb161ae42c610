"""Write a random CosyVoice 2 checkpoint in the exact published layout.

    python examples/fullsize/make_standin.py --out standin                # 3.5 GB, as published
    python examples/fullsize/make_standin.py --out small --size small     # 65 MB, the same files
    python examples/fullsize/make_standin.py --out tiny --size tiny       # 11 MB, for mamtra alone

Every file that `mamtra` or the official program reads of FunAudioLLM/CosyVoice2-0.5B is there, with
the published names, shapes and types and nothing else of it: weights are drawn, the vocabulary and
the ONNX graphs are our own. What it says is noise, but it says it: tokens vary, an end comes after
a few seconds, and the audio is finite. The same options write the same tensors. At full size the
language model is drawn and pickled whole: about 3.4 GB of memory.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from examples.fullsize import layout, onnx_graphs

from mamtra_cli.codecs.flow_hift.config import (
    FlowConfig,
    FlowEncoderConfig,
    FlowEstimatorConfig,
    HiFTConfig,
)
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config, LMConfig
from mamtra_cli.families.cosyvoice2.family import FAMILY
from mamtra_cli.families.cosyvoice2.published import ONNX_PARTS, QWEN_FOLDER, YAML_FILE
from mamtra_cli.families.cosyvoice2.repository import FILES

SPELLINGS = {
    "parametrized": ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    "old": ("weight_g", "weight_v"),
}
SMALL_BASE = 480  # ids of the small vocabulary
LOGIT_STD = 2.0  # of the speech head: many tokens are likely
END_BIAS = 4.0  # of the end token: it is drawn about once in a hundred tokens
PITCH = 150.0  # Hz
QUIET = 0.2  # of the last layer of flow and vocoder, so that neither saturates


def small_config(encoder: int) -> CosyVoice2Config:
    """All 24 layers, codes and interfaces of the published model; all but `encoder` channels of the
    flow's encoder narrow."""
    return CosyVoice2Config(
        lm=LMConfig(
            d_model=64, n_heads=4, n_kv_heads=2, head_dim=16, d_ff=96, vocab_size=SMALL_BASE + 32
        ),
        flow=FlowConfig(
            encoder=FlowEncoderConfig(width=encoder, heads=2, d_ff=48, blocks=1, up_blocks=4),
            estimator=FlowEstimatorConfig(
                channels=32, heads=2, head_dim=8, n_blocks=1, mid_blocks=1
            ),
        ),
        hift=HiFTConfig(base_channels=32, f0_channels=16),
    )


SIZES = {
    "full": CosyVoice2Config(),
    # The official encoder has 512 channels whatever the YAML says.
    "small": small_config(512),
    "tiny": small_config(32),
}


def shapes(config: CosyVoice2Config, part: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a part, in its module's order."""
    with torch.device("meta"):
        module = FAMILY.build_part(config, part)
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def drawn(
    config: CosyVoice2Config, part: str, generator: torch.Generator
) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a part: matrices that keep the power of what they read, norms of one."""
    for name, shape in shapes(config, part).items():
        leaf = name.rsplit(".", 1)[-1]
        if leaf == "alpha" or (leaf == "weight" and len(shape) == 1):
            yield name, torch.ones(shape)
            continue
        value = torch.randn(shape, generator=generator)
        if len(shape) == 1 or leaf.startswith("pos_bias"):
            value *= 0.02
        elif "embed" in name and len(shape) == 2 and "embed." not in name:
            value *= 0.05 if part == "lm" else 1.0
        else:
            value *= 1 / math.sqrt(math.prod(shape[1:]))
        yield name, special(config, name, value)


def special(config: CosyVoice2Config, name: str, value: Tensor) -> Tensor:
    """The few tensors on whose scale it depends whether something is said, and ends."""
    if name == "llm_decoder.weight":
        return value.mul_(LOGIT_STD)
    if name == "llm_decoder.bias":
        value[config.lm.eos_id] = END_BIAS
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        value /= math.sqrt(2 * config.lm.n_layers)
    if name.startswith(("decoder.estimator.final_proj", "conv_post")):
        value *= QUIET
    if name == "f0_predictor.classifier.bias":
        value.fill_(PITCH)
    return value


def respelled(tensors: dict[str, Tensor], spelling: str) -> dict[str, Tensor]:
    """The vocoder's tensors with weight norm spelled as asked for."""
    pairs = list(zip(SPELLINGS["parametrized"], SPELLINGS[spelling], strict=True))
    renamed = {}
    for name, value in tensors.items():
        for ours, theirs in pairs:
            name = name.replace(ours, theirs)
        renamed[name] = value
    return renamed


def write(out: Path, *, size: str = "full", seed: int = 0, spelling: str = "parametrized") -> Path:
    """Write the folder.

    Args:
        out: made where it is missing.
        size: one of `SIZES`.
        seed: of everything drawn.
        spelling: of weight norm in hift.pt, `parametrized` or `old`.
    """
    config = SIZES[size]
    out.mkdir(parents=True, exist_ok=True)
    for index, (part, name) in enumerate(FILES.items()):
        generator = torch.Generator().manual_seed(seed * len(FILES) + index)
        tensors = FAMILY.to_published(part, dict(drawn(config, part, generator)))
        torch.save(respelled(tensors, spelling) if part == "hift" else tensors, out / name)
        if part == "lm":
            layout.write_text_model(out / QWEN_FOLDER / "model.safetensors", tensors)
        del tensors
        print(f"{name}  {(out / name).stat().st_size:,} bytes", file=sys.stderr)
    (out / YAML_FILE).write_text(layout.yaml_text(config), "utf-8")
    (out / "config.json").write_text("{}")
    (out / "configuration.json").write_text(json.dumps({"task": "text-to-speech"}))
    base = layout.PUBLISHED_BASE if size == "full" else SMALL_BASE
    layout.write_qwen(out / QWEN_FOLDER, config, base)
    onnx_graphs.write_speech_tokenizer(out / ONNX_PARTS["speech_tokenizer"], seed)
    onnx_graphs.write_speaker_encoder(out / ONNX_PARTS["speaker_encoder"], seed)
    return out


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--weight-norm", choices=sorted(SPELLINGS), default="parametrized")
    given = parser.parse_args()
    write(given.out, size=given.size, seed=given.seed, spelling=given.weight_norm)


if __name__ == "__main__":
    main()
