"""What an attempt at a piece is made of: its seed, its script or its parts, what makes its sound.

Knows nothing of what becomes of an attempt; that is in utterances.py.
"""

from collections.abc import Iterator
from dataclasses import replace

from mamtra_cli.engine import seeds
from mamtra_cli.engine.loading.talker import Talker
from mamtra_cli.engine.speaking.hearing import Hearing, Judging, Unheard
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import Piece
from mamtra_cli.errors import UsageError
from mamtra_cli.families.script import Script
from mamtra_cli.families.speaker import Made

HURRIED = 0.5  # share of the frames expected of a text below which a cap cannot be kept
Sound = Hearing | Judging | Unheard


def reseeded(seed: int, attempt: int) -> int:
    """The seed of an attempt; that of number 0 is the seed itself."""
    return seed + attempt * seeds.ATTEMPTS_APART


def script_of(engine: Talker, piece: Piece, options: SpeechOptions, *, closed: bool) -> Script:
    """The script of a piece.

    Args:
        engine: the model.
        piece: what is said.
        options: how.
        closed: whether the text has ended; of a piece that arrives, what has come is in it.

    Raises:
        UsageError: it may not be capped where it cannot be said.
    """
    if piece.arrives:
        return _turns(engine, piece, options, closed=closed)
    rate, most = engine.facts.frame_rate, None
    if options.max_seconds is not None:
        most = max(1, round(options.max_seconds * rate))
    script = engine.speaker.begin(piece.ids, piece.voice, piece.settings, most=most)
    expected = script.expected or 0.0
    if most is not None and most < HURRIED * expected:
        raise UsageError(
            f"`--max-seconds {options.max_seconds:g}` is too short for a piece of text that "
            f"takes about {expected / rate:.1f} s",
            "give more seconds, or a shorter text",
        )
    return script


def _turns(engine: Talker, piece: Piece, options: SpeechOptions, *, closed: bool) -> Script:
    """The script of a piece that arrives, with as much of its text as has come."""
    assert piece.voice is not None
    if options.max_seconds is not None:
        raise UsageError(
            "`--max-seconds`: a text that is spoken while it arrives has no length yet",
            "leave it out",
        )
    script = engine.speaker.turns(piece.voice, piece.settings)
    if piece.ids:
        script = script.hear(piece.ids)
    return script.close() if closed else script


def made_of(engine: Talker, piece: Piece, options: SpeechOptions, seed: int) -> Iterator[Made]:
    """Frames of a piece where there is no token loop."""
    assert piece.voice is not None
    if options.max_seconds is not None:
        raise UsageError(
            "`--max-seconds`: this model says outright how long a text takes", "leave it out"
        )
    return engine.speaker.made(
        piece.ids,
        piece.voice,
        piece.settings,
        seed=seed,
        speed=options.speed * piece.speed,
        stream=options.stream,
    )


def sound_of(engine: Talker, piece: Piece, options: SpeechOptions, attempt: int) -> Sound:
    """What makes the sound of an attempt."""
    if options.mute:
        return Unheard()
    assert piece.voice is not None
    speaker = engine.speaker
    sound = replace(options, speed=options.speed * piece.speed).sound(attempt)
    prompt = speaker.sound_prompt(piece.voice, piece.settings)
    # What arrives is heard at once: nobody knows when its text will end.
    kind = Hearing if options.stream or piece.arrives else Judging
    return kind(speaker.codec, prompt, sound, options.limits)
