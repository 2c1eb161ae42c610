"""A loaded MVC model that speaks: texts, voices and settings to frames of mu, and those to sound.

See `families.speaker.Speaker`. There is no token loop: durations say how many frames each phone
has, so nothing can be skipped or said twice. A voice is one vector, the flow's speaker and the
conditioner's style one after the other; a clip gives both.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import count
from typing import Never, cast

import torch
from torch import Tensor

from mamtra_cli.audio import LISTENING_RATE
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.mu2wav import MuCodec, MuFrame, MuToWave
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.codecs.flow_hift.token2wav import VoicePrompt
from mamtra_cli.codecs.flow_hift.windows import WaveOptions
from mamtra_cli.errors import AudioError, UsageError
from mamtra_cli.families.cloning import refuse_state, voice_facts
from mamtra_cli.families.mvc.conditioner import Conditioner, Steering, Style
from mamtra_cli.families.mvc.config import REFERENCE_FRAMES, MVCConfig
from mamtra_cli.families.mvc.manner import Settings
from mamtra_cli.families.mvc.stream import WHOLE, TextState, Windows, push
from mamtra_cli.families.settings import told
from mamtra_cli.families.speaker import Loaded, Made
from mamtra_cli.features import fbank80, mel24k
from mamtra_cli.model_rate import to_rate
from mamtra_cli.voices.clip import Clip
from mamtra_cli.voices.library import check_fit, check_width
from mamtra_cli.voices.voice import Manner, Mode, Voice

LONGEST_PIECE = 7.0  # seconds of speech that a piece of text should take at most
LEAST_FRAMES = 8


@dataclass(frozen=True, kw_only=True)
class Told:
    """How a voice speaks."""

    settings: Settings = field(default_factory=Settings)
    mode: Mode = "speaker"


class MVCSpeaker:
    """See `families.speaker.Speaker`.

    Args:
        parts: of the model, loaded as they are asked for.
    """

    tokens = None

    def __init__(self, parts: Loaded) -> None:
        self.parts = parts
        self.config: MVCConfig = parts.config

    def ready(self) -> None:
        """Load what speaking needs now, not when it is first used."""
        _ = self.conditioner, self.codec

    @property
    def conditioner(self) -> Conditioner:
        """Text to what the flow is given."""
        return cast(Conditioner, self.parts.part("conditioner"))

    @cached_property
    def codec(self) -> MuCodec:
        """Frames of mu to sound."""
        config = self.config
        road = MuToWave(
            cast(Flow, self.parts.part("flow")),
            cast(HiFT | SourceFilter, self.parts.part(config.vocoder_part)),
            WaveOptions(
                first_tokens=config.hop_frames,
                hop_tokens=config.hop_frames,
                max_hop_tokens=config.max_hop_frames,
                context_tokens=config.context_frames,
                whole_tokens=config.whole_frames,
                steps=config.flow.steps_on(self.parts.compute.device),
            ),
        )
        return MuCodec(
            road,
            sample_rate=config.mel.sample_rate,
            frame_rate=config.conditioner.frame_rate,
        )

    def plain_tokens(self) -> Never:
        """Refuse: there are no tokens."""
        raise UsageError("this model draws no tokens", "name a model with a language model")

    def pieces(self, text: str, settings: Told | None = None) -> list[str]:
        """Cut a text into speakable pieces, at least one."""
        del settings
        most = round(LONGEST_PIECE * self.config.conditioner.symbol_rate)
        return self.parts.front_end.split(text, most)

    def encode(self, piece: str, settings: Told | None = None) -> list[int]:
        """Ids of one piece."""
        del settings
        return self.parts.front_end.ids(piece)

    def settings(self, voice: Voice, asked: Manner | None = None) -> Told:
        """How a voice speaks.

        Raises:
            UsageError: a mode that there is not, or a setting that cannot be.
        """
        asked = asked or Manner()
        if asked.mode not in (None, "speaker"):
            raise UsageError(
                f"this model has no {asked.mode} mode", "a voice is a vector: leave the mode out"
            )
        return Told(settings=told(Settings(), asked.told))

    def begin(
        self,
        ids: Sequence[int],
        voice: Voice | None = None,
        settings: Told | None = None,
        *,
        most: int | None = None,
    ) -> Never:
        """Refuse: there is no token loop."""
        self.plain_tokens()

    def after(
        self, ids: Sequence[int], frames: Sequence[object], voice: Voice, settings: object
    ) -> None:
        """Nothing: a piece is made whole, and of its text alone."""

    def turns(self, voice: Voice, settings: Told | None = None) -> Never:
        """Refuse: there is no token loop."""
        self.plain_tokens()

    def made(
        self,
        ids: Sequence[int],
        voice: Voice,
        settings: Told | None = None,
        *,
        seed: int = 0,
        speed: float = 1.0,
        stream: bool = False,
    ) -> Iterator[Made]:
        """Frames of a text, window by window where they are streamed; nothing is random."""
        del seed
        how = (settings or self.settings(voice)).settings
        windows = WHOLE
        if stream and how.lookahead is not None:
            rate = self.config.conditioner.symbol_rate
            windows = Windows.of_seconds(how.lookahead, rate, self.config.commit)
        state = TextState(
            style=self.style(voice),
            windows=windows,
            steering=Steering(speed=speed, pitch=how.pitch, energy=how.energy),
        )
        step = len(ids) if windows is WHOLE else windows.commit
        spoken = count()
        for start in range(0, len(ids), step):
            last = start + step >= len(ids)
            state, chunks = push(self.conditioner, state, ids[start : start + step], last=last)
            for number, chunk in enumerate(chunks, 1):
                owners = [
                    owner for n, owner in zip(chunk.counts, spoken, strict=False) for _ in range(n)
                ]
                frames = tuple(map(MuFrame, chunk.mu.cpu().unbind(), owners))
                yield Made(frames=frames, last=last and number == len(chunks))

    def counts(
        self,
        ids: Sequence[int],
        frames: Sequence[MuFrame],
        voice: Voice,
        settings: Told | None = None,
    ) -> tuple[int, ...]:
        """Frames of each id: every frame knows whose it is."""
        del voice, settings
        owned = Counter(frame.owner for frame in frames)
        return tuple(owned[number] for number in range(len(ids)))

    def style(self, voice: Voice) -> Style:
        """The conditioner's half of a voice, every norm modulated."""
        vector = voice.embedding[None, self.config.flow.speaker_dim :]
        with torch.inference_mode():
            return self.conditioner.styled(vector.float().to(self.parts.device))

    def sound_prompt(self, voice: Voice, settings: Told | None = None) -> VoicePrompt:
        """The flow's half of a voice."""
        del settings
        flow = self.config.flow
        return VoicePrompt.of_speaker(voice.embedding[: flow.speaker_dim], flow.mel_bins)

    def default_voice(self) -> None:
        """A voice is needed: nothing else says who speaks."""

    def fits(self, voice: Voice) -> None:
        """Refuse a voice that was made for another model."""
        check_width(voice, self.config.voice_dim)
        check_fit(voice, self.parts.fingerprint)

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
