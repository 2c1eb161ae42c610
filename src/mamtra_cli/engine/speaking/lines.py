"""Many texts spoken in one batch, each whole and judged before it is handed out.

Pieces of any number of texts share the rows of one loop; a text is handed out when its last piece
is good, so short ones overtake long ones. What a text sounds like does not depend on its company.
Knows no files.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from mamtra_cli.engine.decoding.streams import ROWS
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import pieces_of
from mamtra_cli.engine.speaking.utterances import Chunk, News, PieceReport, Utterances
from mamtra_cli.engine.talker import Talker
from mamtra_cli.errors import MamtraError
from mamtra_cli.ops.arrays import joined
from mamtra_cli.text.signs import Sieve
from mamtra_cli.voices.voice import Voice


@dataclass(frozen=True, kw_only=True)
class Line:
    """A text to speak; `id` is the caller's."""

    id: str
    text: str
    voice: Voice
    seed: int = 0
    speed: float = 1.0


@dataclass(frozen=True, kw_only=True)
class LineSound:
    """How a line ended: (S,) float32 samples and its pieces, or the error that refused it.

    skipped: signs that could not be read, with their names.
    """

    line: Line
    audio: Any
    pieces: tuple[PieceReport, ...] = ()
    error: MamtraError | None = None
    skipped: tuple[str, ...] = ()


@dataclass(kw_only=True)
class _Spoken:
    """A line under way: what it left out, and its sound so far."""

    line: Line
    skipped: tuple[str, ...]
    chunks: list[Chunk] = field(default_factory=list)


def speak_lines(
    engine: Talker,
    lines: Iterable[Line],
    options: SpeechOptions | None = None,
    *,
    rows: int = ROWS,
) -> Iterator[LineSound]:
    """Speak lines, `rows` pieces at a time; yields each as it ends.

    Args:
        engine: the model.
        lines: read only as fast as there is room for them.
        options: how, but for seed and speed, which each line has.
        rows: pieces spoken together.
    """
    options = options or SpeechOptions()
    utterances = Utterances(engine, rows=rows, limits=options.limits)
    under_way: dict[int, _Spoken] = {}
    waiting = iter(lines)
    more = True
    while more or under_way:
        while more and utterances.running + utterances.waiting < rows:
            line = next(waiting, None)
            if line is None:
                more = False
                break
            own = replace(options, seed=line.seed, speed=line.speed, stream=False)
            try:
                text, skipped = _readable(engine, line.text)
                settings = engine.speaker.settings(line.voice, options.manner)
                pieces = pieces_of(engine, text, line.voice, settings)
            except MamtraError as error:
                yield LineSound(line=line, audio=engine.silence(0.0), error=error)
                continue
            id = utterances.add(own, together=True)
            under_way[id] = _Spoken(line=line, skipped=skipped)
            utterances.give(id, pieces)
            utterances.close(id)
        for news in utterances.step():
            spoken = under_way[news.id]
            if news.chunk is not None:
                spoken.chunks.append(news.chunk)
            if news.done:
                yield _ended(engine, under_way.pop(news.id), news)


def _ended(engine: Talker, spoken: _Spoken, news: News) -> LineSound:
    """The whole sound of a line, or its error."""
    if news.error is not None:
        return LineSound(line=spoken.line, audio=engine.silence(0.0), error=news.error)
    return LineSound(
        line=spoken.line,
        audio=joined([chunk.audio for chunk in spoken.chunks]),
        pieces=tuple(chunk.piece for chunk in spoken.chunks if chunk.piece is not None),
        skipped=spoken.skipped,
    )


def _readable(engine: Talker, text: str) -> tuple[str, tuple[str, ...]]:
    """A text without the signs that cannot be read, and these with their names."""
    sieve = Sieve(engine.front_end.unreadable)
    clear = sieve.take(text)
    return clear, tuple(f"{sign} ({name})" for sign, name, _ in sieve.news())
