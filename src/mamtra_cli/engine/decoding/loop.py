"""Scripts to outcomes: one at a time as its frames come, or many with new attempts.

Both drive `Streams`, which is the only loop over frames there is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mamtra_cli.engine import seeds
from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.decoding.streams import ROWS, Event, Outcome, Streams
from mamtra_cli.families.script import Script, TokenModel
from mamtra_cli.ops.sampling import Sampling


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """A script at its start and the seed of its draws."""

    script: Script
    seed: int = 0

    def attempt(self, number: int) -> "Utterance":
        """The same utterance for another attempt; number 0 is itself."""
        return Utterance(script=self.script, seed=reseeded(self.seed, number))


def reseeded(seed: int, attempt: int) -> int:
    """The seed of an attempt; that of number 0 is the seed itself."""
    return seed + attempt * seeds.ATTEMPTS_APART


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
    retries: int = 0,
) -> Iterator[tuple[int, Outcome]]:
    """Decode many utterances, `rows` at a time; yields (index, outcome) as they end.

    Args:
        model: the model.
        utterances: what to speak.
        sampling: how to choose.
        limits: what the guards tolerate.
        rows: utterances decoded together.
        retries: new attempts for a rejected utterance.
    """
    streams = Streams(model, rows=rows, limits=limits)
    tries = {
        streams.add(utterance.script, sampling, seed=utterance.seed): (index, 0)
        for index, utterance in enumerate(utterances)
    }
    while streams.busy:
        for event in streams.step():
            if event.outcome is None:
                continue
            index, attempt = tries.pop(event.id)
            if event.outcome.rejection is None or attempt >= retries:
                yield index, event.outcome
                continue
            again = utterances[index].attempt(attempt + 1)
            id = streams.add(again.script, sampling, seed=again.seed)
            tries[id] = (index, attempt + 1)
