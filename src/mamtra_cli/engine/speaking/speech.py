"""Text to sound: pieces, scripts, frames, waves, with guards and new attempts on the way.

Both roads read the events of the token loop. A piece is normally spoken whole, judged, and only
then handed out, so that a bad attempt is never heard; memory is bounded by the longest piece.
Streaming hands out sound while the language model still writes: a piece can be tried again until
its first sound has left. Pieces are joined by a short silence and soft edges. Knows no files and no
flags, and models only as their family's `Speaker`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.engine.decoding.guards import GuardLimits, Rejection, check_audio
from mamtra_cli.engine.decoding.loop import Utterance, reseeded, speak_one
from mamtra_cli.engine.decoding.streams import Event, Outcome
from mamtra_cli.engine.speaking.hearing import Edges, Hearing
from mamtra_cli.engine.talker import Talker
from mamtra_cli.errors import AudioRejectedError, UsageError
from mamtra_cli.events import Advance, Note, Report, Stage, ignore
from mamtra_cli.families.script import Frame
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.voices.voice import Manner, Voice

EDGE_SECONDS = 0.005
HURRIED = 0.5  # share of the frames expected of a text below which a cap cannot be kept


@dataclass(frozen=True, kw_only=True)
class SpeechOptions:
    """How to speak.

    Attributes:
        sampling: how tokens are chosen; `None` for the model's own way.
        seed: of everything random.
        speed: 2 speaks twice as fast.
        retries: new attempts for a piece that a guard refused.
        silence: seconds between pieces.
        max_seconds: longest piece; `None` for what its text allows.
        steps: of the flow's solver; `None` for the model's.
        volume: factor on the samples.
        stream: hand sound out while the language model writes.
        limits: what the guards tolerate.
        manner: what of the voice the model is shown; `None` for the richest that both know.
    """

    sampling: Sampling | None = None
    seed: int = 0
    speed: float = 1.0
    retries: int = 2
    silence: float = 0.2
    max_seconds: float | None = None
    steps: int | None = None
    volume: float = 1.0
    stream: bool = False
    limits: GuardLimits = field(default_factory=GuardLimits)
    manner: Manner | None = None


@dataclass(frozen=True, kw_only=True)
class PieceReport:
    """How a piece was made; `rejected` names the guards that refused earlier attempts."""

    text: str
    tokens: int
    attempts: int
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Samples (S,) float32, a tensor on the CPU or an array, as the engine makes them; the last
    chunk of a piece carries its report."""

    audio: Any
    piece: PieceReport | None = None


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
    speaker = engine.speaker
    settings = speaker.settings(voice, options.manner)
    pieces = speaker.pieces(text, settings)
    # Encoding everything first means that an unspeakable word is told before any sound is made.
    encoded = [speaker.encode(piece, settings) for piece in pieces]
    report(Stage(name="speaking", total=len(pieces), unit="pieces"))
    yield from speak_pieces(engine, zip(pieces, encoded, strict=True), voice, options, report)


def speak_pieces(
    engine: Talker,
    pieces: Iterable[tuple[str, list[int]]],
    voice: Voice,
    options: SpeechOptions,
    report: Report = ignore,
) -> Iterator[Chunk]:
    """Speak pieces with their ids as they come, with pauses between; see `speak`."""
    make = _streamed if options.stream else _whole
    gap = engine.silence(options.silence)
    for number, (text, ids) in enumerate(pieces):
        if number and len(gap):
            yield Chunk(audio=gap)
        piece = _Piece(text=text, ids=ids, seed=options.seed + number)
        yield from shaped(engine, make(engine, piece, voice, options, report), options)
        report(Advance())


def shaped(engine: Talker, chunks: Iterable[Chunk], options: SpeechOptions) -> Iterator[Chunk]:
    """Give a piece its soft edges and its loudness."""
    for chunk in soft_edges(chunks, round(EDGE_SECONDS * engine.sample_rate)):
        yield Chunk(audio=(chunk.audio * options.volume).clip(-1, 1), piece=chunk.piece)


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """A text that is spoken at once."""

    text: str
    ids: Sequence[int]
    seed: int


def _whole(
    engine: Talker, piece: _Piece, voice: Voice, options: SpeechOptions, report: Report
) -> Iterator[Chunk]:
    """Speak a piece, judge it, and hand it out if it is good."""
    speaker = engine.speaker
    settings = speaker.settings(voice, options.manner)
    refused: list[Rejection] = []
    for attempt in range(options.retries + 1):
        outcome = _outcome(_events(engine, piece, voice, settings, options, attempt))
        frames, rejection = outcome.frames, outcome.rejection
        if rejection is None:
            prompt = speaker.sound_prompt(voice, settings)
            audio = speaker.codec.whole(frames, prompt, sound(options, attempt))
            rejection = check_audio(audio, options.limits)
            if rejection is None:
                yield Chunk(audio=audio, piece=_piece_report(piece.text, len(frames), refused))
                return
        refused.append(rejection)
        _tell(report, piece.text, rejection, attempt, options)
    raise rejected(piece.text, refused)


def _streamed(
    engine: Talker, piece: _Piece, voice: Voice, options: SpeechOptions, report: Report
) -> Iterator[Chunk]:
    """Speak a piece while its frames come; new attempts until the first sound is out."""
    settings = engine.speaker.settings(voice, options.manner)
    refused: list[Rejection] = []
    for attempt in range(options.retries + 1):
        events = _events(engine, piece, voice, settings, options, attempt)
        heard = False
        said, rejection = 0, None
        for part in heard_events(engine, events, voice, options, attempt):
            if isinstance(part, Outcome):
                said, rejection = len(part.frames), part.rejection
            else:
                heard = True
                yield Chunk(audio=part)
        if rejection is None:
            yield Chunk(audio=engine.silence(0.0), piece=_piece_report(piece.text, said, refused))
            return
        refused.append(rejection)
        _tell(report, piece.text, rejection, attempt, options)
        if heard:
            raise rejected(piece.text, refused, heard=True)
    raise rejected(piece.text, refused)


