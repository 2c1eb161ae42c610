"""The family `zonos`: both published checkpoints of Zonos-v0.1, which differ in config only."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mamtra_cli.checkpoint import sha256_once
from mamtra_cli.codecs.dac.model import Dac
from mamtra_cli.codecs.residual_mel.model import ResidualMel
from mamtra_cli.errors import CheckpointError
from mamtra_cli.families.base import Facts, Learned, Upstream
from mamtra_cli.families.exchange import Exchange
from mamtra_cli.families.front_end import FrontEnd
from mamtra_cli.families.measures import Parts
from mamtra_cli.families.speaker import Loaded
from mamtra_cli.families.zonos import costs, published, weights
from mamtra_cli.families.zonos.config import ZonosConfig
from mamtra_cli.families.zonos.encoder import FrameEncoder
from mamtra_cli.families.zonos.front_end import ZonosFrontEnd
from mamtra_cli.families.zonos.lessons import ZonosLessons
from mamtra_cli.families.zonos.lm import ZonosLM
from mamtra_cli.families.zonos.measures import PipelineMeasures
from mamtra_cli.families.zonos.sound import codec_model
from mamtra_cli.families.zonos.speaker import ZonosSpeaker
from mamtra_cli.families.zonos.speaker_encoder import SpeakerEncoder
from mamtra_cli.families.zonos.symbols import LANGUAGES, ROWS, TABLE_ROWS
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.tensors import TensorFile, TensorSource

PARTS = ("lm", "codec", "speaker")
ROLES = {"speech_tokenizer": "codec", "speaker_encoder": "speaker"}


class Zonos:
    """See `families.base.Family`."""

    name = "zonos"
    config_class = ZonosConfig
    text_files: tuple[str, ...] = ()
    gathered: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()

    def part_names(self, config: ZonosConfig) -> tuple[str, ...]:
        """The language model, the codec and the speaker encoder."""
        del config
        return PARTS

    def speech_parts(self, config: ZonosConfig) -> dict[str, str]:
        """Language model and codec."""
        del config
        return {"lm": "lm", "codec": "codec"}

    def build_part(self, config: ZonosConfig, part: str) -> nn.Module:
        """Make one part with new weights."""
        if part == "lm":
            return ZonosLM(config.lm)
        if part == "codec":
            return Dac(config.codec) if config.mel_codec is None else ResidualMel(config.mel_codec)
        if part == "speaker":
            return SpeakerEncoder(config.speaker)
        raise CheckpointError(
            f"a {self.name} model has no part `{part}`", f"it has {', '.join(PARTS)}"
        )

    def upstream(self, folder: Path, *, configs_only: bool = False) -> Upstream | None:
        """Recognise a published folder."""
        return published.upstream(folder, configs_only=configs_only)

    def to_ours(self, part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published tensors under our names."""
        return weights.to_ours(tensors) if part == "lm" else dict(tensors)

    def to_published(self, part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors under published names."""
        return weights.to_published(tensors) if part == "lm" else dict(tensors)

    def open_published(self, part: str, path: Path) -> TensorSource:
        """A published file under our names; the speaker encoder's are two."""
        if part == "lm":
            return weights.PublishedLM(path)
        return weights.PublishedSpeaker(path) if part == "speaker" else TensorFile(path)

    def foreign_parts(self, folder: Path) -> dict[str, Path]:
        """None: every part is ours to build."""
        del folder
        return {}

    def load_foreign(self, part: str, path: Path) -> nn.Module:
        """Fail: there are none."""
        raise CheckpointError(f"`{path.name}` is no part `{part}` of a {self.name} model")

    def facts(self, config: ZonosConfig) -> Facts:
        """Numbers of a model of this config."""
        lm = config.lm
        vector = next((each.width for each in lm.conditions if each.kind == "vector"), 0)
        return Facts(
            sample_rate=config.sound.sample_rate,
            frame_rate=config.sound.frame_rate,
            codebooks=lm.codebooks,
            codes=lm.codes,
            text_ids=TABLE_ROWS,
            speaker_dim=vector,
            stack=lm.hybrid,
            head=costs.head_of(lm),
            learned=Learned(clips=True, voices=True),
        )

    def conversion(self, config: ZonosConfig) -> Exchange:
        """The layers of the language model."""
        del config
        return Exchange()

    def encoder(
        self, config: ZonosConfig, part: Parts, there: Collection[str], device: torch.device
    ) -> FrameEncoder | None:
        """The codec's frames, and voices where the speaker encoder is there."""
        del config, device
        if "codec" not in there:
            return None
        speaker = part("speaker") if "speaker" in there else None
        assert speaker is None or isinstance(speaker, SpeakerEncoder)
        return FrameEncoder(codec_model(part("codec")), speaker)

    def lessons(self, config: ZonosConfig, lm: nn.Module) -> ZonosLessons:
        """A loaded language model as something to be taught."""
        del config
        assert isinstance(lm, ZonosLM)
        return ZonosLessons(lm)

    def course(self, *given: Any) -> None:
        """It has a language model, which is taught by `lessons`."""
        del given

    def shortened(self, *given: Any) -> None:
        """Its codec solves nothing."""
        del given

    def measures(self, config: ZonosConfig) -> PipelineMeasures:
        """What can be measured from text to sound."""
        del config
        return PipelineMeasures()

    def fingerprint(self, folder: Path, config: ZonosConfig, part: str) -> str:
        """SHA-256 of the file of a part, or of the table of phones."""
        if part == "front_end":
            return hashlib.sha256(repr((ROWS, LANGUAGES)).encode()).hexdigest()
        part = ROLES.get(part, part)
        path = folder / f"{part}.safetensors"
        if not path.is_file():
            found = published.upstream(folder, configs_only=True)
            path = path if found is None else found.parts[part]
        return sha256_once(path) if path.is_file() else ""

    def front_end(self, folder: Path, config: ZonosConfig) -> FrontEnd:
        """Phones by the user's own espeak, in American English until a voice says otherwise."""
        del folder, config
        return ZonosFrontEnd()

    def speaker(self, parts: Loaded) -> ZonosSpeaker:
        """A loaded model, ready to speak."""
        return ZonosSpeaker(parts)

    def sampling(self, config: ZonosConfig) -> Sampling:
        """Min-p with a penalty on repetitions."""
        return Sampling(
            temperature=config.temperature,
            min_p=config.min_p,
            repetition_penalty=config.repetition_penalty,
            penalty_window=config.penalty_window,
        )

    def lesson_sampling(self, config: ZonosConfig) -> Sampling:
        """The same."""
        return self.sampling(config)


FAMILY = Zonos()
