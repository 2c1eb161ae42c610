"""One model that speaks to many callers at once: a `Studio` over the loop of streams.

Each caller's text is spoken piece by piece; the pieces of all callers share one batch, and the
sound of each leaves while it is made. A text may arrive in parts: its sentences are spoken as they
become complete. Knows no callers, only utterances by number.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mamtra_cli.backbone.costs import Precision
from mamtra_cli.engine.measuring.planner import Footprint
from mamtra_cli.engine.measuring.sizing import Sizing
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import pieces_of
from mamtra_cli.engine.speaking.studio import Order, Samples, Spoken
from mamtra_cli.engine.speaking.utterances import News, Piece, Utterances
from mamtra_cli.errors import MamtraError, TextError, UsageError
from mamtra_cli.text.arriving import Sentences
from mamtra_cli.text.signs import Sieve
from mamtra_cli.voices.library import library_folder
from mamtra_cli.voices.voice import Manner, Voice, names_in

CHARACTERS_PER_SECOND = 15.0  # of English, where a model cannot say how long a text takes
LONGEST_PIECE = 30.0  # seconds; longer texts are cut
PROMPT = 10.0  # seconds of a voice's clip, where memory is counted
EMPTY = ("the text is empty", "give a sentence to speak")


@dataclass(kw_only=True)
class _Caller:
    """One caller's text on its way to pieces, and how much was said."""

    voice: Voice
    settings: Any
    sieve: Sieve
    closed: bool
    sentences: Sentences = field(default_factory=Sentences)
    skipped: list[str] = field(default_factory=list)
    some: bool = False
    samples: int = 0


