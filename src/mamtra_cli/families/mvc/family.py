"""The family `mvc`: a conditioner of state-space models on the flow and vocoder of others."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mamtra_cli.codecs.flow_hift import parts
from mamtra_cli.codecs.flow_hift.few_steps import FewSteps, of_means, whose
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.errors import CheckpointError
from mamtra_cli.families.base import Upstream
from mamtra_cli.families.lessons import Example
from mamtra_cli.families.measures import Parts
from mamtra_cli.families.mvc.conditioner import Conditioner
from mamtra_cli.families.mvc.config import MVCConfig
from mamtra_cli.families.mvc.course import ConditionerCourse
from mamtra_cli.families.mvc.light import LightMVC
from mamtra_cli.families.mvc.speaker import MVCSpeaker
from mamtra_cli.families.speaker import Loaded, Speaker
from mamtra_cli.tensors import TensorFile
from mamtra_cli.voices.voice import Voice


class MVC(LightMVC):
    """See `families.base.Family`."""

    text_files: tuple[str, ...] = ()
    gathered: tuple[str, ...] = ()
    sizes = ("mini", "small", "default")

    def part_names(self, config: MVCConfig) -> tuple[str, ...]:
        """Conditioner, flow, vocoder and speaker encoder."""
        return (*self.speech_parts(config).values(), "speaker_encoder")

    def speech_parts(self, config: MVCConfig) -> dict[str, str]:
        """Conditioner, flow and vocoder."""
        return {"conditioner": "conditioner", "flow": "flow", "vocoder": config.vocoder_part}

    def build_part(self, config: MVCConfig, part: str) -> nn.Module:
        """Make one part with new weights."""
        if part == "conditioner":
            return Conditioner(config.conditioner)
        of_codec = parts.build(config, part)
        if of_codec is not None:
            return of_codec
        raise CheckpointError(
            f"an {self.name} model has no part `{part}`",
            f"it has {', '.join(self.part_names(config))}",
        )

    def upstream(self, folder: Path, *, configs_only: bool = False) -> Upstream | None:
        """Nobody publishes it."""
        del folder, configs_only
        return None

    def to_ours(self, part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Names are ours already."""
        del part
        return dict(tensors)

    to_published = to_ours

    def open_published(self, part: str, path: Path) -> TensorFile:
        """A file as it is."""
        del part
        return TensorFile(path)

    def foreign_parts(self, folder: Path) -> dict[str, Path]:
        """None: every part is ours to build."""
        del folder
        return {}

    def load_foreign(self, part: str, path: Path) -> nn.Module:
        """Fail: there are none."""
        raise CheckpointError(f"`{path.name}` is no part `{part}` of an {self.name} model")

    def conversion(self, config: MVCConfig) -> None:
        """There is no attention to exchange."""
        del config

    def encoder(
        self, config: MVCConfig, part: Parts, there: Collection[str], device: torch.device
    ) -> None:
        """It makes no frames of speech."""
        del config, part, there, device

    def lessons(self, config: MVCConfig, lm: nn.Module) -> None:
        """There is no language model."""
        del config, lm

    def course(
        self,
        teacher: Loaded,
        speaker: Speaker,
        folder: Path,
        voices: Sequence[Voice],
        examples: Sequence[Example],
        student: tuple[Any, Parts] | None,
        size: str = "",
    ) -> ConditionerCourse:
        """A conditioner under a model with a flow and a vocoder."""
        known: tuple[MVCConfig, Conditioner] | None = None
        if student is not None:
            part = student[1]("conditioner").requires_grad_(True)
            assert isinstance(part, Conditioner)
            known = student[0], part
        size = size or self.sizes[0]
        return ConditionerCourse(teacher, speaker, folder, voices, examples, known, size)

    def shortened(
        self, model: Loaded, speaker: Speaker, voices: Sequence[Voice], steps: int
    ) -> FewSteps:
        """A flow of few steps over what the conditioner says of texts."""

        @torch.no_grad()
        def means(example: Example) -> Tensor:
            voice = voices[whose(example.id, len(voices))]
            rows = [row.mu for one in speaker.made(example.text_ids, voice) for row in one.frames]
            return torch.stack(rows).to(model.device)

        size = model.config.flow.speaker_dim
        vectors = [voice.embedding[:size] for voice in voices]
        flow = cast(Flow, model.part("flow"))
        return FewSteps(model.config, flow, of_means(means), vectors, steps)

    def made_graphs(
        self, loaded: Loaded, folder: Path, quant: str = "none"
    ) -> Iterator[tuple[str, Any]]:
        """Its graphs by name, over the weights in a folder of our format."""
        from mamtra_cli.families.mvc.graphs import made_graphs

        return made_graphs(loaded, folder, quant)

    def speaker(self, loaded: Loaded) -> MVCSpeaker:
        """A loaded model, ready to speak."""
        return MVCSpeaker(loaded)


FAMILY = MVC()
