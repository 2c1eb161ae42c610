"""Utterances that one model has under way: pieces of text in, sound out.

The one place that knows how pieces become sound: which is next, new attempts at what a guard
refused, pauses and edges. Whoever speaks gives pieces when it has them, and takes the news of each
step: `speak` has one utterance on one row, a file of lines has many whose pieces run together, a
server's come and go. What an utterance sounds like does not depend on its company. Knows no
callers, no files, and texts only as encoded pieces.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from mamtra_cli.engine.decoding.guards import GuardLimits, Rejection
from mamtra_cli.engine.decoding.loop import reseeded
from mamtra_cli.engine.decoding.parts import Parts
from mamtra_cli.engine.decoding.streams import ROWS, Event, Outcome, Streams
from mamtra_cli.engine.loading.talker import Talker
from mamtra_cli.engine.speaking.hearing import Edges, Hearing, Judging
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import Chunk, Heard, News, Piece, PieceReport
from mamtra_cli.engine.speaking.refused import rejected, shortened
from mamtra_cli.engine.speaking.workshop import Workshop
from mamtra_cli.errors import MamtraError, UsageError
from mamtra_cli.families.script import Script
from mamtra_cli.families.speaker import Made
from mamtra_cli.recipes.times import TimedWord
from mamtra_cli.text.word_times import timed
from mamtra_cli.voices.voice import Voice

EDGE_SECONDS = 0.005
HURRIED = 0.5  # share of the frames expected of a text below which a cap cannot be kept


@dataclass(kw_only=True)
class _Work:
    """A piece under way."""

    utterance: "_Utterance"
    piece: Piece
    number: int
    voice: Voice  # for the language model: the piece's own, or what goes on from the one before
    settings: Any
    refused: list[Rejection] = field(default_factory=list)
    stream: int | None = None
    sound: Hearing | Judging = field(init=False)
    edges: Edges = field(init=False)
    samples: int = 0
    ready: list[Chunk] = field(default_factory=list)
    good: bool = False
    spare: "_Spare | None" = None


@dataclass(frozen=True, kw_only=True)
class _Spare:
    """An attempt that was not understood, kept in case no other is better."""

    audio: Any
    outcome: Outcome
    heard: Heard


@dataclass(kw_only=True)
class _Utterance:
    """Pieces that were not begun, and those whose sound has not all left, in order."""

    id: int
    options: SpeechOptions
    together: bool
    closed: bool = False
    tail: float = 0.0
    line: deque[Piece] = field(default_factory=deque)
    begun: int = 0
    said: tuple[Piece, Sequence[Any]] | None = None  # the last piece and its frames
    works: deque[_Work] = field(default_factory=deque)


class Utterances:
    """See the module docstring.

    Args:
        engine: the model.
        rows: pieces spoken together at most.
        limits: what the guards tolerate of frames.
        sounders: threads that make sound beside the token loop; with none, a step makes its own.
    """

    def __init__(
        self,
        engine: Talker,
        *,
        rows: int = ROWS,
        limits: GuardLimits | None = None,
        sounders: int = 0,
    ) -> None:
        self.engine = engine
        self._rows = rows
        self._shop = Workshop(sounders)
        tokens = engine.speaker.tokens
        self._loop = Parts() if tokens is None else Streams(tokens, rows=rows, limits=limits)
        self._ids = count()
        self._open: dict[int, _Utterance] = {}
        self._works: dict[int, _Work] = {}
        self._news: list[News] = []

    @property
    def busy(self) -> bool:
        """Whether `step` would do something; if not, all wait for pieces, or none is there."""
        return bool(self._news or len(self._shop)) or self._loop.busy

    @property
    def running(self) -> int:
        """Pieces that are being spoken."""
        return self._loop.running

    @property
    def waiting(self) -> int:
        """Pieces in line for a row."""
        return self._loop.waiting

    def add(self, options: SpeechOptions, *, together: bool = False) -> int:
        """Begin an utterance; returns its id.

        Args:
            options: how; everything but `sampling`, `manner` and what pieces say is heeded here.
            together: begin its pieces as soon as they are given, not one after the other. Sound
                leaves in their order all the same.

        Raises:
            UsageError: pieces shall hear each other, and the model cannot.
        """
        if options.carry and not self.engine.facts.learned.clips:
            raise UsageError(
                f"`{self.engine.name}` did not learn to go on from speech: its pieces cannot hear "
                "each other",
                "leave out `--carry`",
            )
        utterance = _Utterance(id=next(self._ids), options=options, together=together)
        self._open[utterance.id] = utterance
        return utterance.id

    def give(self, id: int, pieces: Iterable[Piece]) -> None:
        """More of an utterance; nothing where it has ended, of which the next step has news."""
        utterance = self._open.get(id)
        if utterance is not None:
            utterance.line.extend(pieces)
            self._go_on(utterance)

    def close(self, id: int, silence: float = 0.0) -> None:
        """No more of an utterance, but seconds of silence at its end; as `give` where it ended."""
        utterance = self._open.get(id)
        if utterance is not None:
            utterance.closed, utterance.tail = True, silence
            self._go_on(utterance)

    def drop(self, id: int) -> None:
        """Forget an utterance at once, with all that is kept of it."""
        self._forget(self._open[id])
        self._news = [news for news in self._news if news.id != id]

    def __contains__(self, id: int) -> bool:
        """Whether an utterance has neither ended nor been dropped."""
        return id in self._open

    def step(self) -> list[News]:
        """Draw one frame for every piece under way, and make the sound that it completes."""
        if self._loop.busy:
            for event in self._loop.step():
                work = self._works.get(event.id)
                if work is not None:  # else its utterance was refused before
                    self._shop.put(event, work.sound)
        # Frames may be ahead of the sound by a batch; beyond that the loop waits for it.
        patient = not self._news and (not self._loop.busy or len(self._shop) > self._rows)
        for event, parts in self._shop.take(patient=patient):
            work = self._works.get(event.id)
            if work is not None:
                self._take(work, event, parts)
        news, self._news = self._news, []
        return news

    def _go_on(self, utterance: _Utterance) -> None:
        """Begin what can be begun, or end the utterance."""
        together = utterance.together and not utterance.options.carry
        while utterance.line and (together or not utterance.works):
            try:
                self._begin(utterance, utterance.line.popleft())
            except MamtraError as error:
                self._end(utterance, error)
                return
        if utterance.closed and not utterance.works:
            self._end(utterance)

    def _begin(self, utterance: _Utterance, piece: Piece) -> None:
        """Begin a piece, with the pause before it."""
        voice, settings = self._going_on(utterance.said, piece)
        work = _Work(
            utterance=utterance,
            piece=piece,
            number=utterance.begun,
            voice=voice,
            settings=settings,
        )
        utterance.begun += 1
        utterance.works.append(work)
        pause = piece.pause
        if pause is None:
            pause = utterance.options.silence if work.number else 0.0
        self._say(work, self.engine.silence(pause))
        self._try(work)

    def _going_on(
        self, said: tuple[Piece, Sequence[Any]] | None, piece: Piece
    ) -> tuple[Voice, Any]:
        """What the language model is shown of a voice, the piece before among it if it is heard."""
        if said is not None and said[0].voice is piece.voice and said[0].settings == piece.settings:
            before, frames = said
            found = self.engine.speaker.after(before.ids, frames, before.voice, before.settings)
            if found is not None:
                return found
        return piece.voice, piece.settings

    def _try(self, work: _Work) -> None:
        """Begin an attempt at a piece."""
        engine, speaker = self.engine, self.engine.speaker
        piece, options, attempt = work.piece, work.utterance.options, len(work.refused)
        sound = replace(options, speed=options.speed * piece.speed).sound(attempt)
        prompt = speaker.sound_prompt(piece.voice, piece.settings)
        seed = reseeded(options.seed + work.number, attempt)
        if isinstance(self._loop, Streams):
            sampling = options.sampling or engine.sampling
            work.stream = self._loop.add(self._script(work, options), sampling, seed=seed)
        else:
            work.stream = self._loop.add(self._made(piece, options, seed))
        kind = Hearing if options.stream else Judging
        work.sound = kind(speaker.codec, prompt, sound, options.limits)
        work.samples = 0
        work.edges = Edges(round(EDGE_SECONDS * engine.sample_rate))
        self._works[work.stream] = work

    def _script(self, work: _Work, options: SpeechOptions) -> Script:
        """The script of a piece, which may not be capped where it cannot be said."""
        rate, most = self.engine.facts.frame_rate, None
        if options.max_seconds is not None:
            most = max(1, round(options.max_seconds * rate))
        script = self.engine.speaker.begin(work.piece.ids, work.voice, work.settings, most=most)
        expected = script.expected or 0.0
        if most is not None and most < HURRIED * expected:
            raise UsageError(
                f"`--max-seconds {options.max_seconds:g}` is too short for a piece of text that "
                f"takes about {expected / rate:.1f} s",
                "give more seconds, or a shorter text",
            )
        return script

    def _made(self, piece: Piece, options: SpeechOptions, seed: int) -> Iterator[Made]:
        """Frames of a piece where there is no token loop."""
        if options.max_seconds is not None:
            raise UsageError(
                "`--max-seconds`: this model says outright how long a text takes", "leave it out"
            )
        return self.engine.speaker.made(
            piece.ids,
            piece.voice,
            piece.settings,
            seed=seed,
            speed=options.speed * piece.speed,
            stream=options.stream,
        )

    def _take(self, work: _Work, event: Event, parts: list[Any]) -> None:
        """Hand out the sound of an event, and go on where it ends the attempt."""
        listen = work.utterance.options.listen
        heard: Heard | None = None
        if listen is not None and isinstance(work.sound, Judging) and len(parts) == 2:
            heard = listen(work.piece.text, parts[0])
            if not heard.good:
                parts = [
                    self._misheard(work, _Spare(audio=parts[0], outcome=parts[1], heard=heard))
                ]
        for part in parts:
            if not isinstance(part, Outcome):
                work.samples += len(part)
                self._say(work, work.edges.push(part))
                continue
            self._leave(work)
            if part.rejection is None:
                self._finish(work, part, len(work.refused) + 1, heard)
            else:
                self._refuse(work, part.rejection)

    def _misheard(self, work: _Work, spare: _Spare) -> Outcome:
        """Keep an attempt that was not understood if it is the best so far, and refuse it."""
        if work.spare is None or spare.heard.errors < work.spare.heard.errors:
            work.spare = spare
        share, heard = spare.heard.errors, spare.heard.words
        detail = f"heard as `{shortened(heard)}`, {share:.0%} of the words wrong"
        return replace(spare.outcome, rejection=Rejection(cause="misheard", detail=detail))

    def _finish(
        self, work: _Work, outcome: Outcome, attempts: int, heard: Heard | None = None
    ) -> None:
        """End a piece that is good, and let out the sound of those that waited for it."""
        seconds = work.samples / self.engine.sample_rate
        report = PieceReport(
            text=work.piece.text,
            tokens=len(outcome.frames),
            attempts=attempts,
            rejected=tuple(rejection.cause for rejection in work.refused),
            cut=outcome.cut,
            seconds=seconds,
            words=self._words(work, outcome, seconds),
            heard=heard,
        )
        self._say(work, work.edges.finish(), report)
        work.good = True
        if work.utterance.options.carry:
            work.utterance.said = work.piece, outcome.frames
        works = work.utterance.works
        while works and works[0].good:
            works.popleft()
            if works:
                self._news += [News(id=work.utterance.id, chunk=chunk) for chunk in works[0].ready]
                works[0].ready.clear()
        self._go_on(work.utterance)

    def _words(self, work: _Work, outcome: Outcome, seconds: float) -> tuple[TimedWord, ...]:
        """The words of a piece with their times, where they are wanted and known."""
        spans = work.piece.spans
        if not spans or not outcome.frames:
            return ()
        speaker = self.engine.speaker
        counts = speaker.counts(work.piece.ids, outcome.frames, work.voice, work.settings)
        return () if counts is None else timed(spans, counts, seconds)

    def _refuse(self, work: _Work, rejection: Rejection) -> None:
        """Try a piece again, or give its utterance up; what was heard is not tried again."""
        work.refused.append(rejection)
        heard = work.sound.heard
        over = len(work.refused) > work.utterance.options.retries
        if over and work.spare is not None:
            work.samples = len(work.spare.audio)
            self._say(work, work.edges.push(work.spare.audio))
            self._finish(work, work.spare.outcome, len(work.refused), work.spare.heard)
            return
        if heard or over:
            self._end(work.utterance, rejected(work.piece.text, work.refused, heard=heard))
            return
        self._news.append(News(id=work.utterance.id, again=(work.piece, rejection)))
        self._try(work)

    def _say(self, work: _Work, audio: Any, report: PieceReport | None = None) -> None:
        """Let sound out when it is its turn; samples (S,)."""
        if not len(audio) and report is None:
            return
        audio = (audio * work.utterance.options.volume).clip(-1, 1)
        chunk = Chunk(audio=audio, piece=report)
        if work.utterance.works[0] is work:
            self._news.append(News(id=work.utterance.id, chunk=chunk))
        else:
            work.ready.append(chunk)

    def _end(self, utterance: _Utterance, error: MamtraError | None = None) -> None:
        """The last news of an utterance."""
        self._forget(utterance)
        if error is None and utterance.tail:
            chunk = Chunk(audio=self.engine.silence(utterance.tail))
            self._news.append(News(id=utterance.id, chunk=chunk))
        self._news.append(News(id=utterance.id, done=True, error=error))

    def _forget(self, utterance: _Utterance) -> None:
        """Let go of an utterance and free its rows."""
        del self._open[utterance.id]
        for work in utterance.works:
            self._leave(work)

    def _leave(self, work: _Work) -> None:
        """End the stream of an attempt, in the loop too where it has not ended there."""
        if work.stream is not None:
            del self._works[work.stream]
            self._shop.drop(work.stream)
            if work.stream in self._loop:
                self._loop.drop(work.stream)
            work.stream = None
