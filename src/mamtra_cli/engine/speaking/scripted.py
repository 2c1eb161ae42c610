"""From a text as it was written to pieces: tags, a lexicon, voices and pauses are obeyed here, the
same for a text that is whole, a line of a file, a caller's, and one that arrives by sentences.

Everything of a whole text is encoded before any sound is made, so that what cannot be spoken is
told at once. A text without tags is spoken as `speak` speaks it, sample for sample.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from mamtra_cli.engine.loading.talker import Talker
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import Chunk, Piece
from mamtra_cli.engine.speaking.speech import pieces_of, speak_pieces
from mamtra_cli.errors import TextError, UsageError
from mamtra_cli.events import Report, Stage, ignore
from mamtra_cli.text.respelling import Respelling
from mamtra_cli.text.segments import Script
from mamtra_cli.text.signs import Sieve
from mamtra_cli.text.tags import is_ssml
from mamtra_cli.text.written import read_written, readable
from mamtra_cli.voices.voice import Manner, Voice

SLOWEST, FASTEST = 0.25, 4.0
Voices = Callable[[str], tuple[Voice, Manner | None]]
"""A voice by its name, and how it is asked to speak; "" is the one asked for."""


class Reader:
    """Reads one text, whole or part after part.

    Args:
        engine: the model.
        voices: of the text.
        speed: of the utterance; rates in the text come on top.
        tags: obey them.
        lexicon: how some words are said.
        words: pieces shall know their words, so that these can be timed.

    Attributes:
        silence: seconds of pauses since the last piece.
    """

    def __init__(
        self,
        engine: Talker,
        voices: Voices,
        *,
        speed: float = 1.0,
        tags: bool = True,
        lexicon: Respelling | None = None,
        words: bool = False,
    ) -> None:
        self.engine = engine
        self.silence = 0.0
        self._voices, self._known = voices, dict[str, tuple[Voice, Any]]()
        self._speed, self._tags, self._lexicon, self._words = speed, tags, lexicon, words
        self._voice = ""

    def whole(self, text: str, sieve: Sieve) -> list[Piece]:
        """Pieces of a whole text without its unreadable signs, of which the sieve knows then.

        Raises:
            TextError: there are no words, or some that cannot be spoken.
        """
        script = read_written(text, tags=self._tags, lexicon=self._lexicon)
        pieces = self.pieces(readable(script, sieve))
        if not pieces:
            raise TextError("the text is empty", "give a sentence to speak")
        return pieces

    def part(self, text: str) -> list[Piece]:
        """Pieces of the next sentence, in the voice that was told last; none for a pause alone.

        Raises:
            TextError: it cannot be spoken, or is SSML, which is read as a whole.
        """
        if self._tags and is_ssml(text):
            raise TextError("SSML is read as a whole", "send the whole document at once")
        script = read_written(text, tags=self._tags, lexicon=self._lexicon, voice=self._voice)
        pieces = self.pieces(script)
        self._voice = script.voice
        return pieces

    def pieces(self, script: Script) -> list[Piece]:
        """Pieces of a script; words of signs only are none."""
        pieces: list[Piece] = []
        for segment in script.segments:
            if segment.pause:
                self.silence += segment.pause
                continue
            if not any(map(str.isalnum, segment.text)) and len(script.segments) > 1:
                continue
            speed = self._speed * segment.rate
            if not SLOWEST <= speed <= FASTEST:
                raise UsageError(
                    f"a rate of {segment.rate:g} at a speed of {self._speed:g} is {speed:g}, "
                    f"outside {SLOWEST:g} to {FASTEST:g}"
                )
            with self.engine.saying(script.given.phones):
                voice, settings = self._speaker(segment.voice)
                own = pieces_of(self.engine, segment.text, voice, settings, words=self._words)
            for place, piece in enumerate(own):
                pause = self.silence if self.silence and not place else None
                pieces.append(
                    replace(
                        piece,
                        text=script.given.restored(piece.text),
                        spans=tuple((script.given.restored(w), n) for w, n in piece.spans),
                        speed=segment.rate,
                        pause=pause,
                    )
                )
            self.silence = 0.0
        return pieces

    def _speaker(self, name: str) -> tuple[Voice, Any]:
        if name not in self._known:
            voice, manner = self._voices(name)
            self._known[name] = voice, self.engine.speaker.settings(voice, manner)
        return self._known[name]


def speak_read(
    reader: Reader,
    pieces: list[Piece],
    options: SpeechOptions,
    report: Report = ignore,
    *,
    rows: int = 1,
) -> Iterator[Chunk]:
    """Speak what a reader has read, chunk by chunk.

    Args:
        reader: of the text, which is whole.
        pieces: all of them.
        options: how.
        report: hears of pieces and of refused attempts.
        rows: pieces spoken together.

    Raises:
        AudioRejectedError: a piece was refused after every retry.
    """
    report(Stage(name="speaking", total=len(pieces), unit="pieces"))
    yield from speak_pieces(reader.engine, pieces, options, report, reader.silence, rows=rows)
