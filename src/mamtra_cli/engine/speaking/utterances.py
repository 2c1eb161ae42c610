"""Utterances that one model has under way: pieces of text in, sound out.

The one place that knows how pieces become sound: which is next, new attempts at what a guard
refused, pauses and edges. Whoever speaks gives pieces when it has them, and takes the news of each
step: `speak` has one utterance on one row, a text in turns one piece whose text still comes, a file
of lines, a test or a teacher many that run together, a server's come and go. What an utterance
sounds like does not depend on its company. Knows no callers, no files, and texts only as encoded
pieces.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from mamtra_cli.engine.decoding.guards import GuardLimits, Rejection
from mamtra_cli.engine.decoding.parts import Parts
from mamtra_cli.engine.decoding.streams import ROWS, Event, Outcome, Streams
from mamtra_cli.engine.loading.talker import Talker
from mamtra_cli.engine.speaking.attempts import made_of, reseeded, script_of, sound_of
from mamtra_cli.engine.speaking.hearing import Edges, Judging
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import Chunk, Heard, News, Piece, PieceReport
from mamtra_cli.engine.speaking.refused import rejected, shortened
from mamtra_cli.engine.speaking.under_way import Spare, Utterance, Work
from mamtra_cli.engine.speaking.workshop import Workshop
from mamtra_cli.errors import MamtraError, UsageError
from mamtra_cli.recipes.times import TimedWord
from mamtra_cli.text.word_times import timed
from mamtra_cli.voices.voice import Voice

EDGE_SECONDS = 0.005


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
        self._open: dict[int, Utterance] = {}
        self._works: dict[int, Work] = {}
        self._news: list[News] = []

    @property
    def sound_seconds(self) -> float:
        """Seconds that were spent on sound so far; the rest of the steps went to frames."""
        return self._shop.seconds

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
        utterance = Utterance(id=next(self._ids), options=options, together=together)
        self._open[utterance.id] = utterance
        return utterance.id

    def say(
        self,
        options: SpeechOptions,
        pieces: Iterable[Piece],
        *,
        together: bool = False,
        silence: float = 0.0,
    ) -> int:
        """Begin an utterance whose pieces are all there; see `add`, `give` and `close`."""
        id = self.add(options, together=together)
        self.give(id, pieces)
        self.close(id, silence)
        return id

    def give(self, id: int, pieces: Iterable[Piece]) -> None:
        """More of an utterance; nothing where it has ended, of which the next step has news."""
        utterance = self._open.get(id)
        if utterance is not None:
            utterance.line.extend(pieces)
            self._go_on(utterance)

    def hear(self, id: int, text: str, ids: Sequence[int]) -> None:
        """More text of an utterance's only piece, which arrives; as `give` where it ended.

        Args:
            id: of the utterance.
            text: that follows, as it is told.
            ids: what the model reads of it.
        """
        utterance = self._open.get(id)
        if utterance is not None:
            (work,) = utterance.works
            piece = work.piece
            work.piece = replace(piece, text=piece.text + text, ids=(*piece.ids, *ids))
            if place := self._arriving(work):
                place[0].hear(place[1], ids)

    def close(self, id: int, silence: float = 0.0) -> None:
        """No more of an utterance, but seconds of silence at its end; as `give` where it ended."""
        utterance = self._open.get(id)
        if utterance is not None:
            utterance.closed, utterance.tail = True, silence
            for work in utterance.works:
                if work.piece.arrives and (place := self._arriving(work)):
                    place[0].close(place[1])
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
                if work is None:  # its utterance was refused before
                    continue
                if event.outcome is not None or not work.sound.waits:
                    self._shop.put(event, work.sound)
        # Frames may be ahead of the sound by a batch; beyond that the loop waits for it.
        patient = not self._news and (not self._loop.busy or len(self._shop) > self._rows)
        for event, parts in self._shop.take(patient=patient):
            work = self._works.get(event.id)
            if work is not None:
                self._take(work, event, parts)
        news, self._news = self._news, []
        return news

    def _arriving(self, work: Work) -> tuple[Streams, int] | None:
        """Where more text of a piece goes; `None` where its frames have ended."""
        if (
            isinstance(self._loop, Streams)
            and work.stream is not None
            and work.stream in self._loop
        ):
            return self._loop, work.stream
        return None

    def _go_on(self, utterance: Utterance) -> None:
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

    def _begin(self, utterance: Utterance, piece: Piece) -> None:
        """Begin a piece, with the pause before it."""
        voice, settings = self._going_on(utterance.said, piece)
        work = Work(
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
    ) -> tuple[Voice | None, Any]:
        """What the language model is shown of a voice, the piece before among it if it is heard."""
        if said is not None and said[0].voice is piece.voice and said[0].settings == piece.settings:
            before, frames = said
            assert before.voice is not None
            found = self.engine.speaker.after(before.ids, frames, before.voice, before.settings)
            if found is not None:
                return found
        return piece.voice, piece.settings

    def _try(self, work: Work) -> None:
        """Begin an attempt at a piece."""
        piece, options, attempt = work.piece, work.utterance.options, len(work.refused)
        seed = reseeded(options.seed + work.number, attempt)
        if isinstance(self._loop, Streams):
            sampling = options.sampling or self.engine.sampling
            shown = replace(piece, voice=work.voice, settings=work.settings)
            closed = work.utterance.closed
            script = script_of(self.engine, shown, options, closed=closed)
            work.stream = self._loop.add(script, sampling, seed=seed)
        else:
            work.stream = self._loop.add(made_of(self.engine, piece, options, seed))
        work.sound = sound_of(self.engine, piece, options, attempt)
        work.samples = 0
        work.edges = Edges(round(EDGE_SECONDS * self.engine.sample_rate))
        self._works[work.stream] = work

    def _take(self, work: Work, event: Event, parts: list[Any]) -> None:
        """Hand out the sound of an event, and go on where it ends the attempt."""
        listen = work.utterance.options.listen
        heard: Heard | None = None
        if listen is not None and isinstance(work.sound, Judging) and len(parts) == 2:
            heard = listen(work.piece.text, parts[0])
            if not heard.good:
                parts = [self._misheard(work, Spare(audio=parts[0], outcome=parts[1], heard=heard))]
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

    def _misheard(self, work: Work, spare: Spare) -> Outcome:
        """Keep an attempt that was not understood if it is the best so far, and refuse it."""
        if work.spare is None or spare.heard.errors < work.spare.heard.errors:
            work.spare = spare
        share, heard = spare.heard.errors, spare.heard.words
        detail = f"heard as `{shortened(heard)}`, {share:.0%} of the words wrong"
        return replace(spare.outcome, rejection=Rejection(cause="misheard", detail=detail))

    def _finish(
        self, work: Work, outcome: Outcome, attempts: int, heard: Heard | None = None
    ) -> None:
        """End a piece that is good, and let out the sound of those that waited for it."""
        seconds = work.samples / self.engine.sample_rate
        report = PieceReport(
            text=work.piece.text.strip(),
            tokens=len(outcome.frames),
            attempts=attempts,
            rejected=tuple(rejection.cause for rejection in work.refused),
            cut=outcome.cut,
            seconds=seconds,
            words=self._words(work, outcome, seconds),
            heard=heard,
        )
        self._say(work, work.edges.finish(), report, outcome.frames)
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

    def _words(self, work: Work, outcome: Outcome, seconds: float) -> tuple[TimedWord, ...]:
        """The words of a piece with their times, where they are wanted and known."""
        spans = work.piece.spans
        if not spans or not outcome.frames:
            return ()
        assert work.voice is not None
        speaker = self.engine.speaker
        counts = speaker.counts(work.piece.ids, outcome.frames, work.voice, work.settings)
        return () if counts is None else timed(spans, counts, seconds)

    def _refuse(self, work: Work, rejection: Rejection) -> None:
        """Try a piece again, or give its utterance up; what was heard is not tried again."""
        work.refused.append(rejection)
        refused, heard = (work.piece, rejection), work.sound.heard
        over = len(work.refused) > work.utterance.options.retries
        if over and work.spare is not None:
            work.samples = len(work.spare.audio)
            self._say(work, work.edges.push(work.spare.audio))
            self._finish(work, work.spare.outcome, len(work.refused), work.spare.heard)
            return
        if heard or over:
            error = rejected(work.piece.text.strip(), work.refused, heard=heard)
            self._end(work.utterance, error, refused)
            return
        self._news.append(News(id=work.utterance.id, refused=refused))
        self._try(work)

    def _say(
        self,
        work: Work,
        audio: Any,
        report: PieceReport | None = None,
        frames: Sequence[Any] = (),
    ) -> None:
        """Let sound out when it is its turn; samples (S,)."""
        if not len(audio) and report is None:
            return
        audio = (audio * work.utterance.options.volume).clip(-1, 1)
        chunk = Chunk(audio=audio, piece=report, frames=frames)
        if work.utterance.works[0] is work:
            self._news.append(News(id=work.utterance.id, chunk=chunk))
        else:
            work.ready.append(chunk)

    def _end(
        self,
        utterance: Utterance,
        error: MamtraError | None = None,
        refused: tuple[Piece, Rejection] | None = None,
    ) -> None:
        """The last news of an utterance."""
        self._forget(utterance)
        if error is None and utterance.tail:
            chunk = Chunk(audio=self.engine.silence(utterance.tail))
            self._news.append(News(id=utterance.id, chunk=chunk))
        self._news.append(News(id=utterance.id, refused=refused, done=True, error=error))

    def _forget(self, utterance: Utterance) -> None:
        """Let go of an utterance and free its rows."""
        del self._open[utterance.id]
        for work in utterance.works:
            self._leave(work)

    def _leave(self, work: Work) -> None:
        """End the stream of an attempt, in the loop too where it has not ended there."""
        if work.stream is not None:
            del self._works[work.stream]
            self._shop.drop(work.stream)
            if work.stream in self._loop:
                self._loop.drop(work.stream)
            work.stream = None
