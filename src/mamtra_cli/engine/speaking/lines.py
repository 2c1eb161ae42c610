"""Many texts spoken in one batch, each whole and judged before it is handed out.

Pieces of any number of texts share the rows of one loop; a text is handed out when its last piece
is good, so short ones overtake long ones. What a text sounds like does not depend on its company.
Knows no files.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mamtra_cli.engine.decoding.guards import Rejection, check_audio
from mamtra_cli.engine.decoding.loop import reseeded
from mamtra_cli.engine.decoding.streams import ROWS, Outcome, Streams
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.speech import (
    Chunk,
    PieceReport,
    SpeechOptions,
    rejected,
    shaped,
    sound,
    speak,
)
from mamtra_cli.errors import MamtraError
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
    audio: Tensor
    pieces: tuple[PieceReport, ...] = ()
    error: MamtraError | None = None
    skipped: tuple[str, ...] = ()


@dataclass(kw_only=True)
class _Work:
    """A line under way: its pieces, and the sound of those that are good."""

    line: Line
    options: SpeechOptions
    pieces: list[tuple[str, list[int]]]
    sounds: dict[int, tuple[Tensor, PieceReport]] = field(default_factory=dict)
    refused: dict[int, list[Rejection]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


def speak_lines(
    engine: Engine,
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
    speaker = engine.speaker
    if speaker.tokens is None:
        yield from _one_by_one(engine, lines, options)
        return
    streams = Streams(speaker.tokens, rows=rows, limits=options.limits)
    under_way: dict[int, tuple[_Work, int, int]] = {}
    waiting = iter(lines)
    more = True

    def begin(work: _Work, number: int, attempt: int) -> None:
        settings = speaker.settings(work.line.voice, options.manner)
        script = speaker.begin(work.pieces[number][1], work.line.voice, settings)
        seed = reseeded(work.line.seed + number, attempt)
        stream = streams.add(script, options.sampling or engine.sampling, seed=seed)
        under_way[stream] = (work, number, attempt)

    while True:
        while more and len(under_way) < rows:
            line = next(waiting, None)
            if line is None:
                more = False
                break
            work = _Work(
                line=line,
                options=replace(options, seed=line.seed, speed=line.speed),
                pieces=[],
            )
            try:
                told = speaker.settings(line.voice, options.manner)
                readable, work.skipped = _readable(engine, line.text)
                split = speaker.pieces(readable, told)
                work.pieces = [(piece, speaker.encode(piece, told)) for piece in split]
            except MamtraError as error:
                yield LineSound(line=line, audio=torch.zeros(0), error=error)
                continue
            for number in range(len(work.pieces)):
                begin(work, number, 0)
        if not under_way:
            return
        for event in streams.step():
            if event.outcome is None or event.id not in under_way:
                continue
            work, number, attempt = under_way.pop(event.id)
            refused = _judged(engine, work, number, attempt, event.outcome)
            if refused is not None and attempt < options.retries:
                begin(work, number, attempt + 1)
            elif refused is not None:
                for stream in [s for s, (other, _, _) in under_way.items() if other is work]:
                    streams.drop(stream)
                    del under_way[stream]
                failure = rejected(work.pieces[number][0], work.refused[number])
                yield LineSound(line=work.line, audio=torch.zeros(0), error=failure)
            elif len(work.sounds) == len(work.pieces):
                yield _joined(engine, work)


def _judged(
    engine: Engine, work: _Work, number: int, attempt: int, outcome: Outcome
) -> Rejection | None:
    """Make the sound of a piece and keep it if it is good, else say why it is not."""
    speaker, options = engine.speaker, work.options
    refused = outcome.rejection
    if refused is None:
        settings = speaker.settings(work.line.voice, options.manner)
        prompt = speaker.sound_prompt(work.line.voice, settings)
        audio = speaker.codec.whole(outcome.frames, prompt, sound(options, attempt))
        refused = check_audio(audio, options.limits)
        if refused is None:
            before = work.refused.get(number, [])
            told = PieceReport(
                text=work.pieces[number][0],
                tokens=len(outcome.frames),
                attempts=len(before) + 1,
                rejected=tuple(rejection.cause for rejection in before),
            )
            work.sounds[number] = (audio, told)
    if refused is not None:
        work.refused.setdefault(number, []).append(refused)
    return refused


def _joined(engine: Engine, work: _Work) -> LineSound:
    """The pieces of a line one after the other, as `speak` joins them."""
    gap = torch.zeros(round(work.options.silence * engine.sample_rate))
    parts: list[Tensor] = []
    for number in range(len(work.pieces)):
        if number and len(gap):
            parts.append(gap)
        piece = [Chunk(audio=work.sounds[number][0])]
        parts += [chunk.audio for chunk in shaped(engine, piece, work.options)]
    pieces = tuple(work.sounds[number][1] for number in range(len(work.pieces)))
    return LineSound(line=work.line, audio=torch.cat(parts), pieces=pieces, skipped=work.skipped)


def _readable(engine: Engine, text: str) -> tuple[str, tuple[str, ...]]:
    """A text without the signs that cannot be read, and these with their names."""
    sieve = Sieve(engine.front_end.unreadable)
    clear = sieve.take(text)
    return clear, tuple(f"{sign} ({name})" for sign, name, _ in sieve.news())


def _one_by_one(
    engine: Engine, lines: Iterable[Line], options: SpeechOptions
) -> Iterator[LineSound]:
    """For models whose frames are not drawn one by one: there is no loop to share."""
    for line in lines:
        own = replace(options, seed=line.seed, speed=line.speed, stream=False)
        try:
            text, skipped = _readable(engine, line.text)
            chunks = list(speak(engine, text, line.voice, own))
        except MamtraError as error:
            yield LineSound(line=line, audio=torch.zeros(0), error=error)
            continue
        pieces = tuple(chunk.piece for chunk in chunks if chunk.piece is not None)
        yield LineSound(
            line=line,
            audio=torch.cat([chunk.audio for chunk in chunks]),
            pieces=pieces,
            skipped=skipped,
        )
