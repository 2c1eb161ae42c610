"""Rows made by workers on Ray: those that one process makes, in the same order.

The corpus is read in one process of the cluster, so that clips inside archives are read once;
clips that are files are read where they are heard, so workers must see the same folders. Rows are
written where the run was started.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import Any

from mamtra_cli.engine.corpora.clip import Bad, Clip
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.preparing.audio_rows import AudioRows, Limits
from mamtra_cli.engine.preparing.prepared import Known, Ledger
from mamtra_cli.engine.preparing.shard_writer import Row
from mamtra_cli.engine.preparing.spoken_rows import Said, SpokenRows, Text, until
from mamtra_cli.engine.speaking.many import CHARACTERS_PER_SECOND
from mamtra_cli.families.base import Facts
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.ray_pool import Cluster, cut, spread

Outcome = Row | Bad | Known
Load = Callable[..., Engine]
Stale = dict[str, set[tuple[str, bytes]]]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Where rows are made, and of what.

    Attributes:
        cluster: where.
        load: opens the model in a worker, given `threads`.
        ledger: of the rows that are there; hears of those that were overtaken.
        stopped: asked between groups; true ends.
    """

    cluster: Cluster
    load: Load
    ledger: Ledger
    stopped: Callable[[], bool]


def spread_audio(
    road: Spread, corpus: str, limits: Limits, entries: Callable[[], Iterator[Clip | Bad]]
) -> Iterator[Outcome]:
    """What `AudioRows.rows` makes of entries, which a process of the cluster lists."""
    open = partial(_listener, road.load, corpus, road.ledger, limits)
    answers: Any = spread(road.cluster, open, partial(_groups, entries), ordered=True)
    with closing(answers):
        for outcomes, stale in answers:
            road.ledger.take(stale)
            yield from outcomes
            if road.stopped():
                return


def spread_spoken(
    road: Spread,
    sampling: Sampling,
    facts: Facts,
    texts: Callable[[], Iterator[Text | Bad]],
    tokens: float,
    **options: Any,
) -> Iterator[Outcome]:
    """What `SpokenRows.rows` makes of texts, which a process of the cluster lists.

    Args:
        road: see `Spread`.
        sampling, options: of `SpokenRows`.
        facts: of the model.
        texts, tokens: see `SpokenRows.rows`.
    """
    open = partial(_speaker, road.load, sampling, road.ledger, options)
    groups = partial(_groups, texts, total=tokens / facts.frame_rate)
    answers: Any = spread(road.cluster, open, groups, ordered=True)

    def heard() -> Iterator[list[Said]]:
        for said, stale in answers:
            road.ledger.take(stale)
            yield said

    said = chain.from_iterable(heard())
    with closing(answers):
        yield from until(lambda count: list(islice(said, count)), tokens, facts, road.stopped)


def _groups(
    entries: Callable[[], Iterator[Any]], workers: int, total: float = float("inf")
) -> Iterator[list[Any]]:
    return cut(entries(), _expected, workers, total)


def _expected(entry: Clip | Text | Bad) -> float:
    """Seconds of sound in an entry, by its length where nothing states them."""
    if isinstance(entry, Bad):
        return 0.0
    known = entry.seconds if isinstance(entry, Clip) else None
    return len(entry.text) / CHARACTERS_PER_SECOND if known is None else known


def _listener(
    load: Load, corpus: str, ledger: Ledger, limits: Limits, threads: int
) -> Callable[[list[Clip | Bad]], tuple[list[Outcome], Stale]]:
    """Open in a worker what hears clips."""
    maker = AudioRows(load(threads=threads), corpus, ledger, limits)

    def listen(entries: list[Clip | Bad]) -> tuple[list[Outcome], Stale]:
        ledger.stale = {}
        return list(maker.rows(entries)), ledger.stale

    return listen


def _speaker(
    load: Load, sampling: Sampling, ledger: Ledger, options: dict[str, Any], threads: int
) -> Callable[[list[Text | Bad]], tuple[list[Said], Stale]]:
    """Open in a worker what speaks texts."""
    maker = SpokenRows(load(threads=threads), sampling, ledger=ledger, **options)

    def speak(entries: list[Text | Bad]) -> tuple[list[Said], Stale]:
        ledger.stale = {}
        return maker.say(entries), ledger.stale

    return speak
