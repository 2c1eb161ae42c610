"""The family `cosyvoice2`: the published 0.5B model and `mini`, which differ in config only."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mamtra_cli.codecs.flow_hift import parts
from mamtra_cli.codecs.flow_hift.few_steps import FewSteps, of_tokens
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.speech_tokenizer import SpeechTokenizer
from mamtra_cli.errors import CheckpointError
from mamtra_cli.families.base import Upstream
from mamtra_cli.families.cosyvoice2 import onnx_parts, published, weights
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config
from mamtra_cli.families.cosyvoice2.encoder import TokenEncoder
from mamtra_cli.families.cosyvoice2.lessons import SpeechLessons
from mamtra_cli.families.cosyvoice2.light import LightCosyVoice2
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.measures import PipelineMeasures
from mamtra_cli.families.cosyvoice2.repository import TEXT_TABLE
from mamtra_cli.families.cosyvoice2.speaker import CosyVoice2Speaker
from mamtra_cli.families.exchange import Exchange
from mamtra_cli.families.measures import Parts
from mamtra_cli.families.speaker import Loaded, Speaker
from mamtra_cli.tensors import TensorSource
from mamtra_cli.voices.voice import Voice


class CosyVoice2(LightCosyVoice2):
    """See `families.base.Family`."""

    gathered = (TEXT_TABLE,)
    sizes: tuple[str, ...] = ()

    def part_names(self, config: CosyVoice2Config) -> tuple[str, ...]:
        """Language model, flow and vocoder, and mini's own encoders where the config has them."""
        own = (
            ("speech_tokenizer", config.speech_tokenizer),
            ("speaker_encoder", config.speaker_encoder),
        )
        return (*config.speaking_parts, *(part for part, sizes in own if sizes is not None))

    def speech_parts(self, config: CosyVoice2Config) -> dict[str, str]:
        """Language model, flow and vocoder."""
        return dict(zip(("lm", "flow", "vocoder"), config.speaking_parts, strict=True))

    def build_part(self, config: CosyVoice2Config, part: str) -> nn.Module:
        """Make one part with new weights."""
        if part == "lm":
            return SpeechLM(config.lm)
        if part == "speech_tokenizer" and config.speech_tokenizer is not None:
            return SpeechTokenizer(config.speech_tokenizer)
        of_codec = parts.build(config, part)
        if of_codec is not None:
            return of_codec
        raise CheckpointError(
            f"a {self.name} model of this configuration has no part `{part}`",
            f"it has {', '.join(self.part_names(config))}",
        )

    def upstream(self, folder: Path, *, configs_only: bool = False) -> Upstream | None:
        """Recognise a published folder."""
        return published.upstream(folder, configs_only=configs_only)

    def to_ours(self, part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published tensors under our names."""
        return weights.to_ours(part, tensors)

    def to_published(self, part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors under published names."""
        return weights.to_published(part, tensors)

    def open_published(self, part: str, path: Path) -> TensorSource:
        """A published file under our names."""
        return weights.PublishedFile(part, path)

    def foreign_parts(self, folder: Path) -> dict[str, Path]:
        """The published encoders of a voice, which are ONNX graphs."""
        named = {part: folder / name for part, name in published.ONNX_PARTS.items()}
        return {part: path for part, path in named.items() if path.is_file()}

    def load_foreign(self, part: str, path: Path) -> nn.Module:
        """Open one of them."""
        return onnx_parts.load(part, path)

    def conversion(self, config: CosyVoice2Config) -> Exchange:
        """The layers of the language model."""
        del config
        return Exchange()

    def encoder(
        self,
        config: CosyVoice2Config,
        part: Parts,
        there: Collection[str],
        device: torch.device,
    ) -> TokenEncoder | None:
        """The speech tokenizer and the speaker encoder, where they are there."""
        del config
        if "speech_tokenizer" not in there:
            return None
        speaker = part("speaker_encoder") if "speaker_encoder" in there else None
        return TokenEncoder(part("speech_tokenizer"), speaker, device)

    def lessons(self, config: CosyVoice2Config, lm: nn.Module) -> SpeechLessons:
        """The language model as something to be taught."""
        del config
        assert isinstance(lm, SpeechLM)
        return SpeechLessons(lm)

    def course(self, *given: Any) -> None:
        """It has a language model, which is taught by `lessons`."""
        del given

    def shortened(
        self, model: Loaded, speaker: Speaker, voices: Sequence[Voice], steps: int
    ) -> FewSteps:
        """A flow of few steps over what its encoder makes of tokens."""
        del speaker
        flow = cast(Flow, model.part("flow"))
        vectors = [torch.as_tensor(voice.embedding) for voice in voices]
        return FewSteps(model.config, flow, of_tokens(flow), vectors, steps)

    def measures(self, config: CosyVoice2Config) -> PipelineMeasures:
        """Its road to sound, and the official program."""
        del config
        return PipelineMeasures()

    def made_graphs(
        self, loaded: Loaded, folder: Path, quant: str = "none"
    ) -> Iterator[tuple[str, Any]]:
        """Its graphs by name, over the weights in a folder of our format; bits of the step."""
        from mamtra_cli.families.cosyvoice2.graphs import made_graphs

        return made_graphs(loaded, folder, quant)

    def speaker(self, loaded: Loaded) -> CosyVoice2Speaker:
        """A loaded model, ready to speak."""
        return CosyVoice2Speaker(loaded)


FAMILY = CosyVoice2()
