"""A text as a user wrote it, with tags and a lexicon of words, as a script of segments."""

from dataclasses import replace

from mamtra_cli.text.respelling import Respelling
from mamtra_cli.text.segments import Script, Segment
from mamtra_cli.text.signs import Sieve, refusal
from mamtra_cli.text.tags import parse


def read_written(
    text: str, *, tags: bool = True, lexicon: Respelling | None = None, voice: str = ""
) -> Script:
    """The script of a text.

    Args:
        text: as it was written.
        tags: obey the tags in it; otherwise they are words.
        lexicon: how some words are said.
        voice: who speaks until a tag says otherwise.

    Raises:
        TextError: a tag that cannot be.
    """
    script = parse(text, voice) if tags else Script(segments=(Segment(text=text),))
    if lexicon is None:
        return script
    segments = tuple(
        replace(part, text=lexicon.apply(part.text, script.given)) for part in script.segments
    )
    return replace(script, segments=segments)


def readable(script: Script, sieve: Sieve) -> Script:
    """A script without the signs that cannot be read.

    Raises:
        TextError: they are to be refused, or most letters are of a script that the model lacks.
    """
    segments = tuple(
        replace(part, text=sieve.take(part.text) + sieve.finish()) for part in script.segments
    )
    lost = [letter for found in sieve.skipped() for letter in found.sign if letter.isalpha()]
    kept = "".join(part.text for part in segments)
    if len(lost) > sum(map(str.isalpha, kept)):
        raise refusal(lost)
    return replace(script, segments=segments)
