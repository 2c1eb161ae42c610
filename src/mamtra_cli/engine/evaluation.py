"""A model scored by what is heard, and a student beside its teacher in the same run.

Both models say the same sentences in the same voices with the same seeds, the same recogniser and
the same speaker encoder judge both, and differences are drawn in pairs. `compare_models` is what
`mamtra eval` and the end of `mamtra distill` call; `report.write_report` writes its result down.
Every measure is defined in docs/evaluation.md. Knows no files but the clips of prompts.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mamtra_cli.backbone import costs
from mamtra_cli.engine.agreement import compare
from mamtra_cli.engine.bootstrap import ROUNDS, Ratio, interval
from mamtra_cli.engine.measure import tensor_bytes
from mamtra_cli.engine.metrics import CHARACTERS, RULES, ErrorCount, count
from mamtra_cli.engine.recognise import Recogniser, open_recogniser, transcribe_all
from mamtra_cli.engine.runtime import Engine
from mamtra_cli.engine.seed_tts import Sentence, simplified
from mamtra_cli.engine.sentences import closed
from mamtra_cli.engine.similarity import (
    QualityScorer,
    SpeakerEncoder,
    Unavailable,
    cosine,
    open_quality,
    open_similarity,
    reference_vector,
)
from mamtra_cli.engine.takes import (
    Clock,
    Job,
    Take,
    Wave,
    examples_of,
    sentence_voice,
    sound_of,
    speak_jobs,
)
from mamtra_cli.errors import AudioRejectedError, DataError
from mamtra_cli.events import Advance, Report, Stage, ignore
from mamtra_cli.recipes.evaluate import Scores

TEST_SEED = 1000  # of the built-in sentences; no training uses it
SEEDS_APART = 100_000
CHUNK = 256  # takes whose sound is held at once
FAILED = 0.5  # a take with more word errors than this has failed


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
    seed: int = 0
    seeds: int = 1
    retries: int = 2
    rows: int = 16
    rounds: int = ROUNDS
    samples: int = 4


@dataclass(frozen=True, kw_only=True)
class Record:
    """One utterance of one model; `None` and 0 errors of 0 words where nothing was taken."""

    id: str
    text: str
    seed: int
    heard: str
    refused: bool
    run_on: bool
    causes: tuple[str, ...]
    seconds: float
    tokens: int
    expected: float | None
    errors: ErrorCount
    similarity: float | None = None
    utmos: float | None = None

    @property
    def failed(self) -> bool:
        """Refused, or mostly not understood."""
        return self.refused or self.errors.rate > FAILED


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One model's scores with what they were made from."""

    model: str
    scores: Scores
    records: tuple[Record, ...]


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
        recogniser, similarity: what judged, with version, hash or revision.
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


def built_in(n: int) -> list[Sentence]:
    """The first n built-in test sentences, which no training uses."""
    return [Sentence(id=f"s{i:04d}", text=text) for i, text in enumerate(closed(TEST_SEED, n))]


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
    judges = _Judges(options, texts, student)
    scored, takes = _score(student, options, judges, report)
    other: Scored | None = None
    difference: Scores | None = None
    their_takes: list[Take] = []
    if teacher is not None:
        other, their_takes = _score(teacher, options, judges, report)
        difference = _difference(scored, other, options)
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


