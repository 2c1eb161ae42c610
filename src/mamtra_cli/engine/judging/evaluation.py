"""A model scored by what is heard, and a student beside its teacher in the same run.

Both models say the same sentences in the same voices with the same seeds, the same recogniser and
the same speaker encoder judge both, and differences are drawn in pairs. `compare_models` is what
`mamtra eval` and the end of `mamtra distill` call; `report.write_report` writes its result down.
Every measure is defined in docs/evaluation.md. Knows no files but the clips of prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mamtra_cli.backbone import costs
from mamtra_cli.engine import seeds
from mamtra_cli.engine.judging.bootstrap import ROUNDS, Ratio
from mamtra_cli.engine.judging.metrics import CHARACTERS, RULES, count
from mamtra_cli.engine.judging.opinion import OpinionJudge, identities, open_opinions
from mamtra_cli.engine.judging.recognise import Recogniser, open_recogniser, transcribe_all
from mamtra_cli.engine.judging.scoring import Record, Scored, difference_of, measured, scores_of
from mamtra_cli.engine.judging.seed_tts import Sentence, simplified
from mamtra_cli.engine.judging.similarity import (
    QualityScorer,
    SpeakerEncoder,
    Unavailable,
    cosine,
    open_quality,
    open_similarity,
    reference_vector,
)
from mamtra_cli.engine.judging.takes import (
    Clock,
    Job,
    Take,
    Wave,
    examples_of,
    sentence_voice,
    sound_of,
    speak_jobs,
)
from mamtra_cli.engine.lessons.agreement import compare
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import AudioError, AudioRejectedError, DataError, TextError
from mamtra_cli.events import Advance, Note, Report, Stage, ignore
from mamtra_cli.live_bytes import tensor_bytes
from mamtra_cli.recipes.evaluate import Scores
from mamtra_cli.text.sentences import closed
from mamtra_cli.voices.voice import Voice

CHUNK = 256  # takes whose sound is held at once


@dataclass(frozen=True, kw_only=True)
class EvalOptions:
    """What to say, and who judges it.

    Attributes:
        sentences: what to say; `built_in(20)` where nothing better is at hand.
        rules: what a word is, a name in `metrics.RULES`.
        headline: the measure that limits speak of: `wer` (errors a word of the whole set) or
            `wer_mean` (mean of the utterances' rates, the figure of Seed-TTS-eval).
        voice: of sentences without a prompt: a voice of the model, a file, or "" for the first.
        recogniser: who listens, or its name as `--asr` takes it.
        similarity: who compares voices, or its name as `--sim` takes it.
        utmos: who guesses opinion scores, or a name as `--utmos` takes it.
        mos: further judges of opinions, or their names as `--mos` takes them.
        seed, seeds: the first seed, and how many times everything is said.
        retries: new attempts for what a guard refused.
        rows: pieces decoded together.
        rounds: of the bootstrap.
        samples: sentences whose sound the result holds, half of them the worst.
    """

    sentences: Sequence[Sentence]
    rules: str = "plain"
    headline: str = "wer"
    voice: str = ""
    recogniser: str | Recogniser = "pocketsphinx"
    similarity: str | SpeakerEncoder = "auto"
    utmos: str | QualityScorer = "auto"
    mos: str | Sequence[OpinionJudge] = ""
    seed: int = 0
    seeds: int = 1
    retries: int = 2
    rows: int = 16
    rounds: int = ROUNDS
    samples: int = 4


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The sound of one sentence, by each model that said it."""

    student: Record
    teacher: Record | None
    student_wave: Wave
    teacher_wave: Wave | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A student's scores, its teacher's, and the difference.

    Attributes:
        student, teacher: scores of each; `teacher` is `None` where there was none.
        difference: student less teacher with paired intervals, and what compares the two
            directly: `ce`, `teacher_ce`, `kl` (nats a token), `agreement`, `length_to_teacher`.
        absent: measures that could not be taken, and why.
        recogniser, similarity, utmos: what judged, with version, hash or revision.
        mos: likewise, each judge of opinions by its name.
        samples: sound for the report.
        sample_rate: of that sound.
    """

    student: Scored
    teacher: Scored | None
    difference: Scores | None
    headline: str
    rules: str
    recogniser: dict[str, str]
    similarity: dict[str, str]
    absent: dict[str, str]
    samples: tuple[Sample, ...]
    sample_rate: int
    utmos: dict[str, str] = field(default_factory=dict)
    mos: dict[str, str] = field(default_factory=dict)


def built_in(n: int) -> list[Sentence]:
    """The first n built-in test sentences, which no training uses."""
    return [Sentence(id=f"s{i:04d}", text=text) for i, text in enumerate(closed(seeds.TEST, n))]


def compare_models(
    teacher: Engine | None,
    student: Engine,
    options: EvalOptions,
    report: Report = ignore,
) -> Evaluation:
    """Let a student, and its teacher if there is one, say the same sentences, and score both.

    Deterministic for given seeds, but for the measured seconds. Needs the extra `eval` (jiwer,
    and pocketsphinx unless another recogniser is given).

    Args:
        teacher: scored in the same run; `None` to score the student alone.
        student: the model in question.
        options: what to say, and who judges.
        report: hears of the progress.

    Raises:
        MissingDependencyError: a package that the options ask for is not installed.
        DataError: a sentence or a clip cannot be used.
        AudioRejectedError: a model spoke no sentence at all.
    """
    bad = [one.id for one in options.sentences if not RULES[options.rules](one.text)]
    if bad or not options.sentences:
        raise DataError(f"`{bad[0]}` has no words to hear" if bad else "there are no sentences")
    texts = [sentence.text for sentence in options.sentences]
    count(texts[0], "", options.rules)  # tells what is missing before anything is spoken
    judges = _Judges(options, texts, student)
    scored, takes = _score(student, options, judges, report)
    other: Scored | None = None
    difference: Scores | None = None
    their_takes: list[Take] = []
    if teacher is not None:
        other, their_takes = _score(teacher, options, judges, report)
        difference = difference_of(scored, other, len(options.sentences), rounds=options.rounds)
        if teacher.lm_part and student.lm_part:
            closeness = _closeness(teacher, student, their_takes, options, report)
            difference = replace(
                difference,
                values=difference.values | closeness.values,
                intervals=difference.intervals | closeness.intervals,
            )
    return Evaluation(
        student=scored,
        teacher=other,
        difference=difference,
        headline=options.headline,
        rules=options.rules,
        recogniser=dict(judges.ears.about),
        similarity=dict(judges.encoder.about) if judges.encoder else {},
        absent=dict(judges.absent),
        samples=_samples(options, scored, other, (student, takes), (teacher, their_takes)),
        sample_rate=student.sample_rate,
        utmos=dict(judges.quality.about) if judges.quality else {},
        mos=identities(judges.opinions),
    )


@dataclass
class _Judges:
    """Who listens, compares voices and guesses opinions; and what is missing, with the reason."""

    options: EvalOptions
    texts: Sequence[str]
    student: Engine
    absent: dict[str, str] = field(default_factory=dict)
    encoder: SpeakerEncoder | None = None
    quality: QualityScorer | None = None

    @property
    def chinese(self) -> bool:
        """Whether what is heard is Chinese."""
        return self.options.rules == CHARACTERS

    def hear(self, waves: Sequence[Wave], rate: int) -> list[str]:
        """The words of waves, in the writing of the sentences."""
        heard = transcribe_all(self.ears, waves, rate)
        return [simplified(text) for text in heard] if self.chinese else heard

    def __post_init__(self) -> None:
        asked = self.options.recogniser
        self.ears: Recogniser = (
            open_recogniser(asked, self.texts, self.student, "zh" if self.chinese else "en")
            if isinstance(asked, str)
            else asked
        )
        encoder = self.options.similarity
        found = open_similarity(encoder, self.student) if isinstance(encoder, str) else encoder
        if isinstance(found, Unavailable):
            self.absent["similarity"] = found.reason
        else:
            self.encoder = found
        quality = self.options.utmos
        scorer = open_quality(quality, self.student.device) if isinstance(quality, str) else quality
        if isinstance(scorer, Unavailable):
            self.absent["utmos"] = scorer.reason
        else:
            self.quality = scorer
        asked_for = self.options.mos
        self.opinions: Sequence[OpinionJudge] = (
            open_opinions(asked_for) if isinstance(asked_for, str) else asked_for
        )


def _score(
    engine: Engine, options: EvalOptions, judges: _Judges, report: Report
) -> tuple[Scored, list[Take]]:
    """Speak and judge everything; returns the scores and the takes, without their sound."""
    engine.ready(*engine.speech_parts)
    usual = engine.voice(options.voice)
    chosen = [_voice(engine, sentence, usual, report) for sentence in options.sentences]
    jobs = [
        Job(
            sentence=sentence,
            voice=chosen[index][0],
            problem=chosen[index][1],
            seed=options.seed + round_ * seeds.ROUNDS_APART + index,
        )
        for round_ in range(options.seeds)
        for index, sentence in enumerate(options.sentences)
    ]
    clock = Clock()
    takes: list[Take] = []
    records: list[Record] = []
    for start in range(0, len(jobs), CHUNK):
        part = jobs[start : start + CHUNK]
        report(Stage(name="speaking", total=len(part), unit="sentences", detail=engine.name))
        said = speak_jobs(
            engine, part, retries=options.retries, rows=options.rows, clock=clock, report=report
        )
        report(Stage(name="hearing", total=len(part), unit="sentences", detail=engine.name))
        heard = judges.hear([take.wave for take in said], engine.sample_rate)
        for take, words in zip(said, heard, strict=True):
            records.append(_record(take, words, engine.sample_rate, options, judges))
            takes.append(replace(take, wave=np.zeros(0, np.float32)))
            report(Advance())
    if all(record.refused for record in records):
        raise AudioRejectedError(
            f"`{engine.name}` spoke none of {len(options.sentences)} sentences", "train it further"
        )
    scores = scores_of(
        records, len(options.sentences), headline=options.headline, rounds=options.rounds
    )
    values = scores.values | _costs(engine, records, takes, clock)
    return Scored(
        model=engine.name, scores=replace(scores, values=values), records=tuple(records)
    ), takes


def _voice(engine: Engine, sentence: Sentence, usual: Voice, report: Report) -> tuple[Voice, str]:
    """Who says a sentence; with a cause word where its prompt cannot be used."""
    try:
        return sentence_voice(engine, sentence, usual), ""
    except (AudioError, TextError) as error:
        report(Note(text=f"`{sentence.id}` has no voice: {error.message}", warning=True))
        return usual, "prompt"


def _record(take: Take, heard: str, rate: int, options: EvalOptions, judges: _Judges) -> Record:
    """Judge one take."""
    likeness: float | None = None
    if judges.encoder is not None and not take.refused:
        reference = reference_vector(judges.encoder, take.job.sentence, take.job.voice)
        if isinstance(reference, Unavailable):
            judges.absent["similarity"] = reference.reason
        else:
            likeness = cosine(judges.encoder.embed(take.wave, rate), reference)
    opinion: float | None = None
    if judges.quality is not None and not take.refused:
        opinion = judges.quality.score(take.wave, rate)
    opinions: dict[str, float] = {}
    for judge in judges.opinions if not take.refused else ():
        opinions |= judge.score(take.wave, rate)
    return Record(
        id=take.job.sentence.id,
        text=take.job.sentence.text,
        seed=take.job.seed,
        heard=heard,
        refused=take.refused,
        run_on=take.run_on,
        causes=tuple(take.causes),
        seconds=len(take.wave) / rate,
        tokens=take.n_tokens,
        expected=take.expected,
        errors=count(take.job.sentence.text, heard, options.rules),
        similarity=likeness,
        utmos=opinion,
        opinions=opinions,
    )


def _costs(
    engine: Engine, records: Sequence[Record], takes: Sequence[Take], clock: Clock
) -> dict[str, float]:
    """Seconds and bytes; no intervals, for they depend on the machine or not at all on luck."""
    seconds = sum(record.seconds for record in records)
    spent = {
        "audio_s": seconds,
        "words": float(sum(record.errors.words for record in records)),
        "rtf": (clock.tokens + clock.sound) / seconds,
        "rtf_tokens": clock.tokens / seconds,
    }
    if not engine.lm_part:
        return spent
    lengths = [
        sum(map(engine.lessons.size, examples_of(take))) for take in takes if not take.refused
    ]
    element = next(engine.lessons.lm.parameters()).element_size()
    precision = costs.Precision(weights=element, cache=element, conv=element)
    length = round(sum(lengths) / len(lengths))
    return spent | {
        "lm_bytes": float(tensor_bytes(list(engine.lessons.lm.state_dict().values()))),
        "cache_bytes": float(costs.cache_bytes(engine.lessons.stack.config, length, precision)),
    }


def _closeness(
    teacher: Engine, student: Engine, takes: Sequence[Take], options: EvalOptions, report: Report
) -> Scores:
    """Cross-entropy, KL and agreement on what the teacher said with the first seed."""
    size = len(options.sentences)
    names = ("ce", "teacher_ce", "kl", "agreement")
    sums = np.zeros((len(names), size))
    tokens = np.zeros(size)
    report(Stage(name="reading", total=size, unit="sentences", detail="the teacher's speech"))
    for index, take in enumerate(takes[:size]):
        for example in examples_of(take) if not take.refused else ():
            check = compare(teacher.lessons, student.lessons, [example])
            found = (check.ce_student, check.ce_teacher, check.kl, check.agreement)
            sums[:, index] += [check.tokens * value for value in found]
            tokens[index] += check.tokens
        report(Advance())
    ratios = {name: Ratio(above=row, below=tokens) for name, row in zip(names, sums, strict=True)}
    return measured(ratios, options.rounds)


def _samples(
    options: EvalOptions,
    student: Scored,
    teacher: Scored | None,
    mine: tuple[Engine, Sequence[Take]],
    theirs: tuple[Engine | None, Sequence[Take]],
) -> tuple[Sample, ...]:
    """Sound of some sentences of the first seed: the student's worst, then the first ones."""
    size = len(options.sentences)
    worst = sorted(range(size), key=lambda place: -student.records[place].errors.rate)
    wanted = [*worst[: options.samples // 2], *range(size)]
    places = [
        place
        for place in dict.fromkeys(wanted)
        if not mine[1][place].refused and (teacher is None or not theirs[1][place].refused)
    ]
    found = []
    for place in places[: options.samples]:
        engine, takes = mine
        other, their_takes = theirs
        found.append(
            Sample(
                student=student.records[place],
                teacher=teacher.records[place] if teacher else None,
                student_wave=sound_of(engine, takes[place]),
                teacher_wave=sound_of(other, their_takes[place]) if other else None,
            )
        )
    return tuple(found)
