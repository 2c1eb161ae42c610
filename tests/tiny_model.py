"""A whole model folder in our format with random weights and mini's text front end: 200 kB.

It speaks noise, but every command runs on it as on a trained model.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import torch

from mamtra_cli.card import CardFacts, model_card
from mamtra_cli.checkpoint import FolderWriter
from mamtra_cli.codecs.flow_hift.config import (
    FlowConfig,
    FlowEncoderConfig,
    FlowEstimatorConfig,
    HiFTConfig,
    SourceFilterConfig,
    SpeakerEncoderConfig,
    SpeechTokenizerConfig,
)
from mamtra_cli.config import to_dict
from mamtra_cli.families.cosyvoice2.config import (
    CosyVoice2Config,
    LMConfig,
)
from mamtra_cli.families.cosyvoice2.family import FAMILY
from mamtra_cli.hub import BUILT_IN

FRONT_END = ("symbols.json", "lexicon.txt.xz", "letter_to_sound.safetensors")
SYMBOLS = 59
CODES = 49


def tiny_config(layers: int = 4) -> CosyVoice2Config:
    """Sizes of the tiny model."""
    return CosyVoice2Config(
        text="phones",
        lm=LMConfig(
            d_model=32,
            n_layers=layers,
            n_heads=4,
            n_kv_heads=2,
            head_dim=8,
            d_ff=48,
            vocab_size=SYMBOLS,
            speech_vocab=CODES,
            min_ratio=1.0,
            max_ratio=4.0,
            positions="aligned",
            durations=(2.0,) * SYMBOLS,
        ),
        flow=FlowConfig(
            vocab_size=CODES,
            steps=2,
            encoder=FlowEncoderConfig(width=16, heads=2, d_ff=32, blocks=1, up_blocks=1),
            estimator=FlowEstimatorConfig(
                channels=16, heads=2, head_dim=8, n_blocks=1, mid_blocks=1
            ),
        ),
        hift=HiFTConfig(base_channels=16, f0_channels=16),
        top_p=1.0,
        top_k=0,
        ras_window=0,
    )


def random_tensors(config: CosyVoice2Config, part: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights of a part: far from their start, so that nothing is zero by luck."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # or the start would hang on the tests that ran before
        state = FAMILY.build_part(config, part).state_dict()
    return {
        name: value + 0.1 * torch.randn(value.shape, generator=generator)
        if value.is_floating_point()
        else value
        for name, value in state.items()
    }


def write_tiny_model(
    target: Path,
    *,
    layers: int = 4,
    storage: str = "float32",
    license: str = "apache-2.0",
    seed: int = 0,
    copies: bool = False,
    source_filter: bool = False,
) -> Path:
    """Write the folder.

    Args:
        target: where.
        layers: depth of the language model.
        storage: type of its weights on disk.
        license: of its card.
        seed: of its weights.
        copies: with what it takes to copy a voice from a clip.
        source_filter: with that vocoder in place of HiFT.
    """
    config = tiny_config(layers)
    if copies:
        config = replace(
            config,
            speech_tokenizer=SpeechTokenizerConfig(width=16, heads=2, layers=1, levels=(7, 7)),
            speaker_encoder=SpeakerEncoderConfig(width=8, layers=1),
        )
    if source_filter:
        sizes = SourceFilterConfig(width=16, pitch_width=8)
        config = replace(config, source_filter=sizes)
    with FolderWriter(target) as writer:
        for part in FAMILY.part_names(config):
            tensors = random_tensors(config, part, seed)
            kind = storage if part == "lm" else "float32"
            writer.write_tensors(f"{part}.safetensors", tensors.items(), storage=kind)
        generator = torch.Generator().manual_seed(seed)
        for voice in ("ann", "bob"):
            embedding = torch.randn(192, generator=generator)
            writer.write_tensors(f"voices/{voice}.safetensors", [("embedding", embedding)])
        writer.write_config(FAMILY.name, to_dict(config))
        writer.write_text("README.md", model_card(CardFacts(name="tiny", license=license)))
        for name in FRONT_END:
            shutil.copyfile(BUILT_IN["mini"] / name, writer.path / name)
    return target
