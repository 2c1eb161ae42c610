"""A text with pauses, voices and rates, spoken segment by segment.

Everything is encoded before any sound is made, so that what cannot be spoken is told at once. A
script of one plain segment is spoken as `speak` speaks its text, sample for sample.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import pieces_of, speak_pieces
from mamtra_cli.engine.speaking.utterances import Chunk, Piece
from mamtra_cli.engine.talker import Talker
from mamtra_cli.errors import TextError, UsageError
from mamtra_cli.events import Report, Stage, ignore
from mamtra_cli.text.segments import Script
from mamtra_cli.voices.voice import Manner, Voice

SLOWEST, FASTEST = 0.25, 4.0


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
    known: dict[str, tuple[Voice, Any]] = {}

    def settings(name: str) -> tuple[Voice, Any]:
        if name not in known:
            voice, manner = voices(name)
            known[name] = voice, engine.speaker.settings(voice, manner)
        return known[name]

    pieces, silence = _pieces(engine, script, settings, options)
    if not pieces:
        raise TextError("the text is empty", "give a sentence to speak")
    report(Stage(name="speaking", total=len(pieces), unit="pieces"))
    yield from speak_pieces(engine, pieces, options, report, silence)


def _pieces(
    engine: Talker,
    script: Script,
    settings: Callable[[str], tuple[Voice, Any]],
    options: SpeechOptions,
) -> tuple[list[Piece], float]:
    """Pieces of all segments, and the silence after the last; words of signs only are none."""
    pieces: list[Piece] = []
    silence = 0.0
    for segment in script.segments:
        if segment.pause:
            silence += segment.pause
            continue
        if not any(map(str.isalnum, segment.text)) and len(script.segments) > 1:
            continue
        speed = options.speed * segment.rate
        if not SLOWEST <= speed <= FASTEST:
            raise UsageError(
                f"a rate of {segment.rate:g} at `--speed {options.speed:g}` is {speed:g}, outside "
                f"{SLOWEST:g} to {FASTEST:g}"
            )
        own = pieces_of(engine, segment.text, *settings(segment.voice))
        own = [replace(piece, speed=segment.rate, sound_seed=len(pieces)) for piece in own]
        if silence:
            own[0] = replace(own[0], pause=silence)
        silence = 0.0
        pieces += own
    return pieces, silence
