"""A loaded Zonos that speaks: texts, voices and settings to scripts, frames to sound.

See `families.speaker.Speaker`. A voice gives its vector; one with a transcript is gone on from as
well: its phones stand before those of the text, its frames before the speech, and what is spoken
begins after them. `Told` is how a voice speaks, resolved here, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import Any, cast

import torch

from mamtra_cli.errors import CheckpointError, UsageError
from mamtra_cli.families.cloning import refuse_state
from mamtra_cli.families.script import Frame
from mamtra_cli.families.speaker import Loaded
from mamtra_cli.families.zonos.cloning import clone
from mamtra_cli.families.zonos.config import ZonosConfig
from mamtra_cli.families.zonos.front_end import ZonosFrontEnd
from mamtra_cli.families.zonos.lm import ZonosLM
from mamtra_cli.families.zonos.manner import Settings, manner_of
from mamtra_cli.families.zonos.positions import USUAL_RATE, expected
from mamtra_cli.families.zonos.script import DelayScript, Prompt
from mamtra_cli.families.zonos.sound import FrameCodec, codec_of
from mamtra_cli.families.zonos.symbols import ROWS
from mamtra_cli.families.zonos.token_model import PlainTokens, ZonosTokens
from mamtra_cli.voices.clip import Clip
from mamtra_cli.voices.library import check_fit, check_width
from mamtra_cli.voices.voice import Manner, Mode, Voice

PIECE_SECONDS = 12.0  # of speech that a piece of text should take at most


@dataclass(frozen=True, kw_only=True)
class Told:
    """How a voice speaks.

    Attributes:
        mode: `zero-shot` goes on from the clip, `speaker` uses the vector alone.
        manner: conditions, guidance and language.
    """

    mode: Mode
    manner: Settings


class ZonosSpeaker:
    """See `families.speaker.Speaker`.

    Args:
        parts: of the model, loaded as they are asked for.
    """

    def __init__(self, parts: Loaded) -> None:
        self.parts = parts
        self.config: ZonosConfig = parts.config

    def ready(self) -> None:
        """Load what speaking needs now, not when it is first used."""
        _ = self.tokens, self.codec

    @property
    def lm(self) -> ZonosLM:
        """The language model."""
        return cast(ZonosLM, self.parts.part("lm"))

    @cached_property
    def tokens(self) -> ZonosTokens:
        """The language model arranged for the token loop."""
        return ZonosTokens(self.lm, self.config.sound.frame_rate)

    def plain_tokens(self) -> PlainTokens:
        """The language model as it is, for the token loop of a training."""
        return PlainTokens(self.lm, self.config.sound.frame_rate)

    @cached_property
    def codec(self) -> FrameCodec:
        """Frames to sound."""
        return codec_of(self.parts.part("codec"))

    def front_end(self, settings: Told | None) -> ZonosFrontEnd:
        """The front end of a language, or of given phones."""
        own = cast(ZonosFrontEnd, self.parts.front_end)
        if settings is None:
            return own
        return replace(own, language=settings.manner.language, given=settings.manner.phones)

    def pieces(self, text: str, settings: Told | None = None) -> list[str]:
        """Cut a text into speakable pieces, at least one."""
        return self.front_end(settings).split(text, round(PIECE_SECONDS * _rate(settings)))

    def encode(self, piece: str, settings: Told | None = None) -> list[int]:
        """Ids of one piece."""
        return self.front_end(settings).ids(piece)

    def settings(self, voice: Voice, asked: Manner | None = None) -> Told:
        """How a voice speaks: as asked, else going on from its clip where that is told.

        Raises:
            UsageError: the model cannot do what was asked, or the voice lacks what it needs.
        """
        asked = asked or Manner()
        if asked.mode == "instruct":
            raise UsageError(
                "this model does not follow instructions in words", "use `--set emotion=...`"
            )
        manner = manner_of(self.config.lm, asked.told, Settings(guidance=self.config.guidance))
        mode: Mode = "zero-shot" if voice.asked(asked) == "zero-shot" else "speaker"
        return Told(mode=mode, manner=manner)

    def begin(
        self,
        ids: Sequence[int],
        voice: Voice | None = None,
        settings: Told | None = None,
        *,
        most: int | None = None,
    ) -> DelayScript:
        """The script of one piece."""
        settings = settings or self.settings(voice or self.default_voice())
        rate = self.config.sound.frame_rate
        longest = ceil(self.config.max_seconds * rate)
        given: tuple[Frame, ...] = ()
        spoken = list(ids)
        if voice is not None and settings.mode == "zero-shot":
            given = frames_of(voice)
            # One text: what the clip says, a space, what is to be said.
            spoken = [*self._transcript(voice, settings)[:-1], ROWS[" "], *ids[1:]]
        vector = None if voice is None or not len(voice.embedding) else voice.embedding.tolist()
        return DelayScript.begin(
            self.config.lm,
            Prompt(
                ids=tuple(spoken),
                voice=None if vector is None else tuple(vector),
                manner=settings.manner,
            ),
            longest if most is None else max(1, min(most, longest)),
            given,
            expected=self._expected(ids, settings),
            scrambled=settings.manner.scrambled_tail,
        )

    def after(
        self, ids: Sequence[int], frames: Sequence[Frame], voice: Voice, settings: Told
    ) -> tuple[Voice, Told]:
        """The piece as more of the clip, or as one: its phones before those of what follows."""
        text, given = list(ids), list(frames)
        if settings.mode == "zero-shot":
            text = [*self._transcript(voice, settings)[:-1], ROWS[" "], *ids[1:]]
            given = [*frames_of(voice), *frames]
        longer = replace(
            voice,
            prompt_text_ids=torch.tensor(text),
            prompt_tokens=torch.tensor(given),
            facts=None,
            state=None,
        )
        return longer, replace(settings, mode="zero-shot")

    def turns(self, voice: Voice, settings: Told | None = None) -> DelayScript:
        """Refuse: the model was not taught to read and speak in turns."""
        raise UsageError(
            "this model cannot speak while its text arrives word by word",
            "`--text-stream` speaks each sentence as soon as it is complete",
        )

    def counts(self, ids: Sequence[int], frames: Sequence[Any], voice: Any, settings: Any) -> None:
        """Nothing was taught to say which id is being spoken."""

    def sound_prompt(self, voice: Voice, settings: Told | None = None) -> tuple[Frame, ...]:
        """Frames of the clip, after which those of the speech are decoded."""
        told = settings or self.settings(voice)
        return frames_of(voice) if told.mode == "zero-shot" else ()

    def fits(self, voice: Voice) -> None:
        """Refuse a voice that was made for another model."""
        lm = self.config.lm
        if len(voice.embedding):
            check_width(voice, self.parts.family.facts(self.config).speaker_dim)
        tokens = voice.prompt_tokens
        if len(tokens) and (tokens.ndim != 2 or tokens.shape[1] != lm.codebooks):
            raise CheckpointError(
                f"voice `{voice.name}` holds no frames of {lm.codebooks} ids",
                hint="it belongs to another model",
            )
        check_fit(voice, self.parts.fingerprint)

    def default_voice(self) -> Voice:
        """A voice of the model's choice: its vector is left unsaid."""
        return Voice(name="unsaid", embedding=torch.zeros(0))

    def clone(
        self,
        clip: Clip,
        name: str,
        *,
        transcript: str = "",
        consent: str = "",
        prefill: bool = False,
    ) -> Voice:
        """Make a voice from a clip.

        Raises:
            UsageError: a state is to be kept: it would hold the conditions of one manner.
        """
        refuse_state(prefill)
        voice = clone(self.parts, self.codec, clip, name, transcript=transcript, consent=consent)
        self.fits(voice)
        return voice

    def _expected(self, ids: Sequence[int], settings: Told) -> float:
        """Frames that a piece should take."""
        rate = settings.manner.speaking_rate or USUAL_RATE
        frames = expected(self.config.lm, ids, rate)
        return self.config.sound.frame_rate * len(ids) / rate if frames is None else sum(frames)

    def _transcript(self, voice: Voice, settings: Told) -> list[int]:
        """Phones of what a clip says, in the language of the speech."""
        said = "" if voice.facts is None else voice.facts.transcript
        if not said:
            return cast(list[int], voice.prompt_text_ids.tolist())
        return self.front_end(settings).prompt_ids(said)


def frames_of(voice: Voice) -> tuple[Frame, ...]:
    """Frames of the clip of a voice."""
    return tuple(tuple(frame) for frame in voice.prompt_tokens.tolist())


def _rate(settings: Told | None) -> float:
    """Phones a second."""
    told = None if settings is None else settings.manner.speaking_rate
    return told or USUAL_RATE
