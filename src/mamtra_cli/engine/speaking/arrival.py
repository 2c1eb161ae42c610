"""Speaking a text that is still being written: by sentences, or in turns with the model.

By sentences works with every model: a sentence is spoken as soon as it is complete, and with
`stream` its sound leaves while it is spoken. In turns works with models that were trained on text
and speech interleaved (the published CosyVoice 2; not mini): they speak after five text ids, in
the middle of a sentence. What arrives is an iterator of strings that may block; nothing here
knows where from.
"""

import re
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
from mamtra_cli.text.english import sentences
from mamtra_cli.voices.voice import Voice

EMPTY = ("the text is empty", "give a sentence to speak")
LONGEST_WAIT = 400  # characters without an end of sentence after which a part is spoken
LINE_END = re.compile(r"[.!?…:;][\"')\]”’]*[ \t]*\n|\n\s*\n")
WIDE_END = re.compile(r"[。！？；]+[”’」』）]*")  # after these a sentence ends without a blank


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


def whole_sentences(arriving: Iterable[str]) -> Iterator[str]:
    """Yield sentences as soon as they are complete, the rest when the text ends.

    A sentence is complete when another one begins, when its line ends, or at a full-width end
    mark. A text without any is cut after 400 characters at a comma or a blank.
    """
    held = ""
    for text in arriving:
        held += text
        while (cut := _complete(held)) is not None:
            done, held = held[:cut], held[cut:]
            yield from sentences(done)
    yield from sentences(held)


def _complete(text: str) -> int | None:
    """Where the part of a text ends that can be spoken now, or `None`."""
    ends = [match.end() for pattern in (LINE_END, WIDE_END) for match in pattern.finditer(text)]
    if ends:
        return max(ends)
    said = sentences(text)
    if len(said) > 1:
        # The last sentence may go on; its words stand at the end as they came.
        return _start(text, said[-1])
    if len(text) <= LONGEST_WAIT:
        return None
    comma = text.rfind(", ", LONGEST_WAIT // 2, LONGEST_WAIT)
    blank = text.rfind(" ", 1, LONGEST_WAIT)
    return next((place + 1 for place in (comma, blank) if place > 0), LONGEST_WAIT)


def _start(text: str, last: str) -> int:
    """Where the last sentence starts: blanks between its words may differ."""
    words = r"\s+".join(re.escape(word) for word in last.split())
    found = list(re.finditer(words, text))
    return found[-1].start()


def whole_words(arriving: Iterable[str]) -> Iterator[str]:
    """Yield text up to the last complete word; blanks are single, before the word they lead."""
    held, first = "", True
    for text in arriving:
        held = re.sub(r"\s+", " ", held + text)
        if first:
            held = held.lstrip()
        cut = held.rfind(" ")
        if "\u4e00" <= held[-1:] <= "\u9fff":
            cut = len(held)  # Chinese has no blanks to wait for
        if cut > 0:
            yield held[:cut]
            held, first = held[cut:], False
    if held.strip():
        yield held.rstrip()


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
