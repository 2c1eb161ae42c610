"""A text with pauses, voices and rates, spoken segment by segment.

Everything is encoded before any sound is made, so that what cannot be spoken is told at once. A
script of one plain segment is spoken as `speak` speaks its text, sample for sample.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from mamtra_cli.engine.speaking.speech import Chunk, SpeechOptions, speak_pieces
from mamtra_cli.engine.talker import Talker
from mamtra_cli.errors import TextError, UsageError
from mamtra_cli.events import Report, Stage, ignore
from mamtra_cli.text.segments import Script
from mamtra_cli.voices.voice import Manner, Voice

SLOWEST, FASTEST = 0.25, 4.0


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Pieces of one voice and rate with their ids; none for a pause."""

    pieces: tuple[tuple[str, list[int]], ...] = ()
    pause: float = 0.0
    voice: str = ""
    rate: float = 1.0


def speak_script(
    engine: Talker,
    script: Script,
    voices: Callable[[str], tuple[Voice, Manner]],
    options: SpeechOptions,
    report: Report = ignore,
) -> Iterator[Chunk]:
    """Speak a script, chunk by chunk.

    Args:
        engine: the model; its front end knows the phones of the script.
        script: what to speak.
        voices: a voice by its name, and how it is asked to speak; `""` is the one asked for.
        options: how; the rate of a segment comes on top of its speed.
        report: hears of pieces and of refused attempts.

    Raises:
        TextError: there are no words, or some that cannot be spoken.
        AudioRejectedError: a piece was refused after every retry.
    """
    known: dict[str, tuple[Voice, Manner]] = {}

    def settings(name: str) -> Any:
        if name not in known:
            known[name] = voices(name)
        return engine.speaker.settings(*known[name])

    parts = list(_parts(engine, script, settings, options))
    if not known:
        raise TextError("the text is empty", "give a sentence to speak")
    report(Stage(name="speaking", total=sum(len(p.pieces) for p in parts), unit="pieces"))
    spoken, silence = 0, 0.0
    for part in parts:
        if part.pause:
            silence += part.pause
            continue
        if spoken and not silence:
            silence = options.silence
        if silence:
            yield Chunk(audio=engine.silence(silence))
            silence = 0.0
        voice, manner = known[part.voice]
        manner_of = replace(
            options, seed=options.seed + spoken, speed=options.speed * part.rate, manner=manner
        )
        yield from speak_pieces(engine, part.pieces, voice, manner_of, report)
        spoken += len(part.pieces)
    if silence:
        yield Chunk(audio=engine.silence(silence))


def _parts(
    engine: Talker, script: Script, settings: Callable[[str], Any], options: SpeechOptions
) -> Iterator[_Part]:
    """Segments with their pieces encoded; words of signs only are none."""
    for segment in script.segments:
        if segment.pause:
            yield _Part(pause=segment.pause)
            continue
        if not any(map(str.isalnum, segment.text)) and len(script.segments) > 1:
            continue
        speed = options.speed * segment.rate
        if not SLOWEST <= speed <= FASTEST:
            raise UsageError(
                f"a rate of {segment.rate:g} at `--speed {options.speed:g}` is {speed:g}, outside "
                f"{SLOWEST:g} to {FASTEST:g}"
            )
        told = settings(segment.voice)
        pieces = engine.speaker.pieces(segment.text, told)
        encoded = tuple((piece, engine.speaker.encode(piece, told)) for piece in pieces)
        yield _Part(pieces=encoded, voice=segment.voice, rate=segment.rate)
