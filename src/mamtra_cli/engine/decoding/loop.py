"""The token loop: read a prompt once, then step, sample and watch until the speech ends.

One loop serves a single utterance (tokens come out as they are chosen) and many at once (rows
leave the batch as they end). Every utterance draws from its own generator, so its tokens do not
depend on its company. Knows frames and states, nothing of text or sound.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from mamtra_cli.engine.decoding.guards import (
    GuardLimits,
    Rejection,
    TokenWatch,
    check_finite,
    check_length,
    too_long,
)
from mamtra_cli.ops.sampling import Sampling, sample_one

RESEED = 1_000_003  # attempts draw from seeds this far apart


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """What to speak, as the model reads it.

    Attributes:
        prompt: the family's sequence that decoding starts from.
        min_tokens, max_tokens: before the first the end is not allowed, at the second it comes.
        expected: tokens the text should take, or `None` where the model cannot say.
        prompt_tokens: speech tokens of the voice prompt.
        start: how many positions of the prompt were read before, and the state they left; `None`
            where all of it is to be read.
        seed: of this utterance's draws.
    """

    prompt: Any
    min_tokens: int
    max_tokens: int
    expected: float | None = None
    prompt_tokens: tuple[int, ...] = ()
    start: tuple[int, Any] | None = None
    seed: int = 0

    def attempt(self, number: int) -> "Utterance":
        """The same utterance for another attempt; number 0 is itself."""
        return replace(self, seed=self.seed + number * RESEED)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an utterance ended; `rejection` is the guard that refused it."""

    tokens: tuple[int, ...]
    rejection: Rejection | None = None


class TokenModel(Protocol):
    """What the loop needs of a model."""

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end an utterance; the first may be masked."""

    def prefill(self, utterances: Sequence[Utterance]) -> tuple[Tensor, Any]:
        """Read prompts: (B, V) float32 log-probabilities of the first token, and a state."""

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read one token (B,) a row: the same for the next token."""

    def select(self, state: Any, rows: Sequence[int]) -> Any:
        """Keep the given rows of a state."""


@dataclass
class _Row:
    """One utterance under way."""

    index: int
    utterance: Utterance
    watch: TokenWatch
    generator: torch.Generator
    tokens: list[int] = field(default_factory=list)


def tokens(
    model: TokenModel,
    utterance: Utterance,
    sampling: Sampling,
    limits: GuardLimits | None = None,
) -> Generator[int, None, Outcome]:
    """Decode one utterance, yielding each token as it is chosen; returns the outcome."""
    loop = steps(model, [utterance], sampling, limits)
    while True:
        try:
            chosen = next(loop)
        except StopIteration as stop:
            outcomes: list[Outcome] = stop.value
            return outcomes[0]
        for _, token in chosen:
            yield token


def decode(
    model: TokenModel,
    utterances: Sequence[Utterance],
    sampling: Sampling,
    limits: GuardLimits | None = None,
    *,
    rows: int = 16,
    retries: int = 0,
) -> Iterator[tuple[int, Outcome]]:
    """Decode many utterances, `rows` at a time; yields (index, outcome) as batches end.

    Args:
        model: the model.
        utterances: what to speak; long prompts are put together to save padding.
        sampling: how to choose.
        limits: what the guards tolerate.
        rows: utterances decoded together.
        retries: new attempts for a rejected utterance.
    """
    order = sorted(range(len(utterances)), key=lambda index: utterances[index].max_tokens)
    for start in range(0, len(order), rows):
        waiting = order[start : start + rows]
        for attempt in range(retries + 1):
            tries = [utterances[index].attempt(attempt) for index in waiting]
            outcomes = _finish(steps(model, tries, sampling, limits))
            again = []
            for index, outcome in zip(waiting, outcomes, strict=True):
                if outcome.rejection is not None and attempt < retries:
                    again.append(index)
                else:
                    yield index, outcome
            waiting = again
            if not waiting:
                break


def steps(
    model: TokenModel,
    utterances: Sequence[Utterance],
    sampling: Sampling,
    limits: GuardLimits | None = None,
) -> Generator[list[tuple[int, int]], None, list[Outcome]]:
    """Decode utterances together, yielding the (row, token) pairs of each step.

    Returns:
        one outcome an utterance, in order.
    """
    limits = limits or GuardLimits()
    alive = [
        _Row(
            index=index,
            utterance=utterance,
            watch=TokenWatch(limits=limits, prompt=utterance.prompt_tokens),
            generator=torch.Generator().manual_seed(utterance.seed),
        )
        for index, utterance in enumerate(utterances)
    ]
    ended: dict[int, Outcome] = {}
    with torch.inference_mode():
        scores, state = model.prefill(utterances)
    while alive:
        places: list[int] = []
        for place, (row, row_scores) in enumerate(zip(alive, scores.float().cpu(), strict=True)):
            outcome = _choose(row, row_scores, model.stop_ids, sampling, limits)
            if outcome is None:
                places.append(place)
            else:
                ended[row.index] = outcome
        whole = len(places) == len(alive)
        alive = [alive[place] for place in places]
        if not alive:
            break
        yield [(row.index, row.tokens[-1]) for row in alive]
        with torch.inference_mode():
            if not whole:
                state = model.select(state, places)
            last = torch.tensor([row.tokens[-1] for row in alive])
            scores, state = model.step(last, state)
    return [ended[index] for index in range(len(utterances))]


def _choose(
    row: _Row,
    scores: Tensor,
    stop_ids: Sequence[int],
    sampling: Sampling,
    limits: GuardLimits,
) -> Outcome | None:
    """Choose the next token of a row; return the outcome if that ends it.

    scores: (V,) float32 on the CPU.
    """
    utterance, said = row.utterance, row.tokens
    rejection = check_finite(scores, "token scores")
    if rejection is not None:
        return Outcome(tokens=tuple(said), rejection=rejection)
    if len(said) >= utterance.max_tokens:
        return _end(row, limits, capped=True)
    if len(said) < utterance.min_tokens:
        scores = scores.clone()
        scores[stop_ids[0]] = -torch.inf
    token = sample_one(scores, sampling, said, generator=row.generator)
    if token in stop_ids:
        return _end(row, limits, capped=False)
    said.append(token)
    rejection = row.watch.add(token) or too_long(len(said), utterance.expected, limits)
    return None if rejection is None else Outcome(tokens=tuple(said), rejection=rejection)


def _end(row: _Row, limits: GuardLimits, *, capped: bool) -> Outcome:
    """The outcome of a row that stopped by itself or at the cap."""
    count, expected = len(row.tokens), row.utterance.expected
    rejection = check_length(count, expected=expected, capped=capped, limits=limits)
    return Outcome(tokens=tuple(row.tokens), rejection=rejection)


def _finish(loop: Generator[Any, None, list[Outcome]]) -> list[Outcome]:
    """Run a loop to its end."""
    while True:
        try:
            next(loop)
        except StopIteration as stop:
            outcomes: list[Outcome] = stop.value
            return outcomes
