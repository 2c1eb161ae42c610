"""Speaking a text that is still being written: by sentences, or in turns with the model.

By sentences works with every model: a sentence is spoken as soon as it is complete, and with
`stream` its sound leaves while it is spoken. In turns works with models that were trained on text
and speech interleaved (the published CosyVoice 2; not mini): they speak after five text ids, in
the middle of a sentence. What arrives is an iterator of strings that may block; nothing here
knows where from.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from mamtra_cli.engine.decoding.guards import Rejection, TokenWatch, check_finite
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.speech import (
    Chunk,
    PieceReport,
    SpeechOptions,
    rejected,
    shaped,
    speak_pieces,
    wave_road,
)
from mamtra_cli.errors import TextError
from mamtra_cli.events import Note, Report, Stage, ignore
from mamtra_cli.families.cosyvoice2.sequences import is_aligned
from mamtra_cli.families.cosyvoice2.turns import TextStream, stream_tokens
from mamtra_cli.ops.sampling import sample_one
from mamtra_cli.text.arriving import whole_sentences, whole_words
from mamtra_cli.voices.voice import Voice

EMPTY = ("the text is empty", "give a sentence to speak")


def speak_arriving(
    engine: Engine,
    arriving: Iterable[str],
    voice: Voice,
    options: SpeechOptions | None = None,
    report: Report = ignore,
) -> Iterator[Chunk]:
    """Speak a text while it arrives, in turns where the model can, else by sentences.

    A sentence that cannot be spoken is told and left out: what a program writes is not known
    before, and what was said cannot be taken back.

    Raises:
        AudioRejectedError: a piece was refused after every retry.
    """
    options = options or SpeechOptions()
    report(Stage(name="speaking", unit="pieces"))
    if takes_turns(engine):
        yield from shaped(engine, _turns(engine, arriving, voice, options), options)
    else:
        yield from speak_pieces(engine, _pieces(engine, arriving, report), voice, options, report)


def takes_turns(engine: Engine) -> bool:
    """Whether the language model was trained to speak before it has read the whole text.

    The published layout with counted positions was; models with aligned positions (mini) read
    all of a text first.
    """
    return not is_aligned(engine.config.lm)


def _pieces(
    engine: Engine, arriving: Iterable[str], report: Report
) -> Iterator[tuple[str, list[int]]]:
    """Speakable pieces and their ids."""
    some = False
    for sentence in whole_sentences(arriving):
        try:
            found = [(piece, engine.encode(piece)) for piece in engine.pieces(sentence)]
        except TextError as error:
            report(Note(text=f"left out: {error.message}", warning=True))
            continue
        some = True
        yield from found
    if not some:
        raise TextError(*EMPTY)


def _turns(
    engine: Engine,
    arriving: Iterable[str],
    voice: Voice,
    options: SpeechOptions,
) -> Iterator[Chunk]:
    """Speak while the text arrives as one utterance; what was heard is never tried again."""
    config = engine.config.lm
    prompt_text, prompt_tokens = voice.heard(engine.manner(voice, options.manner))
    sampling = options.sampling or engine.sampling
    generator = torch.Generator().manual_seed(options.seed)
    watch = TokenWatch(limits=options.limits, prompt=prompt_tokens)
    waver, prompt = wave_road(engine, voice, options, 0)
    state, said, read = waver.start(prompt), 0, 0
    text = ""

    def ids() -> Iterator[Sequence[int]]:
        nonlocal read, text
        for words in whole_words(arriving):
            found = engine.encode(words)
            text, read = text + words, read + len(found)
            yield found
        if not read:
            raise TextError(*EMPTY)

    def choose(scores: Tensor, out: Sequence[int]) -> int:
        return sample_one(scores.float().cpu(), sampling, out, generator=generator)

    stream = TextStream.begin(config, prompt_text, prompt_tokens)
    rejection: Rejection | None = None
    for token in stream_tokens(engine.lm, stream, ids(), choose):
        said += 1
        rejection = watch.add(token)
        if rejection is None and said > config.max_ratio * max(read, config.text_chunk):
            rejection = Rejection(cause="no_end", detail=f"no end after {said} tokens")
        if rejection is not None:
            break
        state, audio = waver.push(state, [token])
        if len(audio):
            rejection = check_finite(audio, "samples")
            if rejection is not None:
                break
            yield Chunk(audio=audio)
    if rejection is not None:
        raise rejected(text.strip(), [rejection], heard=True)
    audio = waver.finish(state)
    rejection = check_finite(audio, "samples")
    if rejection is not None:
        raise rejected(text.strip(), [rejection], heard=True)
    done = PieceReport(text=text.strip(), tokens=said, attempts=1)
    yield Chunk(audio=audio, piece=done)
