"""Test sentences spoken by a model: every take with its tokens, its sound and what guards refused.

A take is one sentence with one seed, cut into pieces and tried again as `speech.speak` does, but
many at once. The first attempts are kept count of: a model that needs three tries is worse than
one that needs one. Knows nothing of recognisers and scores.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from mamtra_cli.engine import seeds
from mamtra_cli.engine.decoding.guards import Rejection, check_audio
from mamtra_cli.engine.decoding.loop import Utterance, decode, reseeded
from mamtra_cli.engine.decoding.streams import Outcome
from mamtra_cli.engine.judging.seed_tts import Sentence
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak_frames
from mamtra_cli.errors import TextError
from mamtra_cli.events import Advance, Note, Report, ignore
from mamtra_cli.families.lessons import Example
from mamtra_cli.families.script import Frame, Script
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
        ids, frames: text ids and frames of each piece; none for a refused piece.
        expected: frames that the text should take, or `None` where the model cannot say.
        causes: guards that refused an attempt, in order.
        first_causes: those of the first attempts alone.
        refused: no attempt of some piece was good, or the text cannot be spoken.
        wave: (S,) float32; empty where refused.
    """

    job: Job
    ids: list[tuple[int, ...]] = field(default_factory=list)
    frames: list[tuple[Frame, ...]] = field(default_factory=list)
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
    seed: int
    script: Script | None
    wave: Wave | None = None


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
    clock = clock or Clock()
    found = [_plan(engine, job, report) for job in jobs]
    pieces = [piece for _, parts in found for piece in parts]
    waiting = list(range(len(pieces)))
    open_pieces = Counter(id(piece.take) for piece in pieces)

    def settle(piece: _Piece) -> None:
        open_pieces[id(piece.take)] -= 1
        if not open_pieces[id(piece.take)]:
            report(Advance())

    for _, parts in found:
        if not parts:
            report(Advance())
    for attempt in range(retries + 1):
        again = []
        tries = [pieces[index] for index in waiting]
        started, sound = time.perf_counter(), clock.sound
        for place, outcome in _outcomes(engine, tries, attempt, rows):
            piece = pieces[waiting[place]]
            rejection = outcome.rejection or _sound(engine, piece, outcome, clock)
            if rejection is None:
                settle(piece)
                continue
            piece.take.causes.append(rejection.cause)
            if attempt == 0:
                piece.take.first_causes.append(rejection.cause)
            again.append(waiting[place])
            if attempt == retries:
                settle(piece)
        clock.tokens += time.perf_counter() - started - (clock.sound - sound)
        waiting = sorted(again)
        if not waiting:
            break
    gap = np.zeros(round(SILENCE * engine.sample_rate), np.float32)
    for take, parts in found:
        waves = [piece.wave for piece in parts if piece.wave is not None]
        if len(waves) < len(parts):
            take.refused = True
        if not take.refused:
            take.wave = np.concatenate([part for wave in waves for part in (gap, wave)][1:])
    return [take for take, _ in found]


def _outcomes(
    engine: Engine, pieces: Sequence[_Piece], attempt: int, rows: int
) -> Iterator[tuple[int, Outcome]]:
    """Places of pieces, and how an attempt at each ended."""
    speaker = engine.speaker
    if speaker.tokens is None:
        for place, piece in enumerate(pieces):
            ids, voice = piece.take.ids[piece.number], piece.take.job.voice
            made = speaker.made(ids, voice, seed=reseeded(piece.seed, attempt))
            yield place, Outcome(frames=tuple(frame for part in made for frame in part.frames))
        return
    tries = [
        Utterance(script=piece.script, seed=piece.seed).attempt(attempt)
        for piece in pieces
        if piece.script is not None
    ]
    yield from decode(speaker.tokens, tries, engine.sampling, rows=rows)


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
    gap = np.zeros(round(SILENCE * engine.sample_rate), np.float32)
    options = SpeechOptions(seed=take.job.seed)
    waves = [speak_frames(engine, said, take.job.voice, options).numpy() for said in take.frames]
    return np.concatenate([part for wave in waves for part in (gap, wave)][1:])


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


def _plan(engine: Engine, job: Job, report: Report) -> tuple[Take, list[_Piece]]:
    """Cut a job into utterances; a text that cannot be spoken is a refused take."""
    take, speaker = Take(job=job), engine.speaker
    if job.problem:
        return _refused(job, job.problem), []
    try:
        take.ids = [tuple(speaker.encode(piece)) for piece in speaker.pieces(job.sentence.text)]
    except TextError as error:
        report(Note(text=f"`{job.sentence.id}` cannot be spoken: {error.message}", warning=True))
        return _refused(job, "text"), []
    take.frames = [()] * len(take.ids)
    parts = [
        _Piece(
            take=take,
            number=number,
            seed=job.seed + number * seeds.PIECES_APART,
            script=None if speaker.tokens is None else speaker.begin(row, job.voice),
        )
        for number, row in enumerate(take.ids)
    ]
    known = [None if piece.script is None else piece.script.expected for piece in parts]
    if all(value is not None for value in known):
        take.expected = float(sum(value or 0.0 for value in known))
    return take, parts


def _refused(job: Job, cause: str) -> Take:
    return Take(job=job, causes=[cause], first_causes=[cause], refused=True)


def _sound(engine: Engine, piece: _Piece, outcome: Outcome, clock: Clock) -> Rejection | None:
    """Make the sound of a piece and judge it; a good one is kept."""
    started = time.perf_counter()
    options = SpeechOptions(seed=piece.take.job.seed)
    wave = speak_frames(engine, outcome.frames, piece.take.job.voice, options)
    rejection = check_audio(wave)
    if rejection is None:
        piece.wave = wave.to(torch.float32).numpy()
        piece.take.frames[piece.number] = outcome.frames
    clock.sound += time.perf_counter() - started
    return rejection
