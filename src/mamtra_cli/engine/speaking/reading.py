"""What would be said for a text, without saying it."""

from dataclasses import replace

from mamtra_cli.engine.loading.talker import Talker
from mamtra_cli.text.reading import Reading, read
from mamtra_cli.text.segments import Script
from mamtra_cli.text.signs import Skipped


def reading_of(engine: Talker, script: Script, skipped: tuple[Skipped, ...] = ()) -> Reading:
    """The pieces of a script with their words, as they were written.

    Raises:
        TextError: there are no words, or some that cannot be spoken.
    """
    said = [part.text for part in script.segments if any(map(str.isalnum, part.text))]
    with engine.saying(script.given.phones):
        words = said or ["".join(part.text for part in script.segments)]
        pieces = [piece for part in words for piece in engine.speaker.pieces(part)]
        reading = read(pieces, engine.front_end.shown, skipped)
    restored = script.given.restored
    return replace(
        reading,
        pieces=tuple(
            replace(
                piece,
                text=restored(piece.text),
                words=tuple(replace(word, word=restored(word.word)) for word in piece.words),
            )
            for piece in reading.pieces
        ),
    )