class EngineStudio:
    """See `Studio` and the module docstring.

    Args:
        engine: the model.
        rows: pieces spoken together at most.
        library: folder of the user's voices; `None` for the usual one.
        options: how everything is spoken that an order does not say.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        rows: int = 16,
        library: Path | None = None,
        options: SpeechOptions | None = None,
    ) -> None:
        engine.speaker.ready()
        self.engine = engine
        self.library = library_folder(library)
        self.options = options or SpeechOptions()
        self.utterances = Utterances(engine, rows=rows, limits=self.options.limits)
        self._voices: dict[str, Voice] = {}
        self._callers: dict[int, _Caller] = {}
        self._told: list[Spoken] = []

    @property
    def name(self) -> str:
        """The model's name."""
        return self.engine.name

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self.engine.sample_rate

    @property
    def busy(self) -> bool:
        """Whether `step` would do something."""
        return bool(self._told) or self.utterances.busy

    @property
    def running(self) -> int:
        """Pieces under way."""
        return self.utterances.running

    @property
    def waiting(self) -> int:
        """Pieces in line."""
        return self.utterances.waiting

    def voices(self) -> list[str]:
        """Names of the model's voices and the user's."""
        return list(dict.fromkeys([*self.engine.voices(), *names_in(self.library)]))

    def check(self, order: Order) -> float:
        """Refuse what cannot be spoken; returns the seconds of speech to expect."""
        voice = self._voice(order.voice)
        settings = self.engine.speaker.settings(voice, self._manner(order))
        if order.text is None:
            return 0.0
        speaker, expected = self.engine.speaker, 0.0
        for piece in pieces_of(self.engine, self._sieve().take(order.text), voice, settings):
            known = None
            if speaker.tokens is not None:
                known = speaker.begin(piece.ids, voice, settings).expected
            frames = None if known is None else known / self.engine.facts.frame_rate
            expected += len(piece.text) / CHARACTERS_PER_SECOND if frames is None else frames
        return expected / order.speed

    def add(self, order: Order) -> int:
        """Put an utterance in line."""
        voice = self._voice(order.voice)
        settings = self.engine.speaker.settings(voice, self._manner(order))
        caller = _Caller(voice=voice, settings=settings, sieve=self._sieve(), closed=False)
        pieces = [] if order.text is None else self._pieces(caller, caller.sieve.take(order.text))
        options = replace(
            self.options, seed=order.seed, speed=order.speed, volume=order.volume, stream=True
        )
        id = self.utterances.add(options)
        self._callers[id] = caller
        self._give(id, pieces)
        if order.text is not None:
            self.close(id)
        return id

    def hear(self, id: int, text: str) -> None:
        """More text of an utterance has come."""
        caller = self._callers.get(id)
        if caller is not None and not caller.closed:
            self._take(id, caller.sentences.push(caller.sieve.take(text)))

    def close(self, id: int) -> None:
        """The text of an utterance has ended."""
        caller = self._callers.get(id)
        if caller is None or caller.closed:
            return
        self._take(id, caller.sentences.finish())
        caller.closed = True
        if caller.some:
            self.utterances.close(id)
        else:
            self.utterances.drop(id)
            self._told.append(self._last(id, TextError(*EMPTY)))

    def drop(self, id: int) -> None:
        """Forget an utterance and free what it held."""
        if self._callers.pop(id, None) is not None and id in self.utterances:
            self.utterances.drop(id)

    def step(self) -> list[Spoken]:
        """Draw one frame for everybody, and make the sound that it completes."""
        told, self._told = self._told, []
        by_caller: dict[int, list[News]] = {}
        for news in self.utterances.step():
            if news.id in self._callers:
                by_caller.setdefault(news.id, []).append(news)
        for id, several in by_caller.items():
            told += self._spoken(id, several)
        return told

    def bytes_of(self, seconds: float) -> int:
        """Memory of one more utterance: keys, values and states of its longest piece."""
        return self._footprint(min(seconds, LONGEST_PIECE)).stream

    @property
    def shared_bytes(self) -> int:
        """Memory beside the model that is needed once, whoever speaks: stages take turns."""
        footprint = self._footprint(LONGEST_PIECE)
        return footprint.scratch.get(footprint.stage, 0)

    def _footprint(self, seconds: float) -> Footprint:
        engine = self.engine
        sizing = Sizing(
            name=engine.name,
            family=engine.family,
            config=engine.config,
            precision=Precision.of(engine.compute.torch_dtype.itemsize),
            prompt=PROMPT,
        )
        return sizing.footprint(max(1, round(seconds * engine.facts.frame_rate)))

    def _voice(self, name: str) -> Voice:
        """A voice, read once."""
        known = self._voices.get(name)
        if known is None:
            if name.endswith(".safetensors"):
                raise UsageError("a voice file cannot be named here", "give the name of a voice")
            known = self._voices[name] = self.engine.voice(name, self.library)
        return known

    def _manner(self, order: Order) -> Manner | None:
        if not order.instructions:
            return None
        ids = self.engine.front_end.instruction_ids(order.instructions)
        return Manner(mode="instruct", instruction=tuple(ids))

    def _sieve(self) -> Sieve:
        return Sieve(self.engine.front_end.unreadable)

    def _pieces(self, caller: _Caller, text: str) -> list[Piece]:
        return pieces_of(self.engine, text, caller.voice, caller.settings)

    def _take(self, id: int, sentences: list[str]) -> None:
        """Queue sentences; one that cannot be read is told and left out."""
        caller = self._callers[id]
        for sentence in sentences:
            try:
                self._give(id, self._pieces(caller, sentence))
            except TextError as error:
                caller.skipped.append(error.message)

    def _give(self, id: int, pieces: list[Piece]) -> None:
        self._callers[id].some |= bool(pieces)
        self.utterances.give(id, pieces)

    def _spoken(self, id: int, several: list[News]) -> list[Spoken]:
        """News of a caller as the server tells them: sound up to the end of a piece is one."""
        told: list[Spoken] = []
        samples: list[Samples] = []
        for news in several:
            piece = None
            if news.chunk is not None:
                samples.append(news.chunk.audio.numpy())
                piece = news.chunk.piece
            if samples and (piece is not None or news is several[-1] or news.done):
                told.append(self._said(id, np.concatenate(samples), piece.text if piece else None))
                samples = []
            if news.done:
                told.append(self._last(id, news.error))
        return told

    def _said(self, id: int, audio: Samples, text: str | None) -> Spoken:
        caller = self._callers[id]
        caller.samples += len(audio)
        return Spoken(
            id=id, audio=audio, text=text, seconds=self._seconds(caller), skipped=_left_out(caller)
        )

    def _last(self, id: int, error: MamtraError | None) -> Spoken:
        caller = self._callers.pop(id)
        return Spoken(
            id=id,
            seconds=self._seconds(caller),
            skipped=_left_out(caller),
            done=True,
            error=error,
        )

    def _seconds(self, caller: _Caller) -> float:
        return caller.samples / self.sample_rate


def _left_out(caller: _Caller) -> tuple[str, ...]:
    """What was left out since it was last told."""
    told, caller.skipped = caller.skipped, []
    return (*told, *(f"{sign} ({name})" for sign, name, _ in caller.sieve.news()))
