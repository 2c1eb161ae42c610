"""Will it fit, for how many, for how long: bytes and seconds of speaking, added up.

Bytes are those of libraries, of weights, of the stage that needs most while it runs (stages take
turns, and every stream waits for its own), and of each stream's keys, values and states at its
end. Seconds are what the streams share of a step, and what each adds to it. Knows sums; the terms
come from formulas or from measurement, and one plan never holds both.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import floor

from mamtra_cli.backbone import costs
from mamtra_cli.errors import UsageError
from mamtra_cli.families.base import Facts
from mamtra_cli.families.measures import Measures, Needs, Request

UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
# The process before there is a model: measured on a CPU (docs/performance.md); on a GPU room for
# context, kernels and slack, a guess that `--reserve` may add to.
LIBRARIES = {"cpu": 240_000_000, "cuda": 800_000_000}
FARTHEST = 1 << 22  # frames beyond which nothing is looked for


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of one model for requests of one length.

    Attributes:
        weights: of each part, by what it is for.
        scratch: of each stage while it runs, by its name.
        stream: keys, values and states of one utterance at its end.
        libraries: of the process without a model.
    """

    weights: Mapping[str, int]
    scratch: Mapping[str, int]
    stream: int
    libraries: int = 0

    @property
    def stage(self) -> str:
        """The stage that needs most while it runs."""
        return max(self.scratch, key=lambda name: self.scratch[name], default="")

    @property
    def constant(self) -> int:
        """What is needed however many speak."""
        return self.libraries + sum(self.weights.values()) + self.scratch.get(self.stage, 0)

    def total(self, streams: int) -> int:
        """Bytes of so many utterances at once."""
        return self.constant + streams * self.stream

    def streams(self, room: int) -> int:
        """Utterances that fit into so many bytes."""
        return max(0, (room - self.constant) // max(self.stream, 1))


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Seconds of work for a second of sound.

    Attributes:
        shared: of one step, however many rows it has.
        stream: what each utterance adds: its rows, and its way from frames to sound.
    """

    shared: float
    stream: float

    @property
    def streams(self) -> int:
        """Utterances that keep up with their own sound."""
        return max(0, floor((1 - self.shared) / max(self.stream, 1e-12)))


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Bytes that there are, and what others need of them, by name."""

    total: int
    reserved: Mapping[str, int] = field(default_factory=dict)

    @property
    def room(self) -> int:
        """What is left."""
        return self.total - sum(self.reserved.values())

    @classmethod
    def parse(cls, budget: str, reserve: str = "") -> "Budget":
        """Read `24GB` and `stt=6GB,llm=14GB`.

        Raises:
            UsageError: no such amount, or nothing is left.
        """
        reserved = {}
        for item in filter(None, reserve.split(",")):
            name, sign, amount = item.partition("=")
            if not sign:
                name, amount = "others", item
            reserved[name.strip()] = parse_bytes(amount, "--reserve")
        found = cls(total=parse_bytes(budget, "--budget"), reserved=reserved)
        if found.room <= 0:
            raise UsageError(
                f"`--reserve {reserve}` leaves nothing of `--budget {budget}`", "reserve less"
            )
        return found


def parse_bytes(text: str, flag: str) -> int:
    """Read `24GB`, `1.5 GiB` or `800M`.

    Raises:
        UsageError: it is none.
    """
    match = AMOUNT.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"`{flag} {text}` is no amount of memory", "write it as 24GB or 800MB")
    number, unit, binary = match.groups()
    scale = UNITS[unit.upper()]
    if binary:
        scale = 1024.0 ** ("KMGT".index(unit.upper()) + 1) if unit else scale
    return round(float(number) * scale)


def needs_of(measures: Measures | None, config: object, request: Request) -> Needs:
    """What a request needs beside the language model; its caches alone where no more is known."""
    if measures is None:
        return Needs(rows=1, positions=request.positions, weights={}, scratch={})
    return measures.needs(config, request)


def stream_bytes(facts: Facts, needs: Needs, precision: costs.Precision) -> int:
    """Keys, values and states of one utterance at its end."""
    if facts.stack is None:
        return 0
    return needs.rows * costs.cache_bytes(facts.stack, needs.positions, precision)


def by_formulas(
    facts: Facts,
    measures: Measures | None,
    config: object,
    request: Request,
    precision: costs.Precision,
    libraries: int = 0,
) -> Footprint:
    """The bytes of a model from its sizes alone; its text table stays on the host."""
    needs = needs_of(measures, config, request)
    weights = dict(needs.weights)
    scratch = {name: needs.prompt + value for name, value in needs.scratch.items()}
    if facts.stack is not None:
        counted = costs.parameters(facts.stack, facts.head)
        held = counted.total - counted.text_embedding
        weights = {"language model": precision.weights * held, **weights}
        # The prompt's keys and values are there twice while they move into a stream's own.
        moved = costs.cache_bytes(facts.stack, request.prefill, precision)
        passed = costs.reading_bytes(facts.stack, request.prefill, precision.weights)
        scratch["reading the prompt"] = needs.rows * (moved + passed)
    return Footprint(
        weights=weights,
        scratch=scratch,
        stream=stream_bytes(facts, needs, precision),
        libraries=libraries,
    )


def by_bandwidth(
    facts: Facts, needs: Needs, precision: costs.Precision, bandwidth: float
) -> Pace | None:
    """The least seconds that language-model steps take where bytes a second are the limit.

    Args:
        facts, needs: of the model and the request.
        precision: bytes per element.
        bandwidth: bytes a second.
    """
    stack = facts.stack
    if stack is None or bandwidth <= 0:
        return None
    length = needs.positions
    one, two = (
        costs.decode_bytes(stack, length, batch=batch, head=facts.head, precision=precision)
        for batch in (1, 2)
    )
    each = two - one
    rate = facts.frame_rate / bandwidth
    return Pace(shared=rate * (one - each), stream=rate * each * needs.rows)


def longest(fits: Callable[[int], bool]) -> int | None:
    """The most frames for which something fits; 0 for none, `None` where there is no end.

    Args:
        fits: of a number of frames; once it no longer does, it never does again.
    """
    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high):
        if high >= FARTHEST:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
