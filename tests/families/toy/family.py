"""The family `toy`: everything the contract asks of it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from tests.families.toy.lm import LETTERS, ToyConfig, ToyLessons, ToyLM
from tests.families.toy.speaker import FRAME_RATE, SAMPLE_RATE, ToySpeaker
from torch import nn

from mamtra_cli.backbone.costs import Head
from mamtra_cli.checkpoint import sha256
from mamtra_cli.errors import TextError, UsageError
from mamtra_cli.families.base import Facts, Upstream
from mamtra_cli.families.measures import Parts
from mamtra_cli.ops.sampling import Sampling


class Letters:
    """One id a letter."""

    def split(self, text: str, max_ids: int) -> list[str]:
        """Sentences."""
        found = [part.strip() + "." for part in text.split(".") if part.strip()]
        if not found:
            raise TextError("the text is empty", "give a sentence to speak")
        return found

    def ids(self, text: str) -> list[int]:
        """Letters; others are not spoken."""
        return [LETTERS.index(letter) for letter in text.lower() if letter in LETTERS]

    prompt_ids = ids

    def unreadable(self, character: str) -> bool:
        """Nothing: what has no letter is passed over."""
        return False

    def with_rules(self, rules: str) -> "Letters":
        """There are none to change."""
        return self

    def instruction_ids(self, text: str) -> list[int]:
        """None are followed."""
        raise UsageError("this model follows no instructions")


class Exchange:
    """See `families.base.Conversion`."""

    part = "lm"

    def with_mixers(self, config: ToyConfig, kinds: str, mixer: Mapping[str, Any]) -> ToyConfig:
        """The config with other layers."""
        return ToyConfig(**{**vars(config), "kinds": kinds, "mixer": dict(mixer)})


class Toy:
    """See `families.base.Family`."""

    name = "toy"
    config_class = ToyConfig
    text_files = ()
    gathered = ()
    sizes = ()

    def part_names(self, config: ToyConfig) -> tuple[str, ...]:
        """One part."""
        return ("lm",)

    def speech_parts(self, config: ToyConfig) -> dict[str, str]:
        """The codec has no weights."""
        return {"lm": "lm"}

    def build_part(self, config: ToyConfig, part: str) -> nn.Module:
        """The language model."""
        return ToyLM(config)

    def upstream(self, folder: Path, *, configs_only: bool = False) -> Upstream | None:
        """Nobody publishes it."""
        return None

    def foreign_parts(self, folder: Path) -> dict[str, Path]:
        """None."""
        return {}

    def facts(self, config: ToyConfig) -> Facts:
        """Its numbers."""
        return Facts(
            sample_rate=SAMPLE_RATE,
            frame_rate=FRAME_RATE,
            codebooks=config.codebooks,
            codes=config.codes,
            text_ids=len(LETTERS),
            speaker_dim=0,
            stack=config.hybrid,
            head=Head(
                text_vocab=len(LETTERS),
                speech_vocab=config.codes + 1,
                codebooks=config.codebooks,
                special=0,
            ),
        )

    def conversion(self, config: ToyConfig) -> Exchange:
        """The layers of its stack."""
        return Exchange()

    def speaker(self, parts: Any) -> ToySpeaker:
        """Its language model and tones."""
        return ToySpeaker(parts)

    def encoder(
        self, config: ToyConfig, part: Parts, there: Collection[str], device: torch.device
    ) -> None:
        """It hears nothing."""

    def lessons(self, config: ToyConfig, lm: nn.Module) -> ToyLessons:
        """Its language model can be taught."""
        assert isinstance(lm, ToyLM)
        return ToyLessons(lm)

    def course(self, *given: Any) -> None:
        """It has a language model, which is taught by its lessons."""

    def shortened(self, *given: Any) -> None:
        """Its codec solves nothing."""

    def measures(self, config: ToyConfig) -> None:
        """Nothing is known of another pipeline."""

    def fingerprint(self, folder: Path, config: ToyConfig, part: str) -> str:
        """Of the part's file."""
        path = folder / f"{part}.safetensors"
        return sha256(path) if path.is_file() else ""

    def front_end(self, folder: Path, config: ToyConfig) -> Letters:
        """Letters."""
        return Letters()

    def sampling(self, config: ToyConfig) -> Sampling:
        """As it comes."""
        return Sampling()

    lesson_sampling = sampling


FAMILY = Toy()
