"""Speaking a text that is still being written: by sentences, or in turns with the model.

By sentences works with every model: a sentence is spoken as soon as it is complete, and with
`stream` its sound leaves while it is spoken. In turns works with models that were trained on text
and speech interleaved (`learned.turns`; mini is none): they speak after a few text ids, in
the middle of a sentence. What arrives is an iterator of strings that may block; nothing here
knows where from.
"""

from collections.abc import Iterable, Iterator

from mamtra_cli.engine.loading.talker import Talker
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import Chunk, Piece
from mamtra_cli.engine.speaking.scripted import Reader
from mamtra_cli.engine.speaking.speech import chunks_of, speak_pieces
from mamtra_cli.engine.speaking.utterances import Utterances
from mamtra_cli.errors import TextError
from mamtra_cli.events import Note, Report, Stage, ignore
from mamtra_cli.text.arriving import whole_sentences, whole_words
from mamtra_cli.voices.voice import Voice

EMPTY = ("the text is empty", "give a sentence to speak")


def speak_arriving(
    engine: Talker,
    arriving: Iterable[str],
    voice: Voice,
    options: SpeechOptions | None = None,
    report: Report = ignore,
    reader: Reader | None = None,
) -> Iterator[Chunk]:
    """Speak a text while it arrives, in turns where the model can, else by sentences.

    A sentence that cannot be spoken is told and left out: what a program writes is not known
    before, and what was said cannot be taken back.

    Args:
        engine: the model.
        arriving: parts of the text.
        voice: who speaks.
        options: how.
        report: hears of pieces, of refused attempts and of what is left out.
        reader: of sentences; `None` for one that obeys no tags. In turns none are obeyed.

    Raises:
        AudioRejectedError: a piece was refused after every retry.
    """
    options = options or SpeechOptions()
    report(Stage(name="speaking", unit="pieces"))
    if takes_turns(engine):
        yield from _turns(engine, arriving, voice, options, report)
    else:
        reader = reader or Reader(engine, lambda name: (voice, options.manner), tags=False)
        yield from speak_pieces(engine, _pieces(reader, arriving, report), options, report)
        if reader.silence:
            yield Chunk(audio=engine.silence(reader.silence))


def takes_turns(engine: Talker) -> bool:
    """Whether the language model was trained to speak before it has read the whole text."""
    return engine.facts.learned.turns


def _pieces(reader: Reader, arriving: Iterable[str], report: Report) -> Iterator[Piece]:
    """Pieces of the sentences that can be spoken."""
    some = False
    for sentence in whole_sentences(arriving):
        try:
            found = reader.part(sentence)
        except TextError as error:
            report(Note(text=f"left out: {error.message}", warning=True))
            continue
        some = some or bool(found)
        yield from found
    if not some:
        raise TextError(*EMPTY)


def _turns(
    engine: Talker,
    arriving: Iterable[str],
    voice: Voice,
    options: SpeechOptions,
    report: Report,
) -> Iterator[Chunk]:
    """Speak while the text arrives, as one piece."""
    settings = engine.speaker.settings(voice, options.manner)
    utterances = Utterances(engine, rows=1, limits=options.limits)
    id = utterances.add(options)
    utterances.give(id, [Piece(text="", ids=(), voice=voice, settings=settings, arrives=True)])
    some = False
    for words in whole_words(arriving):
        ids = engine.speaker.encode(words, settings)
        some = some or bool(ids)
        utterances.hear(id, words, ids)
        yield from chunks_of(utterances, report)
        if id not in utterances:
            return
    if not some:
        raise TextError(*EMPTY)
    utterances.close(id)
    yield from chunks_of(utterances, report)
