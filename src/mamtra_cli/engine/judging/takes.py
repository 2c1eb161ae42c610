"""Test sentences spoken by a model: every take with its tokens, its sound and what guards refused.

A take is one sentence with one seed, cut into pieces; all pieces of all takes run together, each
tried again as utterances.py does. The first attempts are kept count of: a model that needs three
tries is worse than one that needs one. Knows nothing of recognisers and scores.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.engine import seeds
from mamtra_cli.engine.judging.seed_tts import Sentence
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.hearing import faded
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import News, Piece
from mamtra_cli.engine.speaking.speech import speak_frames
from mamtra_cli.engine.speaking.utterances import EDGE_SECONDS, Utterances
from mamtra_cli.errors import TextError
from mamtra_cli.events import Advance, Note, Report, ignore
from mamtra_cli.families.lessons import Example
from mamtra_cli.families.script import Frame
from mamtra_cli.voices.clip import read_clip
from mamtra_cli.voices.voice import Voice

Wave = NDArray[np.float32]
SILENCE = 0.2  # seconds between pieces, as `synth` puts there
RUN_ON = ("runaway", "too_long")
"""Causes of guards that mean: the speech did not end by itself."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A sentence to say, by whom and with which seed.

    `problem` is the cause word of what makes it impossible; such a job is a refused take.
    """

    sentence: Sentence
    voice: Voice
    seed: int
    problem: str = ""


@dataclass(kw_only=True)
class Take:
    """How a job went.

    Attributes:
        job: what was asked.
        ids, frames: text ids and frames of each piece; no frames of a refused one.
        seeds: of the sound of each piece.
        expected: frames that the text should take, or `None` where the model cannot say.
        causes: guards that refused an attempt, in order.
        first_causes: those of the first attempts alone.
        refused: no attempt of some piece was good, or the text cannot be spoken.
        wave: (S,) float32; empty where refused.
    """

    job: Job
    ids: list[tuple[int, ...]] = field(default_factory=list)
    frames: list[tuple[Frame, ...]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    expected: float | None = None
    causes: list[str] = field(default_factory=list)
    first_causes: list[str] = field(default_factory=list)
    refused: bool = False
    wave: Wave = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def n_tokens(self) -> int:
        """Frames of the whole take."""
        return sum(map(len, self.frames))

    @property
    def run_on(self) -> bool:
        """Whether a first attempt did not end by itself."""
        return any(cause in RUN_ON for cause in self.first_causes)


@dataclass
class Clock:
    """Seconds spent on tokens and on sound."""

    tokens: float = 0.0
    sound: float = 0.0


@dataclass(kw_only=True)
class _Piece:
    """One piece of a take while it is being spoken."""

    take: Take
    number: int
    chunks: list[Wave] = field(default_factory=list)
    tried: bool = False


def speak_jobs(
    engine: Engine,
    jobs: Sequence[Job],
    *,
    retries: int = 2,
    rows: int = 16,
    clock: Clock | None = None,
    report: Report = ignore,
) -> list[Take]:
    """Speak jobs, many at once; returns one take a job, in order.

    Args:
        engine: the model.
        jobs: what to say.
        retries: new attempts for a refused piece.
        rows: pieces decoded together.
        clock: told of the seconds spent.
        report: hears of every take, and of texts that cannot be spoken.
    """
    takes = [_plan(engine, job, report) for job in jobs]
    started = time.perf_counter()
    utterances = Utterances(engine, rows=rows)
    pieces: dict[int, _Piece] = {}
    for take in takes:
        for number, ids in enumerate(take.ids):
            # An utterance of its own: a piece that is refused does not end the others.
            options = SpeechOptions(seed=take.seeds[number], retries=retries)
            spoken = utterances.say(options, [Piece(ids=ids, voice=take.job.voice)])
            pieces[spoken] = _Piece(take=take, number=number)
        if not take.ids:
            report(Advance())
    left = {id(take): len(take.ids) for take in takes}
    while utterances.busy:
        for news in utterances.step():
            piece = pieces[news.id]
            _heard(piece, news)
            if news.done:
                left[id(piece.take)] -= 1
                if not left[id(piece.take)]:
                    report(Advance())
    if clock is not None:
        clock.sound += utterances.sound_seconds
        clock.tokens += time.perf_counter() - started - utterances.sound_seconds
    for take in takes:
        if not take.refused:
            own = [piece for piece in pieces.values() if piece.take is take]
            take.wave = _joined(engine, [np.concatenate(piece.chunks) for piece in own])
    return takes


def _heard(piece: _Piece, news: News) -> None:
    """Write down what became of a piece.

    Raises:
        MamtraError: it could not be spoken for another reason than its sound.
    """
    take = piece.take
    if news.refused is not None:
        cause = news.refused[1].cause
        take.causes.append(cause)
        if not piece.tried:
            take.first_causes.append(cause)
        piece.tried = True
        take.refused = take.refused or news.done
    elif news.error is not None:
        raise news.error
    if news.chunk is not None:
        piece.chunks.append(np.asarray(news.chunk.audio, np.float32))
        if news.chunk.piece is not None:
            take.frames[piece.number] = tuple(news.chunk.frames)
            take.seeds[piece.number] += news.chunk.piece.attempts - 1


def _joined(engine: Engine, waves: Sequence[Wave]) -> Wave:
    """Pieces (S,) one after the other, as `synth` parts them."""
    gap = np.zeros(round(SILENCE * engine.sample_rate), np.float32)
    return np.concatenate([part for wave in waves for part in (gap, wave)][1:])


def examples_of(take: Take) -> list[Example]:
    """A spoken take as teacher-forced examples, one a piece; the voice's prompt is read first."""
    voice = take.job.voice
    ids = tuple(voice.prompt_text_ids.tolist())
    # Without a transcript the language model is not shown the clip either.
    tokens = tuple(voice.prompt_tokens.flatten().tolist()) if ids else ()
    return [
        Example(
            id=f"{take.job.sentence.id}-{number}",
            text_ids=ids + row,
            tokens=tokens + tuple(token for frame in said for token in frame),
            codebooks=len(said[0]),
        )
        for number, (row, said) in enumerate(zip(take.ids, take.frames, strict=True))
        if said
    ]


