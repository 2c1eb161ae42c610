"""Scripts to outcomes, each tried once: one as its frames come, or many together.

Both drive `Streams`, which is the only loop over frames there is. New attempts at what a guard
refused are made in `speaking/utterances.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.decoding.streams import ROWS, Event, Outcome, Streams
from mamtra_cli.families.script import Script, TokenModel
from mamtra_cli.ops.sampling import Sampling


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """A script at its start and the seed of its draws."""

    script: Script
    seed: int = 0


def speak_one(
    model: TokenModel,
    utterance: Utterance,
    sampling: Sampling,
    limits: GuardLimits | None = None,
) -> Iterator[Event]:
    """Decode one utterance whose text is whole; yields what each step did, its end last."""
    streams = Streams(model, rows=1, limits=limits)
    streams.add(utterance.script, sampling, seed=utterance.seed)
    while streams.busy:
        yield from streams.step()


def decode(
    model: TokenModel,
    utterances: Sequence[Utterance],
    sampling: Sampling,
    limits: GuardLimits | None = None,
    *,
    rows: int = ROWS,
) -> Iterator[tuple[int, Outcome]]:
    """Decode many utterances, `rows` at a time; yields (index, outcome) as they end.

    Args:
        model: the model.
        utterances: what to speak.
        sampling: how to choose.
        limits: what the guards tolerate.
        rows: utterances decoded together.
    """
    streams = Streams(model, rows=rows, limits=limits)
    places = {
        streams.add(utterance.script, sampling, seed=utterance.seed): index
        for index, utterance in enumerate(utterances)
    }
    while streams.busy:
        for event in streams.step():
            if event.outcome is not None:
                yield places[event.id], event.outcome
