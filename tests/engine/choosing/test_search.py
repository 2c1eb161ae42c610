"""Choosing layers: plans are measured as a model would be, and each method finds what it must."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.engine.tiny import tiny_config

from mamtra_cli.backbone.auto import METHODS, AutoRequest
from mamtra_cli.engine.choosing.bench import Bench, align_pool, make_pool
from mamtra_cli.engine.choosing.search import select, spaced
from mamtra_cli.engine.lessons.agreement import compare
from mamtra_cli.engine.students.fitting import fit, hybrid_of
from mamtra_cli.events import Advance, Event
from mamtra_cli.families.cosyvoice2.lessons import SpeechLessons
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.lessons import Example
from mamtra_cli.layers.mixer_config import MixerConfig, preset

LAYERS = 4
MIXER = MixerConfig()


def teacher(seed: int = 0, **sizes: Any) -> SpeechLessons:
    """Random weights large enough for layers to matter, and unlike each other."""
    torch.manual_seed(seed)
    made = SpeechLM(tiny_config(n_layers=LAYERS, **sizes).lm)
    with torch.no_grad():
        for i, block in enumerate(made.stack.blocks()):
            for value in block.parameters():
                value.add_(torch.randn_like(value) * (0.1 + 0.1 * i))
        made.llm_decoder.weight.mul_(20)
    return SpeechLessons(made.eval().requires_grad_(False))


def speech(count: int = 12, seed: int = 1) -> list[Example]:
    generator = torch.Generator().manual_seed(seed)

    def ids(high: int, length: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, high, (length,), generator=generator).tolist())

    return [
        Example(id=str(i), text_ids=ids(28, 6 + i % 4), tokens=ids(49, 14 + 3 * (i % 5)))
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def lm() -> SpeechLessons:
    return teacher()


@pytest.fixture(scope="module")
def bench(lm: SpeechLessons) -> Bench:
    return Bench(lm, make_pool(lm, MIXER, speech()), speech(seed=2))


def request(method: str, kept: int = 2, **knobs: Any) -> AutoRequest:
    return AutoRequest(method=method, kept=kept, **knobs)


@pytest.mark.parametrize("kinds", ["MTTT", "TMTM", "MMMM", "TTTM"])
def test_measure_of_a_plan_is_that_of_the_student_made_from_it(
    lm: SpeechLessons, bench: Bench, kinds: str
) -> None:
    student = hybrid_of(lm, kinds, MIXER)
    fit(lm, student, speech(), mode="ls")
    wanted = compare(lm, student, speech(seed=2))
    got = bench.measure([kinds])[0]
    assert got.kl == pytest.approx(wanted.kl, rel=1e-4)
    assert got.ce == pytest.approx(wanted.ce_student, rel=1e-5)
    assert bench.reference.ce == pytest.approx(wanted.ce_teacher, rel=1e-5)
    assert bench.tokens == wanted.tokens


def test_assembled_model_is_the_plan_that_was_measured(lm: SpeechLessons, bench: Bench) -> None:
    got = compare(lm, bench.assemble("TMMT"), speech(seed=2))
    assert got.kl == pytest.approx(bench.measure(["TMMT"])[0].kl, rel=1e-4)


def test_dropped_layer_is_a_layer_whose_output_projection_is_zero(
    lm: SpeechLessons, bench: Bench
) -> None:
    without = teacher()
    core = list(without.stack.blocks())[1].core
    with torch.no_grad():
        core.o_proj.weight.zero_()  # type: ignore[attr-defined]
    wanted = compare(lm, without, speech(seed=2))
    assert bench.measure(["T-TT"])[0].kl == pytest.approx(wanted.kl, rel=1e-4)


def test_measures_do_not_depend_on_company_or_order(lm: SpeechLessons, bench: Bench) -> None:
    plans = ["".join(letters) for letters in itertools.product("TM-", repeat=LAYERS)]
    fresh = Bench(lm, bench.pool, speech(seed=2))
    together = dict(zip(plans, fresh.measure(plans[::-1])[::-1], strict=True))
    for plan in ("TTTT", "MT-M", "TMMM"):
        alone = Bench(lm, bench.pool, speech(seed=2)).measure([plan])[0]
        assert alone.kl == pytest.approx(together[plan].kl, rel=1e-6, abs=1e-9)


def test_known_plan_is_not_run_again(lm: SpeechLessons, bench: Bench, monkeypatch: Any) -> None:
    bench.measure(["TTMM"])
    monkeypatch.setattr(Bench, "_layer", lambda *_: pytest.fail("ran a layer"))
    events: list[Event] = []
    bench.measure(["TTMM", "TTMM"], events.append)
    assert sum(event.amount for event in events if isinstance(event, Advance)) == 2


def test_teacher_has_no_distance_to_itself(bench: Bench) -> None:
    assert bench.reference.kl == pytest.approx(0.0, abs=1e-6)


def test_unknown_letter_is_refused(bench: Bench) -> None:
    with pytest.raises(ValueError, match="'TTTS'"):
        bench.measure(["TTTS"])


def test_turns_of_text_and_speech_are_among_what_plans_are_compared_on() -> None:
    counted = teacher(positions="sequential", durations=(), text_chunk=2, speech_chunk=3)
    pool = make_pool(counted, MIXER, speech())
    ce = [Bench(counted, pool, speech(), bistream=n).reference.ce for n in (-1, 0, 50)]
    assert ce[0] == ce[2] != ce[1]


def test_alignment_brings_every_mixer_nearer(lm: SpeechLessons) -> None:
    pool = make_pool(lm, MIXER, speech(), calibrate="none")
    before = Bench(lm, pool, speech(seed=2)).measure(["MMMM"])[0].kl
    align_pool(lm, pool, speech(), steps=15)
    after = Bench(lm, pool, speech(seed=2)).measure(["MMMM"])[0].kl
    assert after < before
    assert not any(value.requires_grad for value in pool.lm.parameters())
    assert not any(value.requires_grad for value in lm.lm.parameters())


def test_window_wider_than_the_speech_costs_nothing(lm: SpeechLessons) -> None:
    pool = make_pool(lm, preset("swa"), [], letter="S")
    found = Bench(lm, pool, speech()).measure(["SSSS", "TSTS"])
    assert all(score.kl < 1e-6 for score in found)


def loud(scores: Sequence[float]) -> Any:
    """A way to hear that knows how bad each conversion is."""
    return lambda kinds: sum(s for s, k in zip(scores, kinds, strict=True) if k != "T")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_as_many_layers_as_asked(bench: Bench, method: str) -> None:
    hear = loud([0.1, 0.2, 0.3, 0.4]) if method == "wer" else None
    found = select(bench, request(method), hear=hear)
    assert len(found.kept) == 2
    assert found.chosen.kinds == bench.plan(found.kept)
    assert found.chosen.kl == pytest.approx(bench.measure([found.chosen.kinds])[0].kl)
    assert sorted(found.ranking) == list(range(LAYERS))
    assert [rival.kinds.count("T") for rival in found.rivals] == [2] * 7
    assert {r.name: r.kinds for r in found.rivals}["block-begin"] == "TMTM"
    assert found.request.startswith(f"auto:{method},k=2")
    assert found.teacher_ce == bench.reference.ce


@pytest.mark.parametrize("method", ["drop", "swap"])
def test_scores_are_the_damage_of_one_layer(bench: Bench, method: str) -> None:
    letter = "-" if method == "drop" else "M"
    found = select(bench, request(method, exchange=0))
    for i, score in enumerate(found.scores):
        kinds = "T" * i + letter + "T" * (LAYERS - i - 1)
        assert score == bench.measure([kinds])[0].kl
    best = sorted(range(LAYERS), key=lambda i: -(found.scores[i] or 0))[:2]
    assert found.kept == tuple(sorted(best))


def test_cosine_is_the_turn_of_the_hidden_state(lm: SpeechLessons, bench: Bench) -> None:
    got = bench.cosine()
    one = Bench(lm, bench.pool, speech(count=1))
    batch = one._batches[0]
    with torch.no_grad():
        before = batch.x
        out = lm.stack(before, positions=batch.positions, capture=(1,))
        pair = before[batch.wanted], out.captured[1][batch.wanted]
        wanted = (1 - torch.cosine_similarity(*pair, dim=-1)).mean()
    assert one.cosine()[0] == pytest.approx(float(wanted), rel=1e-5)
    assert len(got) == LAYERS
    assert all(0 <= value <= 2 for value in got)


def test_restore_gives_back_what_wins_most_at_each_step(bench: Bench) -> None:
    found = select(bench, request("restore", exchange=0))
    kl = {plan: bench.measure([plan])[0].kl for plan in ("MMMM", "TMMM", "MTMM", "MMTM", "MMMT")}
    assert found.scores == tuple(kl["MMMM"] - kl[plan] for plan in ("TMMM", "MTMM", "MMTM", "MMMT"))
    first = found.ranking[0]
    pairs = {i: bench.measure([bench.plan((first, i))])[0].kl for i in range(4) if i != first}
    assert found.kept == tuple(sorted((first, min(pairs, key=lambda i: pairs[i]))))
    assert [step.name.split()[0] for step in found.steps] == ["scores", "restored"]
    assert found.steps[1].scores[first] is None


def test_exchange_never_makes_a_plan_worse_and_ends_where_no_swap_helps(bench: Bench) -> None:
    all_plans = {
        kept: bench.measure([bench.plan(kept)])[0].kl
        for kept in itertools.combinations(range(4), 2)
    }
    worst = max(all_plans, key=lambda kept: all_plans[kept])
    found = select(bench, request("swap", exchange=9), start=worst)
    assert found.steps[0].name == "start"
    assert found.steps[0].kept == worst
    assert [step.kl for step in found.steps] == sorted((s.kl for s in found.steps), reverse=True)
    assert found.chosen.kl < all_plans[worst]
    for old, new in itertools.product(found.kept, range(4)):
        if new not in found.kept:
            other = tuple(sorted({*found.kept, new} - {old}))
            assert all_plans[other] >= found.chosen.kl * (1 - 1e-5)


def test_without_exchange_the_start_stays(bench: Bench) -> None:
    assert select(bench, request("drop", exchange=0), start=(3, 1)).kept == (1, 3)


def test_wer_believes_the_ear_where_ear_and_kl_disagree(bench: Bench) -> None:
    said: list[str] = []

    def hear(kinds: str) -> float:
        said.append(kinds)
        return 0.0 if kinds == "TTTT" else loud([0.0, 0.0, 0.5, 0.4])(kinds)

    found = select(bench, request("wer", candidates=6, exchange=2), hear=hear)
    assert found.kept == (2, 3)
    assert found.ranking[:2] == (2, 3)
    assert found.scores == (0.0, 0.0, 0.5, 0.4)
    assert found.chosen.wer == 0.0
    assert found.teacher_wer == 0.0
    assert {plan.kinds for plan in found.spoken} <= set(said)


def test_wer_speaks_only_layers_that_might_be_kept(bench: Bench) -> None:
    said: list[str] = []

    def hear(kinds: str) -> float:
        said.append(kinds)
        return 0.5

    monkey = replace(request("wer", kept=1, candidates=1, exchange=0))
    found = select(bench, monkey, hear=hear)
    assert len([kinds for kinds in said if kinds.count("M") == 1]) == 4
    assert len(found.spoken) <= 2
    # All sound alike, so the plan of the lower KL is taken.
    assert found.chosen.kl == min(plan.kl for plan in found.spoken)


def test_wer_needs_a_way_to_hear(bench: Bench) -> None:
    with pytest.raises(ValueError, match="hear"):
        select(bench, request("wer"))


@pytest.mark.parametrize("kept", [0, 4])
def test_nothing_to_choose_is_refused(bench: Bench, kept: int) -> None:
    with pytest.raises(ValueError, match="cannot keep"):
        select(bench, request("swap", kept))


@pytest.mark.parametrize("count", [2, 3, 4, 6, 9])
def test_spaced_layers_are_the_best_of_those_allowed(count: int) -> None:
    scores = [0.1, 0.9, 0.8, 0.0, 0.7, 0.2, 0.0, 0.3, 0.4]
    longest = -(-8 // (count - 1)) + (1 if count > 2 else 0)
    allowed = [
        kept
        for kept in itertools.combinations(range(9), count)
        if kept[0] == 0
        and kept[-1] == 8
        and all(b - a <= longest for a, b in itertools.pairwise(kept))
    ]
    best = max(sum(scores[i] for i in kept) for kept in allowed)
    got = spaced(scores, count)
    assert got in allowed
    assert sum(scores[i] for i in got) == pytest.approx(best)