def sound_of(engine: Engine, take: Take) -> Wave:
    """The sound of a spoken take, made again from its frames: (S,) float32."""
    ramp = round(EDGE_SECONDS * engine.sample_rate)
    waves = [
        speak_frames(engine, said, take.job.voice, SpeechOptions(seed=seed))
        for said, seed in zip(take.frames, take.seeds, strict=True)
    ]
    return _joined(engine, [np.asarray(faded(wave, ramp)) for wave in waves])


def sentence_voice(engine: Engine, sentence: Sentence, default: Voice) -> Voice:
    """Who says a sentence: a copy of its prompt, or `default` where it has none.

    Raises:
        AudioError: the clip cannot be used.
        TextError: the model cannot read what the clip says.
    """
    if sentence.prompt_audio is None:
        return default
    clip = read_clip(sentence.prompt_audio)
    return engine.speaker.clone(clip, sentence.id, transcript=sentence.prompt_text)


def _plan(engine: Engine, job: Job, report: Report) -> Take:
    """A job cut into pieces; one that cannot be spoken is a refused take."""
    speaker = engine.speaker
    if job.problem:
        return _refused(job, job.problem)
    try:
        ids = [tuple(speaker.encode(piece)) for piece in speaker.pieces(job.sentence.text)]
    except TextError as error:
        report(Note(text=f"`{job.sentence.id}` cannot be spoken: {error.message}", warning=True))
        return _refused(job, "text")
    take = Take(
        job=job,
        ids=ids,
        frames=[()] * len(ids),
        seeds=[job.seed + number * seeds.PIECES_APART for number in range(len(ids))],
    )
    if speaker.tokens is not None:
        known = [speaker.begin(row, job.voice).expected for row in ids]
        if None not in known:
            take.expected = float(sum(value or 0.0 for value in known))
    return take


def _refused(job: Job, cause: str) -> Take:
    return Take(job=job, causes=[cause], first_causes=[cause], refused=True)
