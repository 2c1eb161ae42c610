"""What a budget means for the published model, by formulas."""

from dataclasses import replace

import pytest

from mamtra_cli.backbone.costs import Precision
from mamtra_cli.engine.measuring.planner import Budget, Pace
from mamtra_cli.engine.measuring.sizing import Sizing
from mamtra_cli.engine.measuring.verdicts import (
    answer,
    compared,
    least_ratio,
    longest_speech,
    planned,
    remedies,
    told,
)
from mamtra_cli.families.cosyvoice2.family import FAMILY

LONG = 25 * 120
EXACT = Precision(weights=4, cache=4, conv=4)


@pytest.fixture(scope="module")
def teacher() -> Sizing:
    measures = FAMILY.measures(FAMILY.config_class())
    assert measures is not None
    return Sizing(
        name="teacher", family=FAMILY, config=measures.config, precision=Precision(), prompt=5.0
    )


def test_a_plan_that_fits_says_what_is_left(teacher: Sizing) -> None:
    plan = planned(teacher, LONG, 16, Budget(total=4 * 10**9))
    assert plan.kept
    assert plan.total == plan.footprint.total(16)
    assert told(plan).startswith("teacher: yes, 16 streams of 120 s need ")
    assert "by formulas" in told(plan)


def test_a_plan_that_does_not_names_what_is_missing_and_what_would_do(teacher: Sizing) -> None:
    exact = replace(teacher, precision=EXACT)
    plan = planned(exact, LONG, 16, Budget(total=35 * 10**8))
    assert not plan.kept
    assert "are missing, most takes keys, values and states" in told(plan)
    helps = remedies(plan, exact, LONG)
    assert helps[0] == "`--dtype bfloat16`"
    for other in helps[1:]:
        assert any(word in other for word in ("layers exchanged", "stream", "utterances of"))
    assert exact.halved.footprint(LONG).total(16) <= plan.budget.room


def test_streams_are_bound_by_memory_or_by_time(teacher: Sizing) -> None:
    budget = Budget(total=2 * 10**9)
    plan = planned(teacher, LONG, None, budget)
    assert plan.most == plan.by_memory == plan.footprint.streams(budget.room)
    slower = replace(plan, pace=Pace(shared=0.2, stream=0.4), measured=True)
    assert slower.most == 2
    assert told(slower).endswith("2 keep up with their sound, so time decides")
    assert told(replace(slower, pace=Pace(shared=0.0, stream=1e-6))).endswith("memory decides")


def test_the_least_exchange_that_fits_is_found(teacher: Sizing) -> None:
    needed = {ratio: other.footprint(LONG).total(16) for ratio, other in teacher.ratios()}
    found = least_ratio(teacher, LONG, 16, Budget(total=needed["1:3"]))
    assert found.kept
    assert found.plans[-1].name == "teacher 1:3"
    assert all(not plan.fits for plan in found.plans[:-1])
    assert "no smaller exchange" in found.sentence
    found = answer(teacher, LONG, 16, Budget(total=10**9), "ratio")
    assert not found.kept
    assert "no exchange of layers fits" in found.sentence
    enough = answer(teacher, LONG, 1, Budget(total=10**11), "ratio")
    assert "nothing need be exchanged" in enough.sentence


def test_ratios_are_those_that_fit_the_depth() -> None:
    config = FAMILY.config_class()
    shallow = replace(config, lm=replace(config.lm, n_layers=4))
    sizing = Sizing(name="shallow", family=FAMILY, config=shallow, precision=Precision())
    assert [ratio for ratio, _ in sizing.ratios()] == ["1:0", "1:1", "1:3", "0:1"]


def test_the_longest_speech_fits_and_no_longer_one(teacher: Sizing) -> None:
    budget = Budget(total=2 * 10**9)
    found = longest_speech(teacher, 16, budget)
    assert found.kept
    plan = found.plans[0]
    frames = round(25 * plan.seconds)
    assert teacher.footprint(frames).total(16) <= budget.room
    assert teacher.footprint(frames + 1).total(16) > budget.room
    assert f"{plan.positions:,} positions" in found.sentence
    assert not answer(teacher, 1, 16, Budget(total=10**9), "seq").kept


def test_positions_are_those_asked_for(teacher: Sizing) -> None:
    frames = teacher.frames_at(4096)
    assert teacher.needs(frames).positions <= 4096 < teacher.needs(frames + 1).positions


def test_a_comparison_adds_up(teacher: Sizing) -> None:
    student = teacher.exchanged("1:3")
    assert student is not None
    sentence = compared(student, teacher, LONG, 64)
    assert sentence.startswith("teacher 1:3 beside teacher: -")
    for part in ("weights", "keys, values and states", "scratch"):
        assert part in sentence


def test_measured_and_estimated_are_told_apart(teacher: Sizing) -> None:
    plan = planned(teacher, LONG, 1, Budget(total=10**10))
    assert "by formulas" in told(plan)
    assert "as measured here" in told(replace(plan, measured=True))
    assert "its language model alone" in told(replace(plan, whole=False))
