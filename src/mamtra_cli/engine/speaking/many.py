"""One model that speaks to many callers at once: a `Studio` over the loop of streams.

Each caller's text is spoken piece by piece; the pieces of all callers share one batch, and the
sound of each leaves while it is made. A text may arrive in parts: its sentences are spoken as they
become complete. Knows no callers, only utterances by number.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from mamtra_cli.engine.loading.talker import Talker
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import News, Piece, PieceReport
from mamtra_cli.engine.speaking.reading import reading_of
from mamtra_cli.engine.speaking.scripted import Reader
from mamtra_cli.engine.speaking.studio import Order, Samples, Spoken
from mamtra_cli.engine.speaking.utterances import Utterances
from mamtra_cli.errors import MamtraError, TextError, UsageError
from mamtra_cli.text.arriving import Sentences
from mamtra_cli.text.reading import Reading
from mamtra_cli.text.signs import Sieve
from mamtra_cli.text.word_times import later
from mamtra_cli.text.written import read_written, readable
from mamtra_cli.voices.library import library_folder
from mamtra_cli.voices.voice import Manner, Voice, names_in

CHARACTERS_PER_SECOND = 15.0  # of English, where a model cannot say how long a text takes
LONGEST_PIECE = 30.0  # seconds; longer texts are cut
PROMPT = 10.0  # seconds of a voice's clip, where memory is counted
EMPTY = ("the text is empty", "give a sentence to speak")


@dataclass(kw_only=True)
class _Caller:
    """One caller's text on its way to pieces, and how much was said."""

    reader: Reader
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
        sounders: as of `Utterances`.
    """

    def __init__(
        self,
        engine: Talker,
        *,
        rows: int = 16,
        library: Path | None = None,
        options: SpeechOptions | None = None,
        sounders: int = 0,
    ) -> None:
        engine.speaker.ready()
        self.engine = engine
        self.library = library_folder(library)
        self.options = options or SpeechOptions()
        self.utterances = Utterances(
            engine,
            rows=rows,
            limits=self.options.limits,
            sounders=sounders,
        )
        self._sounders = max(1, sounders)
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
        reader = self._reader(order)
        if order.text is None:
            self._speaker(order, "")
            return 0.0
        speaker, expected = self.engine.speaker, 0.0
        for piece in reader.whole(order.text, self._sieve(order)):
            known = None
            if speaker.tokens is not None:
                known = speaker.begin(piece.ids, piece.voice, piece.settings).expected
            seconds = len(piece.text) / CHARACTERS_PER_SECOND
            if known is not None:
                seconds = known / self.engine.facts.frame_rate
            expected += seconds / piece.speed + (piece.pause or 0.0)
        return expected / order.speed

    def read(self, order: Order) -> Reading:
        """What would be said, without saying it."""
        sieve = self._sieve(order)
        script = read_written(order.text or "", tags=order.tags, lexicon=order.lexicon)
        return reading_of(self.engine, readable(script, sieve), sieve.skipped())

    def add(self, order: Order) -> int:
        """Put an utterance in line."""
        caller = _Caller(reader=self._reader(order), sieve=self._sieve(order), closed=False)
        pieces = [] if order.text is None else caller.reader.whole(order.text, caller.sieve)
        options = replace(
            self.options,
            seed=order.seed,
            speed=order.speed,
            volume=order.volume,
            stream=not order.whole,
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
        self._take(id, caller.sentences.push(caller.sieve.finish()))
        self._take(id, caller.sentences.finish())
        caller.closed = True
        if caller.some:
            self.utterances.close(id, caller.reader.silence)
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
        return self._held(min(seconds, LONGEST_PIECE))[0]

    @property
    def shared_bytes(self) -> int:
        """Memory beside the model that is needed once, whoever speaks: stages take turns."""
        return self._sounders * self._held(LONGEST_PIECE)[1]

    def _held(self, seconds: float) -> tuple[int, int]:
        frames = max(1, round(seconds * self.engine.facts.frame_rate))
        return self.engine.held_bytes(frames, PROMPT)

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

    def _speaker(self, order: Order, name: str) -> tuple[Voice, Manner | None]:
        return self._voice(name or order.voice), self._manner(order)

    def _reader(self, order: Order) -> Reader:
        return Reader(
            self.engine,
            partial(self._speaker, order),
            speed=order.speed,
            tags=order.tags,
            lexicon=order.lexicon,
            words=order.words,
        )

    def _sieve(self, order: Order) -> Sieve:
        return Sieve(self.engine.front_end.unreadable, order.on_unreadable)

    def _take(self, id: int, sentences: list[str]) -> None:
        """Queue sentences; one that cannot be read is told and left out."""
        caller = self._callers[id]
        for sentence in sentences:
            try:
                self._give(id, caller.reader.part(sentence))
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
                samples.append(np.asarray(news.chunk.audio))
                piece = news.chunk.piece
            if samples and (piece is not None or news is several[-1] or news.done):
                told.append(self._said(id, np.concatenate(samples), piece))
                samples = []
            if news.done:
                told.append(self._last(id, news.error))
        return told

    def _said(self, id: int, audio: Samples, piece: PieceReport | None) -> Spoken:
        caller = self._callers[id]
        caller.samples += len(audio)
        seconds = self._seconds(caller)
        event = Spoken(id=id, audio=audio, seconds=seconds, skipped=_left_out(caller))
        if piece is None:
            return event
        start = seconds - piece.seconds
        return replace(
            event,
            text=piece.text,
            words=later(piece.words, start),
            start=start,
            tokens=piece.tokens,
            attempts=piece.attempts,
            rejected=piece.rejected,
            cut=piece.cut,
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
