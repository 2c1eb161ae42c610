"""Many utterances to outcomes: seeds, the order they end in."""

from tests.engine.decoding.lines import EOS, Lines, Said
from tests.engine.tiny import tiny_engine

from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.decoding.loop import Utterance, decode, speak_one
from mamtra_cli.engine.model import Engine
from mamtra_cli.ops.sampling import Sampling

OPEN = GuardLimits(equal_run=1000, loop_span=1000, min_share=0.0, max_share=1000.0)
GREEDY = Sampling(greedy=True)


def utterance(engine: Engine, text: str, seed: int) -> Utterance:
    return Utterance(script=engine.speaker.begin(engine.encode(text)), seed=seed)


def test_outcomes_come_as_they_end() -> None:
    model = Lines([[1, 2, 4, EOS], [5, EOS], [6, 7, EOS]])
    scripts = [Utterance(script=Said(reads=line)) for line in range(3)]
    found = [(index, outcome.tokens) for index, outcome in decode(model, scripts, GREEDY, OPEN)]
    assert found == [(1, (5,)), (2, (6, 7)), (0, (1, 2, 4))]


def test_one_utterance_tells_each_frame() -> None:
    events = list(speak_one(Lines([[1, 2, EOS]]), Utterance(script=Said(reads=0)), GREEDY, OPEN))
    assert [event.frames for event in events] == [((1,),), ((2,),), ()]
    assert events[-1].outcome is not None


def test_seed_decides_what_is_said() -> None:
    engine = tiny_engine()
    assert engine.speaker.tokens is not None
    first, same, other = (
        dict(
            decode(
                engine.speaker.tokens,
                [utterance(engine, "a sentence to speak.", seed)],
                Sampling(),
                OPEN,
            )
        )[0].tokens
        for seed in (1, 1, 2)
    )
    assert first == same != other
