"""A whole tiny model with random weights, in memory or as a folder."""

from pathlib import Path

import torch

from mamtra_cli.codecs.flow_hift.config import (
    FlowConfig,
    FlowEncoderConfig,
    FlowEstimatorConfig,
    HiFTConfig,
)
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.device import choose
from mamtra_cli.engine.loading.loaded import LoadedModel
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import TextError
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config, LMConfig
from mamtra_cli.families.cosyvoice2.family import FAMILY
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.voices.voice import Voice, save_voice

LETTERS = " abcdefghijklmnopqrstuvwxyz.?,'"


def tiny_config(**lm: object) -> CosyVoice2Config:
    """Sizes of the tiny model; keywords change its language model."""
    sizes = {
        "d_model": 32,
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 2,
        "head_dim": 8,
        "d_ff": 48,
        "vocab_size": len(LETTERS),
        "speech_vocab": 49,
        "min_ratio": 1.0,
        "max_ratio": 4.0,
        "positions": "aligned",
        "durations": (2.0,) * len(LETTERS),
    }
    return CosyVoice2Config(
        text="phones",
        lm=LMConfig(**{**sizes, **lm}),  # type: ignore[arg-type]
        flow=FlowConfig(
            vocab_size=49,
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


class Spelling:
    """A front end that spells: one piece a sentence, one id a letter."""

    def unreadable(self, character: str) -> bool:
        """Every sign is tried; what is no letter is refused as part of its sentence."""
        del character
        return False

    def split(self, text: str, max_ids: int) -> list[str]:
        found = [part.strip() + "." for part in text.split(".") if part.strip()]
        if not found:
            raise TextError("the text is empty", "give a sentence to speak")
        return found

    def ids(self, text: str) -> list[int]:
        unknown = [letter for letter in text.lower() if letter not in LETTERS]
        if unknown:
            raise TextError(f"cannot speak `{unknown[0]}`")
        return [LETTERS.index(letter) for letter in text.lower()]

    def prompt_ids(self, text: str) -> list[int]:
        return self.ids(text)


def tiny_engine(seed: int = 0, folder: Path | None = None, **lm: object) -> Engine:
    """An engine around random weights."""
    config = tiny_config(**lm)
    torch.manual_seed(seed)
    parts = {"lm": SpeechLM(config.lm), "flow": Flow(config.flow), "hift": HiFT(config.hift)}
    for part in parts.values():
        part.eval().requires_grad_(False)
    return Engine(
        LoadedModel(
            config=config,
            family=FAMILY,
            folder=folder or Path("tiny"),
            compute=choose("cpu", "float32"),
            name="tiny",
            parts=parts,
            opened_front_end=Spelling(),
        )
    )


def tiny_voice(prompt: int = 0) -> Voice:
    """A voice, with `prompt` tokens of a clip."""
    generator = torch.Generator().manual_seed(7)
    embedding = torch.randn(192, generator=generator)
    if not prompt:
        return Voice(name="anna", embedding=embedding)
    return Voice(
        name="anna",
        embedding=embedding,
        prompt_tokens=torch.randint(49, (prompt,), generator=generator),
        prompt_mel=torch.randn(2 * prompt, 80, generator=generator),
        prompt_text_ids=torch.randint(1, 20, (max(1, prompt // 2),), generator=generator),
    )


def add_voices(folder: Path, *names: str) -> None:
    """Write voices into a model folder."""
    for name in names:
        save_voice(tiny_voice(), folder / "voices" / f"{name}.safetensors")
