"""Text to sound: pieces of text, tokens, sound, guards, new attempts; whole or streamed.

A piece is what the front end cuts from a text: what is spoken at once. `stream` decides when sound
is handed out: after a piece is finished and judged, or while the language model still writes it,
in which case a piece that a guard refuses after its first sound cannot be tried again. What happens
to pieces is in utterances.py. Knows no files and no flags, and models only as their family's
`Speaker`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mamtra_cli.engine.decoding.guards import Rejection
from mamtra_cli.engine.loading.talker import Talker
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import Chunk, Piece
from mamtra_cli.engine.speaking.refused import shortened
from mamtra_cli.engine.speaking.utterances import Utterances
from mamtra_cli.events import Advance, Note, Report, Stage, ignore
from mamtra_cli.families.script import Frame
from mamtra_cli.voices.voice import Voice


def speak(
    engine: Talker,
    text: str,
    voice: Voice,
    options: SpeechOptions | None = None,
    report: Report = ignore,
) -> Iterator[Chunk]:
    """Speak a text, chunk by chunk.

    Args:
        engine: the model.
        text: any length; it is cut into pieces where a reader would stop.
        voice: who speaks.
        options: how.
        report: hears of pieces and of refused attempts.

    Raises:
        TextError: the text holds nothing, or something, that cannot be spoken.
        AudioRejectedError: a piece was refused after every retry.
    """
    options = options or SpeechOptions()
    settings = engine.speaker.settings(voice, options.manner)
    # Encoding everything first means that an unspeakable word is told before any sound is made.
    pieces = pieces_of(engine, text, voice, settings)
    report(Stage(name="speaking", total=len(pieces), unit="pieces"))
    yield from speak_pieces(engine, pieces, options, report)


def pieces_of(
    engine: Talker, text: str, voice: Voice, settings: Any, *, words: bool = False
) -> list[Piece]:
    """A text cut where a reader would stop, with what the model reads of each piece.

    Args:
        engine: the model.
        text: any length.
        voice, settings: who says it, and how.
        words: keep the words of each piece, so that they can be timed.

    Raises:
        TextError: it holds nothing, or something, that cannot be spoken.
    """
    speaker = engine.speaker
    return [
        Piece(
            text=piece,
            ids=speaker.encode(piece, settings),
            voice=voice,
            settings=settings,
            spans=tuple(engine.front_end.spans(piece)) if words else (),
        )
        for piece in speaker.pieces(text, settings)
    ]


def speak_pieces(
    engine: Talker,
    pieces: Iterable[Piece],
    options: SpeechOptions,
    report: Report = ignore,
    silence: float = 0.0,
    *,
    rows: int = 1,
) -> Iterator[Chunk]:
    """Speak pieces as one utterance, each asked for when there is a row for it.

    Args:
        engine: the model.
        pieces: with their voices.
        options: how.
        report: hears of pieces and of refused attempts.
        silence: seconds after the last.
        rows: pieces spoken together; sound leaves in their order all the same.
    """
    utterances = Utterances(engine, rows=rows, limits=options.limits)
    id = utterances.add(options, together=rows > 1)
    for piece in pieces:
        utterances.give(id, [piece])
        yield from chunks_of(utterances, report, rows)
    utterances.close(id, silence)
    yield from chunks_of(utterances, report)


def chunks_of(utterances: Utterances, report: Report, most: int = 0) -> Iterator[Chunk]:
    """Sound of a single utterance until fewer pieces are left, or nothing can be said now.

    Raises:
        AudioRejectedError: a piece was refused after every retry.
    """
    while utterances.busy and utterances.running + utterances.waiting >= most:
        for news in utterances.step():
            if news.error is not None:
                raise news.error
            if news.refused is not None:
                report(Note(text=_again(*news.refused), warning=True))
            if news.chunk is not None:
                yield news.chunk
                if news.chunk.piece is not None:
                    report(Advance())


def _again(piece: Piece, why: Rejection) -> str:
    """That an attempt was refused; the last one is told by the error."""
    start = shortened(piece.text)
    return f"`{start}`: {why.detail} ({why.cause}); trying again with another seed"


def speak_frames(
    engine: Talker, frames: Sequence[Frame], voice: Voice, options: SpeechOptions | None = None
) -> Any:
    """Turn frames that are known into samples (S,)."""
    options = options or SpeechOptions()
    speaker = engine.speaker
    prompt = speaker.sound_prompt(voice, speaker.settings(voice, options.manner))
    return speaker.codec.whole(frames, prompt, options.sound())
