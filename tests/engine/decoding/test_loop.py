"""The token loop: limits, guards, seeds, company."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from tests.engine.tiny import tiny_engine, tiny_voice
from torch import Tensor

from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.decoding.loop import Outcome, Utterance, decode, steps, tokens
from mamtra_cli.ops.sampling import Sampling

EOS = 49
OPEN = GuardLimits(equal_run=1000, loop_span=1000, min_share=0.0, max_share=1000.0)


@dataclass
class Script:
    """A model that says what it was told, token by token; rows of a batch are its lines."""

    lines: Sequence[Sequence[int]]
    vocabulary: int = 52

    @property
    def stop_ids(self) -> tuple[int, ...]:
        return (EOS, EOS + 1, EOS + 2)

    def scores(self, state: list[tuple[int, int]]) -> Tensor:
        rows = torch.full((len(state), self.vocabulary), -20.0)
        for place, (line, at) in enumerate(state):
            rows[place, self.lines[line][at % len(self.lines[line])]] = 0.0
            rows[place, 3] = max(float(rows[place, 3]), -5.0)
        return rows

    def prefill(self, utterances: Sequence[Utterance]) -> tuple[Tensor, list[tuple[int, int]]]:
        state = [(int(utterance.prompt), 0) for utterance in utterances]
        return self.scores(state), state

    def step(self, tokens: Tensor, state: list[tuple[int, int]]) -> tuple[Tensor, object]:
        assert len(tokens) == len(state)
        state = [(line, at + 1) for line, at in state]
        return self.scores(state), state

    def select(self, state: list[tuple[int, int]], rows: Sequence[int]) -> object:
        return [state[row] for row in rows]


GREEDY = Sampling(greedy=True)


def say(line: Sequence[int], **options: object) -> tuple[list[int], Outcome]:
    given = {"min_tokens": 0, "max_tokens": 100, **options}
    utterance = Utterance(prompt=0, **given)  # type: ignore[arg-type]
    loop = tokens(Script([line]), utterance, GREEDY)
    said = []
    while True:
        try:
            said.append(next(loop))
        except StopIteration as stop:
            return said, stop.value


def test_tokens_come_until_the_end_id() -> None:
    said, outcome = say([1, 2, 4, EOS])
    assert said == [1, 2, 4]
    assert outcome == Outcome(tokens=(1, 2, 4))


@pytest.mark.parametrize("stop", [EOS + 1, EOS + 2], ids=["second-stop", "fill"])
def test_other_stop_ids_end_even_before_the_least_length(stop: int) -> None:
    assert say([1, stop], min_tokens=5)[0] == [1]


def test_end_is_masked_before_the_least_length() -> None:
    said, outcome = say([1, EOS, EOS, 2, EOS], min_tokens=3)
    assert said == [1, 3, 3, 2]
    assert outcome.rejection is None


def test_cap_is_a_runaway() -> None:
    said, outcome = say(list(range(40)), max_tokens=30)
    assert len(said) == 30
    assert outcome.rejection is not None
    assert outcome.rejection.cause == "runaway"


def test_repetition_ends_the_loop_early() -> None:
    said, outcome = say([7], max_tokens=1000)
    assert len(said) < 30
    assert outcome.rejection is not None
    assert outcome.rejection.cause == "runaway"


def test_length_is_judged_against_the_text() -> None:
    outcome = say([1, 2, EOS], expected=100.0)[1]
    assert outcome.rejection is not None
    assert outcome.rejection.cause == "too_short"


def test_speech_too_long_for_its_text_ends_early() -> None:
    said, outcome = say(list(range(40)), max_tokens=1000, expected=5.0)
    assert len(said) < 30
    assert outcome.rejection is not None
    assert outcome.rejection.cause == "too_long"


def test_scores_that_are_not_finite_are_refused() -> None:
    script = Script([[1, 2, EOS]])
    broken = script.scores([(0, 0)]) * float("nan")
    script.scores = lambda state: broken  # type: ignore[method-assign]
    loop = steps(script, [Utterance(prompt=0, min_tokens=0, max_tokens=9)], GREEDY)
    with pytest.raises(StopIteration) as stop:
        next(loop)
    assert stop.value.value[0].rejection.cause == "non_finite"


def test_rows_leave_the_batch_as_they_end() -> None:
    lines = [[1, EOS], [1, 2, 4, 5, EOS], [6, 7, EOS]]
    utterances = [Utterance(prompt=i, min_tokens=0, max_tokens=20) for i in range(3)]
    said: dict[int, list[int]] = {0: [], 1: [], 2: []}
    widths = []
    for pairs in steps(Script(lines), utterances, GREEDY):
        widths.append(len(pairs))
        for row, token in pairs:
            said[row].append(token)
    assert [said[i] for i in range(3)] == [line[:-1] for line in lines]
    assert widths == [3, 2, 1, 1]


@pytest.mark.parametrize("kinds", ["TT", "TM"])
@pytest.mark.parametrize("positions", ["aligned", "sequential"])
def test_company_does_not_change_what_is_said(kinds: str, positions: str) -> None:
    engine = tiny_engine(kinds=kinds, positions=positions)
    sampling = Sampling(temperature=0.8, top_p=0.9, ras_window=10)
    texts = ["hi.", "a much longer sentence than that.", "mid size text."]
    utterances = [
        engine.utterance(engine.encode(text), tiny_voice(prompt), seed=3 + prompt)
        for text, prompt in zip(texts, (0, 6, 0), strict=True)
    ]
    alone = [dict(decode(engine, [u], sampling, OPEN))[0].tokens for u in utterances]
    together = dict(decode(engine, utterances, sampling, OPEN))
    assert [together[i].tokens for i in range(3)] == alone
    assert all(alone)


def test_seed_decides_what_is_said() -> None:
    engine = tiny_engine()
    ids = engine.encode("a sentence to speak.")
    first, same, other = (
        dict(decode(engine, [engine.utterance(ids, seed=seed)], Sampling(), OPEN))[0].tokens
        for seed in (1, 1, 2)
    )
    assert first == same != other


def test_refused_utterances_are_tried_again_and_no_others() -> None:
    engine = tiny_engine()
    ids = engine.encode("some words here.")
    strict = GuardLimits(max_share=0.1, slack=0)
    utterances = [replace(engine.utterance(ids, seed=s), expected=1.0) for s in range(4)]
    outcomes = dict(decode(engine, utterances, Sampling(), strict, retries=1))
    assert sorted(outcomes) == [0, 1, 2, 3]
    assert all(outcome.rejection is not None for outcome in outcomes.values())
    again = dict(decode(engine, [utterances[0].attempt(1)], Sampling(), strict))
    assert again[0].tokens == outcomes[0].tokens
