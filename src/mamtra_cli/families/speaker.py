"""A loaded model that speaks: texts and voices to scripts, frames to sound, clips to voices.

Types only; what a family brings beside its `Family` (base.py). A script and the model that reads it
are typed in script.py, what makes sound of frames in `codecs.base`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mamtra_cli.codecs.base import Codec
from mamtra_cli.families.front_end import FrontEnd
from mamtra_cli.families.script import Script, TokenModel
from mamtra_cli.voices.voice import Manner, Voice

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mamtra_cli.device import Compute
    from mamtra_cli.voices.clip import Clip


class Loaded(Protocol):
    """What a speaker is made of: the parts of one model, each loaded when it is first asked for.

    Attributes:
        config: the family's own.
        family: whose model it is.
        name: what the model is called here.
        compute, device: what it runs on.
        front_end: text to ids.
    """

    @property
    def config(self) -> Any: ...

    @property
    def family(self) -> Any: ...

    @property
    def name(self) -> str: ...

    @property
    def compute(self) -> "Compute": ...

    @property
    def device(self) -> "torch.device": ...

    @property
    def front_end(self) -> FrontEnd: ...

    def part(self, name: str) -> "nn.Module":
        """A part, placed on the device."""
        ...

    def fingerprint(self, part: str) -> str:
        """SHA-256 of the files behind a part or the front end; "" where they are not there."""
        ...

    def given(self, part: str) -> bool:
        """Whether another part was put in the place of the one in the files."""
        ...


@dataclass(frozen=True, kw_only=True)
class Made:
    """A part of an utterance, final when it comes.

    Attributes:
        frames: what the codec makes sound of.
        last: whether the utterance ends with it.
    """

    frames: Sequence[Any]
    last: bool


class Speaker(Protocol):
    """A loaded model that speaks. Settings are the family's own value, which others pass on.

    Attributes:
        tokens: the model as the token loop drives it; None where frames are `made` without one.
        codec: frames to sound.
    """

    @property
    def tokens(self) -> TokenModel | None: ...

    @property
    def codec(self) -> Codec: ...

    def plain_tokens(self) -> TokenModel:
        """The same over the modules as they are, for a model under training."""
        ...

    def ready(self) -> None:
        """Load what speaking needs now, not when it is first used."""
        ...

    def pieces(self, text: str, settings: Any = None) -> list[str]:
        """Cut a text into speakable pieces, at least one.

        Args:
            text: what to speak.
            settings: resolved ones, which may tell a language; None for the model's own.

        Raises:
            TextError: there is nothing to speak, or something that cannot be.
        """
        ...

    def encode(self, piece: str, settings: Any = None) -> list[int]:
        """Ids of one piece."""
        ...

    def settings(self, voice: Voice, asked: Manner | None = None) -> Any:
        """How a voice speaks, resolved once: as asked, else in the richest way that both know.

        Returns:
            the family's own value; others read of it only its `mode`, a `voices.voice.Mode`.

        Raises:
            UsageError: the voice lacks what was asked for.
        """
        ...

    def begin(
        self,
        ids: Sequence[int],
        voice: Voice | None = None,
        settings: Any = None,
        *,
        most: int | None = None,
    ) -> Script:
        """The script of a text that is whole.

        Args:
            ids: of one piece.
            voice: whose prompt goes before; None for none.
            settings: resolved ones; None for the voice's own.
            most: cap in frames, if it is below the model's own.
        """
        ...

    def after(
        self, ids: Sequence[int], frames: Sequence[Any], voice: Voice, settings: Any
    ) -> tuple[Voice, Any] | None:
        """A voice that goes on from a piece it has said, for `begin` alone, and its settings.

        Args:
            ids: of that piece.
            frames: all of it.
            voice, settings: it was given, whose own prompt stays before the piece.

        Returns:
            None where the model, or this way of speaking, cannot go on from speech.
        """
        ...

    def turns(self, voice: Voice, settings: Any = None) -> Script:
        """The script of a text that arrives; only for models that learned to speak in turns."""
        ...

    def made(
        self,
        ids: Sequence[int],
        voice: Voice,
        settings: Any = None,
        *,
        seed: int = 0,
        speed: float = 1.0,
        stream: bool = False,
    ) -> Iterator[Made]:
        """Frames of a text without a token loop: only where `tokens` is None.

        Args:
            ids: of one piece.
            voice: who speaks.
            settings: resolved ones; None for the voice's own.
            seed: of whatever is random.
            speed: 2 speaks twice as fast; the frames have it, so the codec leaves it alone.
            stream: in parts, as soon as each is final; else in one.
        """
        ...

    def counts(
        self, ids: Sequence[int], frames: Sequence[Any], voice: Voice, settings: Any
    ) -> tuple[int, ...] | None:
        """How many of the frames each id takes, in order; None where the model cannot tell.

        Args:
            ids: of one piece.
            frames: all that were spoken for it, at least one.
            voice, settings: they were spoken with.
        """
        ...

    def sound_prompt(self, voice: Voice, settings: Any = None) -> Any:
        """What the codec is shown of a voice."""
        ...

    def default_voice(self) -> Voice | None:
        """Who speaks where no voice is named and the model has none; None where one is needed."""
        ...

    def fits(self, voice: Voice) -> None:
        """Check that a voice is one of this model's.

        Raises:
            CheckpointError: it was made for another.
        """
        ...

    def clone(
        self,
        clip: "Clip",
        name: str,
        *,
        transcript: str = "",
        consent: str = "",
        prefill: bool = False,
    ) -> Voice:
        """Make a voice from a clip.

        Args:
            clip: who to copy.
            name: of the voice.
            transcript: what the clip says; "" where it is not known.
            consent: whose, to what.
            prefill: keep what the language model has read of the transcript.

        Raises:
            TextError: the transcript cannot be spoken by this model.
            AudioError: the clip gives nothing to go on from.
            CheckpointError: the model's encoders do not fit it.
        """
        ...
