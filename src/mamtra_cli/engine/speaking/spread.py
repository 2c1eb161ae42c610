"""Lines spoken by workers on Ray: what `speak_lines` makes of them, on more machines than one.

A group of lines is as much as takes a worker the same time as any other, by the seconds of sound
that are expected of it, and is spoken in one batch. Groups of lost workers are spoken again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from mamtra_cli.engine.decoding.streams import ROWS
from mamtra_cli.engine.loading.talker import Talker
from mamtra_cli.engine.speaking.lines import Line, LineSound, speak_lines
from mamtra_cli.engine.speaking.many import CHARACTERS_PER_SECOND
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import Listen
from mamtra_cli.ray_pool import Cluster, cut, spread

Load = Callable[..., Talker]


def spread_lines(
    cluster: Cluster,
    load: Load,
    lines: Sequence[Line],
    options: SpeechOptions,
    *,
    rows: int = ROWS,
    library: Path | None = None,
    hear: Callable[[Any], Listen] | None = None,
) -> Iterator[LineSound]:
    """Speak lines; yields each as its group ends.

    Args:
        cluster: where.
        load: opens the model in a worker, given `threads`.
        lines: of any number.
        options, rows: see `speak_lines`.
        library: folder of the user's voices, as workers see it; `None` for the usual one.
        hear: opens, in a worker, what listens to its lines; `None` for nobody.

    Raises:
        MamtraError: the model cannot be opened there, or Ray failed.
    """
    open = partial(_speaker, load, options, rows, library, hear)
    for made in spread(cluster, open, partial(groups_of, lines)):
        yield from made


def groups_of(lines: Sequence[Line], workers: int) -> Iterator[list[Line]]:
    """Cut lines into groups of the same expected seconds, in their order."""
    return cut(lines, expected, workers, sum(map(expected, lines)))


def expected(line: Line) -> float:
    """Seconds that a line takes, by its length."""
    return len(line.text) / CHARACTERS_PER_SECOND / line.speed


def _speaker(
    load: Load,
    options: SpeechOptions,
    rows: int,
    library: Path | None,
    hear: Callable[[Any], Listen] | None,
    threads: int,
) -> Callable[[list[Line]], list[LineSound]]:
    """Open the model in a worker."""
    engine = load(threads=threads)
    engine.speaker.ready()
    options = replace(options, listen=hear(engine)) if hear else options
    voices = cache(lambda name: engine.voice(name, library))
    return lambda lines: list(speak_lines(engine, lines, options, rows=rows, voices=voices))
