"""LayerPlan: every published layout, the whole grammar, its refusals, printing and storage."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mamtra_cli.backbone.kinds import kinds
from mamtra_cli.backbone.placement import PRESETS, STRATEGIES
from mamtra_cli.backbone.plan import LayerPlan
from mamtra_cli.errors import PlanError

kinds_text = st.text(alphabet="".join(kinds()), min_size=1, max_size=40)


def golden_plans(goldens: Path) -> dict[str, Any]:
    data = json.loads((goldens / "hybrid" / "layer_plans.json").read_text())
    assert isinstance(data, dict)
    return data


def test_every_golden_plan_is_reproduced(goldens: Path) -> None:
    rows = golden_plans(goldens)["plans"]
    assert rows
    for row in rows:
        text = f"{row['ratio']}@{row['strategy']}"
        plan = LayerPlan.parse(text, row["n_layers"], rounded=True)
        where = (row["n_layers"], text)
        assert list(plan.attention) == row["attention"], where
        assert plan.kinds == row["kinds"], where
        assert plan.exact is row["exact"], where
        if not row["exact"]:
            with pytest.raises(PlanError) as caught:
                LayerPlan.parse(text, row["n_layers"])
            assert "--plan T=" in str(caught.value.hint)


def test_every_golden_preset_is_reproduced(goldens: Path) -> None:
    for name, row in golden_plans(goldens)["presets"].items():
        plan = LayerPlan.parse(f"preset:{name}", row["n_layers"])
        assert plan.kinds == row["kinds"]
        assert list(plan.attention) == row["attention"]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("n_layers", [8, 12, 23, 28])
def test_preset_refuses_other_depths(name: str, n_layers: int) -> None:
    with pytest.raises(PlanError, match="is for 24 layers"):
        LayerPlan.parse(f"preset:{name}", n_layers)


@pytest.mark.parametrize(
    ("text", "n_layers", "kinds"),
    [
        ("2:6", 8, "TMMMTMMM"),
        ("1:3", 8, "TMMMTMMM"),
        ("1:3@blockbeg", 8, "TMMMTMMM"),
        ("1:3@interleaved", 8, "TMMMTMMM"),
        ("1:3@BlockEnd", 8, "MMMTMMMT"),
        ("1:1@front,kind=S", 4, "TTSS"),
        ("3:0", 3, "TTT"),
        ("0:7", 3, "MMM"),
        ("pattern:TM3", 8, "TMMMTMMM"),
        ("pattern:(TM3)*2", 8, "TMMMTMMM"),
        ("pattern:TM3*2", 8, "TMMMTMMM"),
        ("pattern:T(MS)*3T", 8, "TMSMSMST"),
        ("pattern:T2M4T2", 8, "TTMMMMTT"),
        ("pattern:TNSM", 4, "TNSM"),
        ("T=0,3", 5, "TMMTM"),
        ("T=0-6:3", 8, "TMMTMMTM"),
        ("T=", 3, "MMM"),
        ("T=none", 3, "MMM"),
        ("T=1,kind=S", 3, "STS"),
        ("M=1-2,4", 5, "TMMTM"),
        ("M=1,kind=S", 3, "TST"),
    ],
)
def test_expression_reads_as(text: str, n_layers: int, kinds: str) -> None:
    assert LayerPlan.parse(text, n_layers).kinds == kinds


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("", "cannot be read"),
        ("1-3", "cannot be read"),
        ("0:0", "names no layer"),
        ("1:4", "does not fit 24 layers"),
        ("1:3@sideways", "placement `sideways`"),
        ("1:3,kind=T", "cannot replace"),
        ("1:3,kind=Q", "cannot replace"),
        ("pattern:", "does not divide"),
        ("pattern:TM4", "does not divide 24 layers"),
        ("pattern:T0M", "count of 0"),
        ("pattern:T99999999999", "longer than"),
        ("pattern:(TM)*9999999999999", "longer than"),
        ("pattern:XY", "layer kind `X`"),
        ("pattern:(TM", "cannot be read"),
        ("pattern:tm", "cannot be read"),
        ("T=24", "layer 24"),
        ("T=5-3", "is empty"),
        ("T=1-9:0", "is empty"),
        ("T=a", "cannot be read"),
        ("T=1,,2", "cannot be read"),
        ("T=" + "9" * 5000, "cannot be read"),
        ("preset:mamtra", "preset `mamtra` is unknown"),
        ("file:/nowhere/plan.json", "cannot be read"),
        ("auto:guess,k=2", "score `guess` is unknown"),
        ("auto:swap", "how many layers stay"),
        ("auto:swap,k=99", "keeps 99 of 24 layers"),
        ("auto:swap,6", "cannot be read"),
        ("auto:swap,k=6", "is measured on a teacher"),
        ("1:3@auto:restore", "is measured on a teacher"),
    ],
)
def test_bad_expression_is_refused_with_a_hint(text: str, fact: str) -> None:
    with pytest.raises(PlanError, match=fact) as caught:
        LayerPlan.parse(text, 24)
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "hint"), [("blok", "did you mean `block-"), ("x", "use block-begin, block-end, ")]
)
def test_unknown_placement_names_the_nearest_and_the_measured_ones(name: str, hint: str) -> None:
    with pytest.raises(PlanError, match=f"placement `{name}` is unknown") as caught:
        LayerPlan.parse(f"1:1@{name}", n_layers=8)
    assert (caught.value.hint or "").startswith(hint)
    assert "`auto:METHOD`" in (caught.value.hint or "")


def test_ratio_property_counts_the_layers_there_are() -> None:
    assert LayerPlan(kinds="TMMMTMMM").ratio == "1:3"
    assert LayerPlan(kinds="TSM").ratio == "1:2"
    assert LayerPlan(kinds="TT").ratio == "1:0"


def test_misfit_names_the_ratios_that_fit() -> None:
    with pytest.raises(PlanError) as caught:
        LayerPlan.parse("pattern:TM4", 24)
    assert "1:1, 1:2, 1:3, 1:5, 1:7, 1:11 and 1:23 fit 24 layers" in str(caught.value.hint)


def test_one_line_form_shows_counts_groups_and_fingerprint() -> None:
    plan = LayerPlan.parse("1:3", 24)
    assert str(plan) == (
        "24 layers  T 6 / M 18 (1:3, block-begin)  TMMM TMMM TMMM TMMM TMMM TMMM  "
        f"T=0,4,8,12,16,20  {plan.fingerprint}"
    )
    assert str(LayerPlan.parse("T=0,8,11,16", 24)).startswith("24 layers  T 4 / M 20  TMMM MMMM")
    assert "(1:5, spread, rounded)" in str(LayerPlan.parse("1:5@spread", 8, rounded=True))


def test_fingerprint_depends_on_kinds_alone() -> None:
    by_ratio, by_set = LayerPlan.parse("1:3", 8), LayerPlan.parse("T=0,4", 8)
    assert by_ratio.fingerprint == by_set.fingerprint
    assert by_ratio.fingerprint != LayerPlan.parse("1:1", 8).fingerprint
    assert len(by_ratio.fingerprint) == len("sha1:") + 8


def test_compare_lists_the_layers_that_differ() -> None:
    begin, end = LayerPlan.parse("1:3", 8), LayerPlan.parse("1:3@block-end", 8)
    assert begin.compare(end) == ((0, "T", "M"), (3, "M", "T"), (4, "T", "M"), (7, "M", "T"))
    assert begin.compare(begin) == ()
    with pytest.raises(PlanError):
        begin.compare(LayerPlan.parse("1:3", 12))


def test_warning_only_without_attention_in_layer_0() -> None:
    assert LayerPlan.parse("1:3", 8).warning() is None
    assert "layer 0" in str(LayerPlan.parse("1:3@back", 8).warning())


def test_plan_file_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plan = LayerPlan.parse("T=0,5,kind=S", 12)
    path.write_text(plan.to_json())
    assert LayerPlan.parse(f"file:{path}", 12) == plan
    with pytest.raises(PlanError, match="is for 12 layers"):
        LayerPlan.parse(f"file:{path}", 8)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"kinds": 3}',
        '{"n_layers": 2}',
        '{"n_layers": 3, "kinds": "TM"}',
        '{"kinds": "TX"}',
        '{"kinds": ""}',
        '{"kinds": "TM", "extra": 1}',
    ],
)
def test_damaged_json_is_refused(text: str) -> None:
    with pytest.raises(PlanError):
        LayerPlan.from_json(text)


@given(kinds_text, st.text(max_size=12))
def test_json_round_trip_keeps_everything(kinds: str, source: str) -> None:
    plan = LayerPlan(kinds=kinds, source=source)
    assert LayerPlan.from_json(plan.to_json()) == plan
    assert plan.fingerprint in str(plan)


@given(kinds_text)
def test_pattern_round_trip_keeps_kinds(kinds: str) -> None:
    plan = LayerPlan(kinds=kinds)
    assert LayerPlan.parse(f"pattern:{plan.pattern}", len(kinds)).kinds == kinds


@given(st.text(alphabet="TM", min_size=1, max_size=40))
def test_set_round_trip_keeps_kinds(kinds: str) -> None:
    kept = ",".join(map(str, LayerPlan(kinds=kinds).attention)) or "none"
    assert LayerPlan.parse(f"T={kept}", len(kinds)).kinds == kinds


@given(st.integers(2, 60), st.integers(0, 9), st.integers(0, 9), st.sampled_from(STRATEGIES))
def test_rounded_ratio_keeps_its_count(n: int, a: int, b: int, strategy: str) -> None:
    if a + b == 0:
        return
    plan = LayerPlan.parse(f"{a}:{b}@{strategy}", n, rounded=True)
    wanted = n * a / (a + b)
    got = len(plan.attention)
    assert abs(got - wanted) <= 0.5 or got in (1, n - 1)
    assert LayerPlan.parse(plan.source, n, rounded=True) == plan
    assert plan.exact == (n * a % (a + b) == 0)


@given(st.text(max_size=30), st.integers(1, 30))
def test_any_text_is_a_plan_or_a_plan_error(text: str, n: int) -> None:
    with contextlib.suppress(PlanError):
        assert LayerPlan.parse(text, n).n_layers == n


def test_a_plan_of_attention_layers_leaves_the_others_where_they_are() -> None:
    plan = LayerPlan.parse("1:1", 2).within("TNNTN")
    assert (plan.kinds, plan.converted, plan.restored) == ("TNNMN", (3,), "TNNTN")
    assert LayerPlan.parse("1:1", 2).within("TT").source == "1:1@block-begin"
