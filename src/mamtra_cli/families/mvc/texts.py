"""Texts and voices to frames of mu: what a speaker of this family does whatever it computes with.

Needs no torch. There is no token loop: durations say how many frames each phone has, so nothing can
be skipped or said twice.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Never

from mamtra_cli.codecs.flow_hift.mu import MuFrame
from mamtra_cli.codecs.flow_hift.windows import WaveOptions
from mamtra_cli.errors import UsageError
from mamtra_cli.families.light import LightParts
from mamtra_cli.families.mvc.config import MVCConfig
from mamtra_cli.families.mvc.manner import Settings, Steering
from mamtra_cli.families.mvc.windows import WHOLE, Reader, TextState, Windows, pushed
from mamtra_cli.families.settings import told
from mamtra_cli.families.speaker import Loaded, Made
from mamtra_cli.voices.library import check_fit, check_width
from mamtra_cli.voices.voice import Manner, Mode, Voice

LONGEST_PIECE = 7.0  # seconds of speech that a piece of text should take at most


@dataclass(frozen=True, kw_only=True)
class Told:
    """How a voice speaks."""

    settings: Settings = field(default_factory=Settings)
    mode: Mode = "speaker"


class TextSpeaker:
    """The part of `families.speaker.Speaker` that modules and graphs have in common.

    Args:
        parts: of the model, loaded as they are asked for.
    """

    tokens = None

    def __init__(self, parts: Loaded | LightParts) -> None:
        self.texts = parts
        self.config: MVCConfig = parts.config

    @property
    def reader(self) -> Reader:
        """The conditioning stack."""
        raise NotImplementedError

    def style(self, voice: Voice) -> Any:
        """The conditioner's half of a voice, as its reader takes it."""
        raise NotImplementedError

    def plain_tokens(self) -> Never:
        """Refuse: there are no tokens."""
        raise UsageError("this model draws no tokens", "name a model with a language model")

    def pieces(self, text: str, settings: Told | None = None) -> list[str]:
        """Cut a text into speakable pieces, at least one."""
        del settings
        most = round(LONGEST_PIECE * self.config.conditioner.symbol_rate)
        return self.texts.front_end.split(text, most)

    def encode(self, piece: str, settings: Told | None = None) -> list[int]:
        """Ids of one piece."""
        del settings
        return self.texts.front_end.ids(piece)

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
        reader, spoken = self.reader, count()
        for start in range(0, len(ids), step):
            last = start + step >= len(ids)
            state, chunks = pushed(reader, state, ids[start : start + step], last=last)
            for number, chunk in enumerate(chunks, 1):
                owners = [
                    owner for n, owner in zip(chunk.counts, spoken, strict=False) for _ in range(n)
                ]
                frames = tuple(map(MuFrame, chunk.mu, owners))
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

    def default_voice(self) -> None:
        """A voice is needed: nothing else says who speaks."""

    def fits(self, voice: Voice) -> None:
        """Refuse a voice that was made for another model."""
        check_width(voice, self.config.voice_dim)
        check_fit(voice, self.texts.fingerprint)


def wave_options(config: MVCConfig, device: str) -> WaveOptions:
    """The windows that a model's config asks for, and the solver's steps on a device."""
    return WaveOptions(
        first_tokens=config.hop_frames,
        hop_tokens=config.hop_frames,
        max_hop_tokens=config.max_hop_frames,
        context_tokens=config.context_frames,
        whole_tokens=config.whole_frames,
        steps=config.flow.steps_on(device),
    )
