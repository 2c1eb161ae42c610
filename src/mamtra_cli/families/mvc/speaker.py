"""A loaded MVC model that speaks, over modules: see texts.py; a clip becomes a voice here.

A voice is one vector, the flow's speaker and the conditioner's style one after the other; a clip
gives both.
"""

from dataclasses import asdict
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from mamtra_cli.audio import LISTENING_RATE
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.mu import MuCodec
from mamtra_cli.codecs.flow_hift.mu2wav import MuToWave
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.codecs.flow_hift.token2wav import VoicePrompt
from mamtra_cli.errors import AudioError
from mamtra_cli.families.cloning import refuse_state, voice_facts
from mamtra_cli.families.mvc.conditioner import Conditioner, Style
from mamtra_cli.families.mvc.config import REFERENCE_FRAMES
from mamtra_cli.families.mvc.stream import ModuleReader
from mamtra_cli.families.mvc.texts import TextSpeaker, Told, wave_options
from mamtra_cli.families.speaker import Loaded
from mamtra_cli.features import fbank80, mel24k
from mamtra_cli.model_rate import to_rate
from mamtra_cli.voices.clip import Clip
from mamtra_cli.voices.voice import Voice

LEAST_FRAMES = 8


class MVCSpeaker(TextSpeaker):
    """See `families.speaker.Speaker`.

    Args:
        parts: of the model, loaded as they are asked for.
    """

    def __init__(self, parts: Loaded) -> None:
        super().__init__(parts)
        self.parts = parts

    def ready(self) -> None:
        """Load what speaking needs now, not when it is first used."""
        _ = self.conditioner, self.codec

    @property
    def conditioner(self) -> Conditioner:
        """Text to what the flow is given."""
        return cast(Conditioner, self.parts.part("conditioner"))

    @property
    def reader(self) -> ModuleReader:
        """The conditioner as texts are read by it."""
        return ModuleReader(self.conditioner)

    @cached_property
    def codec(self) -> MuCodec:
        """Frames of mu to sound."""
        config = self.config
        road = MuToWave(
            cast(Flow, self.parts.part("flow")),
            cast(HiFT | SourceFilter, self.parts.part(config.vocoder_part)),
            wave_options(config, self.parts.compute.device),
        )
        return MuCodec(
            road,
            sample_rate=config.mel.sample_rate,
            frame_rate=config.conditioner.frame_rate,
        )

    @torch.inference_mode()
    def style(self, voice: Voice) -> Style:
        """The conditioner's half of a voice, every norm modulated."""
        vector = voice.embedding[None, self.config.flow.speaker_dim :]
        return self.conditioner.styled(vector.float().to(self.parts.device))

    def sound_prompt(self, voice: Voice, settings: Told | None = None) -> VoicePrompt:
        """The flow's half of a voice."""
        del settings
        flow = self.config.flow
        return VoicePrompt.of_speaker(voice.embedding[: flow.speaker_dim], flow.mel_bins)

    def clone(
        self,
        clip: Clip,
        name: str,
        *,
        transcript: str = "",
        consent: str = "",
        prefill: bool = False,
    ) -> Voice:
        """Make a voice from a clip; its transcript is kept and not read.

        Raises:
            UsageError: a state is to be kept: there is none.
            AudioError: the clip is too short.
        """
        refuse_state(prefill)
        wave = torch.from_numpy(clip.samples)
        facts = voice_facts(self.parts, clip, transcript=transcript, consent=consent)
        return Voice(name=name, embedding=self.heard(wave, clip.rate), facts=facts)

    @torch.inference_mode()
    def heard(self, wave: Tensor, rate: int) -> Tensor:
        """The voice (speaker_dim + style_width,) of samples (S,)."""
        mel = mel24k(
            to_rate(wave, rate, self.config.mel.sample_rate), **asdict(self.config.mel)
        ).T.to(self.parts.device)
        if len(mel) < LEAST_FRAMES:
            raise AudioError("the clip is too short to hear a voice in")
        whole = max(1, len(mel) // REFERENCE_FRAMES)
        styles = [self.conditioner.style(part[None])[0] for part in mel.tensor_split(whole)]
        narrow = fbank80(to_rate(wave, rate, LISTENING_RATE)[None], subtract_mean=True)
        speaker = self.parts.part("speaker_encoder")(narrow.to(self.parts.device))[0]
        return torch.cat((speaker, torch.stack(styles).mean(0))).float().cpu().clone()