def _score(
    engine: Engine, options: EvalOptions, judges: _Judges, report: Report
) -> tuple[Scored, list[Take]]:
    """Speak and judge everything; returns the scores and the takes, without their sound."""
    engine.ready("lm", "flow", "hift")
    usual = engine.voice(options.voice)
    voices = [sentence_voice(engine, sentence, usual) for sentence in options.sentences]
    jobs = [
        Job(
            index=index,
            sentence=sentence,
            voice=voices[index],
            seed=options.seed + round_ * SEEDS_APART + index,
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
    scores = _scores(records, options)
    values = scores.values | _costs(engine, records, takes, clock)
    return Scored(
        model=engine.name, scores=replace(scores, values=values), records=tuple(records)
    ), takes


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
    )


def _ratios(records: Sequence[Record], sentences: int) -> dict[str, Ratio]:
    """Every measure of one model as sums over sentences; seeds of a sentence belong together."""

    def ratio(
        above: Callable[[Record], float | None], below: Callable[[Record], float | None]
    ) -> Ratio:
        sums = np.zeros((2, sentences))
        for place, record in enumerate(records):
            top, bottom = above(record), below(record)
            if top is not None and bottom is not None:
                sums[:, place % sentences] += (top, bottom)
        return Ratio(above=sums[0], below=sums[1])

    def mean(value: Callable[[Record], float | None]) -> Ratio:
        return ratio(value, lambda record: None if value(record) is None else 1.0)

    return {
        "wer": ratio(lambda r: r.errors.errors, lambda r: r.errors.words),
        "wer_mean": mean(lambda r: r.errors.rate),
        "cer": ratio(lambda r: r.errors.character_errors, lambda r: r.errors.characters),
        "failed": mean(lambda r: float(r.failed)),
        "refused": mean(lambda r: float(r.refused)),
        "first_refused": mean(lambda r: float(bool(r.causes))),
        "run_on": mean(lambda r: float(r.run_on)),
        "length_ratio": ratio(
            lambda r: None if r.refused or not r.expected else r.tokens,
            lambda r: None if r.refused else r.expected,
        ),
        "similarity": mean(lambda r: r.similarity),
        "utmos": mean(lambda r: r.utmos),
    }


def _measured(ratios: Mapping[str, Ratio], rounds: int) -> Scores:
    """Values and intervals of ratios; what has no value is left out."""
    known = {name: ratio for name, ratio in ratios.items() if math.isfinite(ratio.value)}
    found = {name: interval(ratio, rounds=rounds) for name, ratio in known.items()}
    return Scores(
        values={name: ratio.value for name, ratio in known.items()},
        intervals={name: ends for name, ends in found.items() if ends is not None},
    )


def _scores(records: Sequence[Record], options: EvalOptions) -> Scores:
    """Scores of one model with intervals, and word errors seed by seed."""
    size = len(options.sentences)
    rounds = [records[start : start + size] for start in range(0, len(records), size)]
    by_seed = tuple(_ratios(part, size)[options.headline].value for part in rounds)
    return replace(
        _measured(_ratios(records, size), options.rounds),
        by_seed=by_seed,
        spread=statistics.stdev(by_seed) if len(by_seed) > 1 else None,
    )


def _costs(
    engine: Engine, records: Sequence[Record], takes: Sequence[Take], clock: Clock
) -> dict[str, float]:
    """Seconds and bytes; no intervals, for they depend on the machine or not at all on luck."""
    seconds = sum(record.seconds for record in records)
    lengths = [
        sum(example.positions for example in examples_of(take))
        for take in takes
        if not take.refused
    ]
    element = next(engine.lm.parameters()).element_size()
    precision = costs.Precision(weights=element, cache=element, conv=element)
    length = round(sum(lengths) / len(lengths))
    return {
        "audio_s": seconds,
        "words": float(sum(record.errors.words for record in records)),
        "rtf": (clock.tokens + clock.sound) / seconds,
        "rtf_tokens": clock.tokens / seconds,
        "lm_bytes": float(tensor_bytes(list(engine.lm.state_dict().values()))),
        "cache_bytes": float(costs.cache_bytes(engine.config.lm.hybrid, length, precision)),
    }


def _difference(student: Scored, teacher: Scored, options: EvalOptions) -> Scores:
    """Student less teacher, drawn in pairs; and the student's length as a share."""
    size = len(options.sentences)
    mine, theirs = _ratios(student.records, size), _ratios(teacher.records, size)
    values, intervals = {}, {}
    for name in mine:
        value = mine[name].value - theirs[name].value
        if math.isfinite(value):
            values[name] = value
            ends = interval(mine[name], theirs[name], rounds=options.rounds)
            if ends is not None:
                intervals[name] = ends
    sums = np.zeros((2, size))
    for place, pair in enumerate(zip(student.records, teacher.records, strict=True)):
        if not any(record.refused for record in pair):
            sums[:, place % size] += [record.tokens for record in pair]
    length = _measured({"length_to_teacher": Ratio(above=sums[0], below=sums[1])}, options.rounds)
    by_seed = tuple(
        a - b for a, b in zip(student.scores.by_seed, teacher.scores.by_seed, strict=True)
    )
    return Scores(
        values=values | length.values,
        intervals=intervals | length.intervals,
        by_seed=by_seed,
        spread=statistics.stdev(by_seed) if len(by_seed) > 1 else None,
    )


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
            check = compare(teacher.lm, student.lm, [example])
            found = (check.ce_student, check.ce_teacher, check.kl, check.agreement)
            sums[:, index] += [check.tokens * value for value in found]
            tokens[index] += check.tokens
        report(Advance())
    ratios = {name: Ratio(above=row, below=tokens) for name, row in zip(names, sums, strict=True)}
    return _measured(ratios, options.rounds)


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
