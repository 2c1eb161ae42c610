"""Many texts spoken in one batch, each whole and judged before it is handed out.

Pieces of any number of texts share the rows of one loop; a text is handed out when its last piece
is good, so short ones overtake long ones. What a text sounds like does not depend on its company.
Knows no files.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from mamtra_cli.engine.decoding.streams import ROWS
from mamtra_cli.engine.loading.talker import Talker
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import Chunk, News, PieceReport, piece_at
from mamtra_cli.engine.speaking.scripted import Reader
from mamtra_cli.engine.speaking.utterances import Utterances
from mamtra_cli.errors import MamtraError
from mamtra_cli.ops.arrays import joined
from mamtra_cli.recipes.times import TimedPiece
from mamtra_cli.text.respelling import Respelling
from mamtra_cli.text.signs import OnUnreadable, Sieve
from mamtra_cli.voices.voice import Voice


@dataclass(frozen=True, kw_only=True)
class Line:
    """A text to speak; `id` is the caller's. Attributes as of `studio.Order`."""

    id: str
    text: str
    voice: Voice
    seed: int = 0
    speed: float = 1.0
    tags: bool = False
    lexicon: Respelling | None = None
    on_unreadable: OnUnreadable = "skip"
    words: bool = False


@dataclass(frozen=True, kw_only=True)
class LineSound:
    """How a line ended: (S,) float32 samples and its pieces, or the error that refused it.

    spoken: the pieces again, with their seconds.
    skipped: signs that could not be read, with their names.
    """

    line: Line
    audio: Any
    pieces: tuple[PieceReport, ...] = ()
    spoken: tuple[TimedPiece, ...] = ()
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
    voices: Callable[[str], Voice] | None = None,
    sounders: int = 0,
) -> Iterator[LineSound]:
    """Speak lines, `rows` pieces at a time; yields each as it ends.

    Args:
        engine: the model.
        lines: read only as fast as there is room for them.
        options: how, but for seed and speed, which each line has.
        rows: pieces spoken together.
        voices: those that the tags of a line may name; `None` for the model's.
        sounders: as of `Utterances`.
    """
    voices = voices or engine.voice
    options = options or SpeechOptions()
    utterances = Utterances(engine, rows=rows, limits=options.limits, sounders=sounders)
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
            sieve = Sieve(engine.front_end.unreadable, line.on_unreadable)
            reader = _reader(engine, line, voices, options)
            try:
                pieces = reader.whole(line.text, sieve)
            except MamtraError as error:
                yield LineSound(line=line, audio=engine.silence(0.0), error=error)
                continue
            id = utterances.say(own, pieces, together=True, silence=reader.silence)
            skipped = tuple(f"{sign} ({name})" for sign, name, _ in sieve.news())
            under_way[id] = _Spoken(line=line, skipped=skipped)
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
    ends = accumulate(len(chunk.audio) / engine.sample_rate for chunk in spoken.chunks)
    told = [(c.piece, end) for c, end in zip(spoken.chunks, ends, strict=True) if c.piece]
    return LineSound(
        line=spoken.line,
        audio=joined([chunk.audio for chunk in spoken.chunks]),
        pieces=tuple(piece for piece, _ in told),
        spoken=tuple(piece_at(piece, end) for piece, end in told),
        skipped=spoken.skipped,
    )


def _reader(
    engine: Talker, line: Line, voices: Callable[[str], Voice], options: SpeechOptions
) -> Reader:
    """Of the text of a line."""
    return Reader(
        engine,
        lambda name: (voices(name) if name else line.voice, options.manner),
        speed=line.speed,
        tags=line.tags,
        lexicon=line.lexicon,
        words=line.words,
    )
