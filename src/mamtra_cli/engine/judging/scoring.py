"""Records of utterances to measures with intervals, of one model and of two in pairs.

Each measure is a ratio of sums over sentences, so that one bootstrap serves all; definitions are in
docs/evaluation.md. Knows records, not how they were made.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mamtra_cli.engine.judging.bootstrap import ROUNDS, Ratio, interval
from mamtra_cli.engine.judging.metrics import ErrorCount
from mamtra_cli.recipes.evaluate import Scores

FAILED = 0.5  # a take with more word errors than this has failed


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
    opinions: Mapping[str, float] = field(default_factory=dict)

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

    opinions = sorted({name for record in records for name in record.opinions})
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
        **{name: mean(lambda r, name=name: r.opinions.get(name)) for name in opinions},  # type: ignore[misc]
    }


def measured(ratios: Mapping[str, Ratio], rounds: int) -> Scores:
    """Values and intervals of ratios; what has no value is left out."""
    known = {name: ratio for name, ratio in ratios.items() if math.isfinite(ratio.value)}
    found = {name: interval(ratio, rounds=rounds) for name, ratio in known.items()}
    return Scores(
        values={name: ratio.value for name, ratio in known.items()},
        intervals={name: ends for name, ends in found.items() if ends is not None},
    )


def scores_of(
    records: Sequence[Record], size: int, *, headline: str = "wer", rounds: int = ROUNDS
) -> Scores:
    """Scores of one model with intervals, and the headline figure seed by seed.

    Args:
        records: all sentences with the first seed, then all with the next.
        size: how many sentences.
        headline: a measure of words, `wer` or `wer_mean`.
        rounds: of the bootstrap.
    """
    parts = [records[start : start + size] for start in range(0, len(records), size)]
    by_seed = tuple(_ratios(part, size)[headline].value for part in parts)
    return replace(
        measured(_ratios(records, size), rounds),
        by_seed=by_seed,
        spread=statistics.stdev(by_seed) if len(by_seed) > 1 else None,
    )


def difference_of(student: Scored, teacher: Scored, size: int, *, rounds: int = ROUNDS) -> Scores:
    """Student less teacher, drawn in pairs; and the student's length as a share."""
    mine, theirs = _ratios(student.records, size), _ratios(teacher.records, size)
    values, intervals = {}, {}
    for name in mine:
        value = mine[name].value - theirs[name].value
        if math.isfinite(value):
            values[name] = value
            ends = interval(mine[name], theirs[name], rounds=rounds)
            if ends is not None:
                intervals[name] = ends
    sums = np.zeros((2, size))
    for place, pair in enumerate(zip(student.records, teacher.records, strict=True)):
        if not any(record.refused for record in pair):
            sums[:, place % size] += [record.seconds for record in pair]
    length = measured({"length_to_teacher": Ratio(above=sums[0], below=sums[1])}, rounds)
    by_seed = tuple(
        a - b for a, b in zip(student.scores.by_seed, teacher.scores.by_seed, strict=True)
    )
    return Scores(
        values=values | length.values,
        intervals=intervals | length.intervals,
        by_seed=by_seed,
        spread=statistics.stdev(by_seed) if len(by_seed) > 1 else None,
    )
