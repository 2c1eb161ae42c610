"""Bytes and seconds of speaking, added up."""

import pytest
from tests.engine.tiny import tiny_engine

from mamtra_cli.backbone.costs import Precision
from mamtra_cli.engine.measuring.memory import footprint
from mamtra_cli.engine.measuring.planner import (
    FARTHEST,
    Budget,
    Footprint,
    Pace,
    by_bandwidth,
    by_formulas,
    longest,
    needs_of,
    parse_bytes,
)
from mamtra_cli.errors import UsageError
from mamtra_cli.families.measures import Request

SMALL = Footprint(weights={"a": 40, "b": 20}, scratch={"one": 7, "two": 9}, stream=5, libraries=1)


def test_stages_take_turns_and_streams_add_up() -> None:
    assert SMALL.stage == "two"
    assert SMALL.constant == 70
    assert SMALL.total(4) == 90
    assert [SMALL.streams(room) for room in (69, 74, 75, 90)] == [0, 0, 1, 4]


def test_streams_share_a_step_and_add_to_it() -> None:
    assert Pace(shared=0.5, stream=0.1).streams == 5
    assert Pace(shared=1.5, stream=0.1).streams == 0


@pytest.mark.parametrize(
    ("text", "count"),
    [("24GB", 24e9), ("1.5 gib", 1.5 * 2**30), ("800M", 8e8), ("512", 512), ("2KiB", 2048)],
)
def test_amounts_of_memory_are_read(text: str, count: float) -> None:
    assert parse_bytes(text, "--budget") == count


@pytest.mark.parametrize("text", ["", "much", "-1GB", "1e3GB", "3 bananas"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--budget"):
        parse_bytes(text, "--budget")


def test_room_is_what_others_leave() -> None:
    budget = Budget.parse("24GB", "stt=6GB,llm=14GB")
    assert budget.reserved == {"stt": 6_000_000_000, "llm": 14_000_000_000}
    assert budget.room == 4_000_000_000
    assert Budget.parse("24GB", "4GB").room == 20_000_000_000
    with pytest.raises(UsageError, match="leaves nothing"):
        Budget.parse("4GB", "llm=5GB")


@pytest.mark.parametrize("end", [1, 2, 3, 1000, 65_537])
def test_longest_is_the_last_that_fits(end: int) -> None:
    assert longest(lambda count: count <= end) == end


def test_longest_has_no_end_where_nothing_grows() -> None:
    assert longest(lambda count: True) is None
    assert longest(lambda count: False) == 0
    assert longest(lambda count: count < FARTHEST) == FARTHEST - 1


def test_formulas_tell_what_is_measured() -> None:
    """Weights exactly, a stream to the byte that its cache has room for, stages nearly."""
    engine = tiny_engine()
    request = Request(tokens=60, prompt=20, text=30)
    exact = Precision(weights=4, cache=4, conv=4)
    measures = engine.family.measures(engine.config)
    told = by_formulas(engine.facts, measures, engine.config, request, exact)
    found = footprint(engine, request, libraries=0)
    table = 4 * engine.facts.text_ids * engine.config.lm.d_model
    assert found.weights["language model"] - table == pytest.approx(
        told.weights["language model"], rel=0.01
    )
    for name in ("flow", "vocoder"):
        assert found.weights[name] == pytest.approx(told.weights[name], rel=0.01)
    assert found.stream == pytest.approx(told.stream, rel=0.05)


def test_bandwidth_bounds_what_a_step_takes() -> None:
    engine = tiny_engine()
    needs = needs_of(
        engine.family.measures(engine.config), engine.config, Request(tokens=60, prompt=20, text=30)
    )
    precision = Precision()
    slow = by_bandwidth(engine.facts, needs, precision, 1e9)
    fast = by_bandwidth(engine.facts, needs, precision, 2e9)
    assert slow is not None
    assert fast is not None
    assert slow.shared == pytest.approx(2 * fast.shared)
    assert fast.streams > slow.streams > 0
    assert by_bandwidth(engine.facts, needs, precision, 0.0) is None
