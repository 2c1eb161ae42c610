"""Text to sound: pieces, prompts, tokens, waves, with guards and new attempts on the way.

Two roads. A piece is normally spoken whole, judged, and only then handed out, so that a bad
attempt is never heard; memory is bounded by the longest piece. Streaming hands out sound while
the language model still writes: a piece can be tried again until its first sound has left. Pieces
are joined by a short silence and soft edges. Knows no files and no flags.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mamtra_cli.codecs.flow_hift.token2wav import TokenToWave, VoicePrompt, WaveOptions
from mamtra_cli.engine.decoding.guards import GuardLimits, Rejection, check_audio, check_finite
from mamtra_cli.engine.decoding.loop import Outcome, Utterance, tokens
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import AudioRejectedError
from mamtra_cli.events import Advance, Note, Report, Stage, ignore
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.voices.voice import Manner, Voice

EDGE_SECONDS = 0.005
TOKENS_PER_SECOND = 25


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
        manner: what of the voice the model is shown; `None` as in `Engine.manner`.
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
    """Samples (S,) float32 on the CPU; the last chunk of a piece carries its report."""

    audio: Tensor
    piece: PieceReport | None = None


def speak(
    engine: Engine,
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
    pieces = engine.pieces(text)
    # Encoding everything first means that an unspeakable word is told before any sound is made.
    encoded = [engine.encode(piece) for piece in pieces]
    report(Stage(name="speaking", total=len(pieces), unit="pieces"))
    yield from speak_pieces(engine, zip(pieces, encoded, strict=True), voice, options, report)


def speak_pieces(
    engine: Engine,
    pieces: Iterable[tuple[str, list[int]]],
    voice: Voice,
    options: SpeechOptions,
    report: Report = ignore,
) -> Iterator[Chunk]:
    """Speak pieces with their ids as they come, with pauses between; see `speak`."""
    make = _streamed if options.stream else _whole
    gap = torch.zeros(round(options.silence * engine.sample_rate))
    for number, (piece, ids) in enumerate(pieces):
        utterance = engine.utterance(
            ids,
            voice,
            seed=options.seed + number,
            max_seconds=options.max_seconds,
            manner=options.manner,
        )
        if number and len(gap):
            yield Chunk(audio=gap)
        yield from shaped(engine, make(engine, piece, utterance, voice, options, report), options)
        report(Advance())


def shaped(engine: Engine, chunks: Iterable[Chunk], options: SpeechOptions) -> Iterator[Chunk]:
    """Give a piece its soft edges and its loudness."""
    for chunk in soft_edges(chunks, round(EDGE_SECONDS * engine.sample_rate)):
        yield Chunk(audio=(chunk.audio * options.volume).clamp(-1, 1), piece=chunk.piece)


def _whole(
    engine: Engine,
    piece: str,
    utterance: Utterance,
    voice: Voice,
    options: SpeechOptions,
    report: Report,
) -> Iterator[Chunk]:
    """Speak a piece, judge it, and hand it out if it is good."""
    refused: list[Rejection] = []
    for attempt in range(options.retries + 1):
        outcome = _decode(engine, utterance.attempt(attempt), options)
        rejection = outcome.rejection
        if rejection is None:
            waver, prompt = wave_road(engine, voice, options, attempt)
            audio = waver.synthesize(outcome.tokens, prompt)
            rejection = check_audio(audio, options.limits)
            if rejection is None:
                done = _piece_report(piece, outcome.tokens, refused)
                yield Chunk(audio=audio, piece=done)
                return
        refused.append(rejection)
        _tell(report, piece, rejection, attempt, options)
    raise rejected(piece, refused)


def _streamed(
    engine: Engine,
    piece: str,
    utterance: Utterance,
    voice: Voice,
    options: SpeechOptions,
    report: Report,
) -> Iterator[Chunk]:
    """Speak a piece while its tokens come; new attempts until the first sound is out."""
    refused: list[Rejection] = []
    for attempt in range(options.retries + 1):
        waver, prompt = wave_road(engine, voice, options, attempt)
        state = waver.start(prompt)
        loop = tokens(
            engine, utterance.attempt(attempt), options.sampling or engine.sampling, options.limits
        )
        heard = False
        rejection: Rejection | None = None
        said: list[int] = []
        while rejection is None:
            try:
                said.append(next(loop))
            except StopIteration as stop:
                outcome: Outcome = stop.value
                rejection = outcome.rejection
                break
            state, audio = waver.push(state, said[-1:])
            if len(audio):
                rejection = check_finite(audio, "samples")
                if rejection is None:
                    heard = True
                    yield Chunk(audio=audio)
        if rejection is None:
            audio = waver.finish(state)
            rejection = (
                check_finite(audio, "samples") if heard else check_audio(audio, options.limits)
            )
            if rejection is None:
                yield Chunk(audio=audio, piece=_piece_report(piece, said, refused))
                return
        refused.append(rejection)
        _tell(report, piece, rejection, attempt, options)
        if heard:
            raise rejected(piece, refused, heard=True)
    raise rejected(piece, refused)


def soft_edges(chunks: Iterable[Chunk], ramp: int) -> Iterator[Chunk]:
    """Fade the first and the last `ramp` samples of a piece, so that joins do not click.

    Holds back `ramp` samples, because which chunk is the last shows late.
    """
    rise = torch.sin((torch.arange(ramp) + 0.5) * (torch.pi / 2 / max(ramp, 1))) ** 2
    held: Tensor | None = None
    done: PieceReport | None = None
    first = True
    for chunk in chunks:
        audio = chunk.audio if held is None else torch.cat((held, chunk.audio))
        done = chunk.piece or done
        if first and len(audio) > ramp:
            audio = torch.cat((audio[:ramp] * rise, audio[ramp:]))
            first = False
        keep = max(0, len(audio) - ramp)
        held = audio[keep:]
        if keep:
            yield Chunk(audio=audio[:keep])
    if held is not None:
        yield Chunk(audio=held * rise.flip(0)[ramp - len(held) :], piece=done)


def speak_tokens(
    engine: Engine, tokens: Sequence[int], voice: Voice, options: SpeechOptions | None = None
) -> Tensor:
    """Turn speech tokens that are known into samples (S,)."""
    waver, prompt = wave_road(engine, voice, options or SpeechOptions(), 0)
    return waver.synthesize(tokens, prompt)


def _decode(engine: Engine, utterance: Utterance, options: SpeechOptions) -> Outcome:
    """Choose all tokens of an utterance."""
    loop = tokens(engine, utterance, options.sampling or engine.sampling, options.limits)
    while True:
        try:
            next(loop)
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome


def wave_road(
    engine: Engine, voice: Voice, options: SpeechOptions, attempt: int
) -> tuple[TokenToWave, VoicePrompt]:
    """The road from tokens to sound for one attempt, and who speaks."""
    wave = WaveOptions(
        hop_tokens=engine.config.hop_tokens,
        max_hop_tokens=engine.config.max_hop_tokens,
        context_tokens=engine.config.context_tokens,
        whole_tokens=engine.config.whole_tokens,
        speed=options.speed,
        steps=options.steps,
        seed=options.seed + attempt,
    )
    return TokenToWave(engine.flow, engine.vocoder, wave), engine.voice_prompt(
        voice, options.manner
    )


def _piece_report(piece: str, said: Sequence[int], refused: Sequence[Rejection]) -> PieceReport:
    return PieceReport(
        text=piece,
        tokens=len(said),
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