def heard_events(
    engine: Talker,
    events: Iterable[Event],
    voice: Voice,
    options: SpeechOptions,
    attempt: int = 0,
) -> Iterator[Any]:
    """Sound (S,) while frames come, and its `Outcome` last; nothing follows a refusal.

    Args:
        engine: the model.
        events: of one stream.
        voice: who speaks.
        options: how.
        attempt: which one this is.
    """
    speaker = engine.speaker
    prompt = speaker.sound_prompt(voice, speaker.settings(voice, options.manner))
    hearing = Hearing(speaker.codec, prompt, sound(options, attempt), options.limits)
    for event in events:
        yield from hearing.take(event)
        if hearing.over:
            return


def soft_edges(chunks: Iterable[Chunk], ramp: int) -> Iterator[Chunk]:
    """Fade the first and the last `ramp` samples of a piece; see `Edges`."""
    edges = Edges(ramp)
    done: PieceReport | None = None
    for chunk in chunks:
        done = chunk.piece or done
        audio = edges.push(chunk.audio)
        if len(audio):
            yield Chunk(audio=audio)
    if edges.begun:
        yield Chunk(audio=edges.finish(), piece=done)


def speak_frames(
    engine: Talker, frames: Sequence[Frame], voice: Voice, options: SpeechOptions | None = None
) -> Any:
    """Turn frames that are known into samples (S,)."""
    options = options or SpeechOptions()
    speaker = engine.speaker
    prompt = speaker.sound_prompt(voice, speaker.settings(voice, options.manner))
    return speaker.codec.whole(frames, prompt, sound(options, 0))


def sound(options: SpeechOptions, attempt: int) -> SoundOptions:
    """How the frames of an attempt become sound."""
    return SoundOptions(seed=options.seed + attempt, speed=options.speed, steps=options.steps)


def _events(
    engine: Talker,
    piece: _Piece,
    voice: Voice,
    settings: Any,
    options: SpeechOptions,
    attempt: int,
) -> Iterator[Event]:
    """What the model does for one attempt at a piece."""
    speaker = engine.speaker
    if speaker.tokens is None:
        return _made(engine, piece, voice, settings, options, attempt)
    most = None
    if options.max_seconds is not None:
        most = max(1, round(options.max_seconds * engine.facts.frame_rate))
    script = speaker.begin(piece.ids, voice, settings, most=most)
    if most is not None and most < HURRIED * (script.expected or 0.0):
        raise UsageError(
            f"`--max-seconds {options.max_seconds:g}` is too short for a piece of text that takes "
            f"about {(script.expected or 0.0) / engine.facts.frame_rate:.1f} s",
            "give more seconds, or a shorter text",
        )
    utterance = Utterance(script=script, seed=piece.seed).attempt(attempt)
    return speak_one(speaker.tokens, utterance, options.sampling or engine.sampling, options.limits)


def _made(
    engine: Talker,
    piece: _Piece,
    voice: Voice,
    settings: Any,
    options: SpeechOptions,
    attempt: int,
) -> Iterator[Event]:
    """The same of a model that needs no token loop.

    Raises:
        UsageError: something is asked of the loop.
    """
    if options.max_seconds is not None:
        raise UsageError(
            "`--max-seconds`: this model says outright how long a text takes", "leave it out"
        )
    frames: tuple[Frame, ...] = ()
    for part in engine.speaker.made(
        piece.ids,
        voice,
        settings,
        seed=reseeded(piece.seed, attempt),
        speed=options.speed,
        stream=options.stream,
    ):
        frames = (*frames, *part.frames)
        outcome = Outcome(frames=frames) if part.last else None
        yield Event(id=0, frames=tuple(part.frames), outcome=outcome)


def _outcome(events: Iterable[Event]) -> Outcome:
    """How a stream ended."""
    *_, last = events
    assert last.outcome is not None
    return last.outcome


def _piece_report(piece: str, said: int, refused: Sequence[Rejection]) -> PieceReport:
    return PieceReport(
        text=piece,
        tokens=said,
        attempts=len(refused) + 1,
        rejected=tuple(rejection.cause for rejection in refused),
    )


def _tell(
    report: Report, piece: str, rejection: Rejection, attempt: int, options: SpeechOptions
) -> None:
    """Say that an attempt was refused, unless the error that follows says it."""
    if attempt < options.retries:
        start = piece if len(piece) <= 40 else piece[:37] + "..."
        text = f"`{start}`: {rejection.detail} ({rejection.cause}); trying again with another seed"
        report(Note(text=text, warning=True))


def rejected(
    piece: str, refused: Sequence[Rejection], *, heard: bool = False
) -> AudioRejectedError:
    """The error that ends a piece after its last attempt; `heard` if it had begun."""
    start = piece if len(piece) <= 40 else piece[:37] + "..."
    last = refused[-1].detail
    if heard:
        return AudioRejectedError(
            f"no good speech for `{start}`: {last}; what has begun to be heard is not tried again",
            hint="leave out the streaming: pieces are then judged and tried again before anybody "
            "hears them; or try another `--seed`",
        )
    attempts = "attempt" if len(refused) == 1 else "attempts"
    return AudioRejectedError(
        f"no good speech for `{start}` after {len(refused)} {attempts}: {last}",
        hint="try another `--seed`, a lower `--temperature`, or `--retries 5`",
    )
