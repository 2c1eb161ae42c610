"""A plan that is measured: through convert, from the cache, and every way to ask wrongly."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny_model import write_tiny_model
from torch import nn

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.engine.choosing import cache as selection_cache
from mamtra_cli.engine.choosing import plan as selection_plan
from mamtra_cli.errors import DataError, MamtraError, OutputError, PlanError, UsageError
from mamtra_cli.events import Event, Note
from mamtra_cli.recipes import ConvertRecipe, ConvertResult
from mamtra_cli.tasks.convert import convert
from mamtra_cli.user_folders import cache_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny teacher and pairs of text and tokens."""
    made = tmp_path_factory.mktemp("selection")
    lines = [
        json.dumps({"text": f"Word number {i}.", "tokens": [(7 * i + j) % 49 for j in range(20)]})
        for i in range(40)
    ]
    (made / "pairs.jsonl").write_text("\n".join(lines))
    write_tiny_model(made / "teacher")
    return made


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAMTRA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / selection_cache.FOLDER


def ask(folder: Path, **knobs: Any) -> ConvertRecipe:
    """A dry run that measures on the pairs of the folder."""
    return replace(
        ConvertRecipe(
            teacher=str(folder / "teacher"),
            data=folder / "pairs.jsonl",
            placement="auto:swap",
            ratio="1:3",
            calibration_tokens=300,
            check_tokens=100,
            device="cpu",
            dry_run=True,
        ),
        **knobs,
    )


def run(recipe: ConvertRecipe) -> tuple[ConvertResult, list[str]]:
    events: list[Event] = []
    result = convert(recipe, events.append)
    return result, [event.text for event in events if isinstance(event, Note) and event.warning]


def test_measured_plan_is_written_out_with_its_way(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "student"
    result, _ = run(ask(folder, output=output, dry_run=False))
    chosen = result.selection
    assert chosen is not None
    assert [i for i, kind in enumerate(result.kinds) if kind == "T"] == list(chosen.kept)
    assert len(chosen.kept) == 1
    told = json.loads((output / "mamtra.json").read_text())
    assert told["plan"]["kinds"] == result.kinds
    assert told["plan"]["source"] == "auto:swap,k=1"
    assert told["selection"]["scores"] == list(chosen.scores)
    assert told["recipe"]["placement"] == "auto:swap"
    assert json.loads((output / "config.json").read_text())["config"]["lm"]["kinds"] == result.kinds


def test_same_question_is_answered_from_the_cache(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = run(ask(folder))
    assert first.selection is not None
    assert not first.selection.cached
    assert len(list(cache.iterdir())) == 1
    monkeypatch.setattr(selection_plan, "select", lambda *_, **__: pytest.fail("measured again"))
    second, _ = run(ask(folder, check_tokens=0, output=None))
    assert second.selection is not None
    assert second.selection == replace(first.selection, cached=True)


@pytest.mark.parametrize(
    "knobs",
    [
        {"seed": 1},
        {"mixer": "mamtra-paper"},
        {"placement": "auto:drop"},
        {"ratio": "1:1"},
        {"calibrate": "gain"},
        {"ridge": 0.1},
        {"calibration_tokens": 200},
        {"placement": "auto:swap,exchange=0"},
        {"init": "random"},
    ],
    ids=str,
)
def test_another_question_is_measured_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch, knobs: dict[str, Any]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(selection_cache, "load", lambda key, _: asked.append(key))
    monkeypatch.setattr(selection_plan, "speech", _stop)
    for recipe in (ask(folder), ask(folder, **knobs)):
        with pytest.raises(_Stopped):
            convert(recipe)
    assert asked[0] != asked[1]


class _Stopped(Exception):
    """Raised in place of measuring."""


def _stop(*_: Any) -> None:
    raise _Stopped


def test_other_weights_and_other_data_are_other_questions(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    before = selection_cache.weights_hash(layer)
    assert selection_cache.weights_hash(layer) == before
    with torch.no_grad():
        layer.weight[0, 0] += 1e-6
    assert selection_cache.weights_hash(layer) != before
    (tmp_path / "other.jsonl").write_text((folder / "pairs.jsonl").read_text() + "\n")
    hashes = [
        selection_plan.data_hash(path)
        for path in (None, folder / "pairs.jsonl", tmp_path / "other.jsonl")
    ]
    assert len(set(hashes)) == 3
    with pytest.raises(DataError, match="cannot read"):
        selection_plan.data_hash(tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"method": 3}'])
def test_damaged_cache_is_told_of_and_measured_again(folder: Path, cache: Path, text: str) -> None:
    cache_folder(selection_cache.FOLDER).mkdir(parents=True)
    (cache / "key.json").write_text(text)
    events: list[Event] = []
    assert selection_cache.load("key", events.append) is None
    assert [type(event) for event in events] == [Note]
    assert selection_cache.load("other", events.append) is None
    assert len(events) == 1


def test_cache_that_cannot_be_written_costs_a_warning(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MAMTRA_CACHE", str(tmp_path / "file"))
    result, warnings = run(ask(folder))
    assert result.selection is not None
    assert any("not cached" in text for text in warnings)


def test_search_goes_on_from_a_plan(folder: Path) -> None:
    result, _ = run(ask(folder, plan="auto:drop,exchange=0,from=T=1,2", placement="block-begin"))
    assert result.kinds == "MTTM"
    assert result.selection is not None
    assert result.selection.steps[0].name == "start"


def test_windows_are_chosen_for_too(folder: Path) -> None:
    result, _ = run(ask(folder, mixer="swa"))
    assert sorted(result.kinds) == ["S", "S", "S", "T"]


def test_heat_map_is_drawn_by_a_dry_run_and_from_the_cache(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("one.svg", "two.svg"):
        run(ask(folder, heat_map=tmp_path / name))
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


@pytest.mark.parametrize(
    ("knobs", "error", "words", "hint"),
    [
        pytest.param({"placement": "auto:swop"}, PlanError, "`swop`", "auto:swap", id="method"),
        pytest.param({"placement": "auto:"}, PlanError, "score ``", "restore", id="no-method"),
        pytest.param({"ratio": "1:2"}, PlanError, "does not fit", "--round", id="ratio"),
        pytest.param({"ratio": "1:0"}, PlanError, "nothing to choose", "1 to 3", id="all"),
        pytest.param(
            {"plan": "pattern:TM"}, PlanError, "nothing to choose", "from=pattern:TM", id="fixed"
        ),
        pytest.param({"plan": "auto:drop,k=1"}, PlanError, "nothing", "leave one", id="two-autos"),
        pytest.param(
            {"placement": "auto:swap,from=T=0,1"}, PlanError, "keeps 2 layers", "k=", id="from"
        ),
        pytest.param(
            {"placement": "spread", "heat_map": Path("a.svg")},
            UsageError,
            "draws",
            "auto",
            id="map",
        ),
        pytest.param({"heat_map": Path("a.txt")}, UsageError, "no picture", ".svg", id="suffix"),
        pytest.param(
            {"heat_map": Path("nowhere/a.svg")}, OutputError, "no folder", "mkdir", id="place"
        ),
    ],
)
def test_wrong_question_is_refused_with_the_fix(
    folder: Path, knobs: dict[str, Any], error: type[MamtraError], words: str, hint: str
) -> None:
    with pytest.raises(error) as said:
        convert(ask(folder, **knobs))
    assert words in said.value.message
    assert hint in (said.value.hint or "")


def test_ratio_that_does_not_divide_is_rounded_when_asked(folder: Path) -> None:
    result, _ = run(ask(folder, ratio="1:2", round=True, placement="auto:cosine,exchange=0"))
    assert result.kinds.count("T") == 1


def test_too_few_utterances_are_refused(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "pairs.jsonl").read_text().splitlines()[:4]
    (tmp_path / "few.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match="too few"):
        convert(ask(folder, data=tmp_path / "few.jsonl"))


STACKS = {
    "small": dict(d_model=32, n_layers=4, n_heads=2, n_kv_heads=1, head_dim=16, d_ff=64),
    "large": dict(d_model=896, n_layers=24, n_heads=14, n_kv_heads=2, head_dim=64, d_ff=4864),
}


@pytest.mark.parametrize(
    ("stack", "device", "knobs", "placement", "told"),
    [
        pytest.param("small", "cpu", {}, "auto:swap-train", "", id="cheap"),
        pytest.param("large", "cpu", {}, "block-begin", "takes long", id="long"),
        pytest.param("large", "cuda", {}, "auto:swap-train", "", id="on-a-gpu"),
        pytest.param("small", "cpu", {"dry_run": True}, "block-begin", "dry run", id="dry-run"),
        pytest.param("small", "cpu", {"calibrate": "none"}, "block-begin", "speak", id="no-fit"),
        pytest.param("small", "cpu", {"ratio": "0:1"}, "block-begin", "nothing", id="no-choice"),
        pytest.param("small", "cpu", {"plan": "T=0"}, "block-begin", "", id="written-out"),
        pytest.param(
            "large", "cpu", {"heat_map": Path("a.svg")}, "auto:swap-train", "", id="to-draw"
        ),
        pytest.param("small", "cpu", {"placement": "spread"}, "spread", "", id="asked-for"),
    ],
)
def test_auto_measures_layers_where_that_is_cheap_and_says_why_not(
    stack: str, device: str, knobs: dict[str, Any], placement: str, told: str
) -> None:
    events: list[Event] = []
    config = HybridConfig(**STACKS[stack])
    recipe = selection_plan.settled(ConvertRecipe(**knobs), config, device, events.append)
    assert recipe.placement == placement
    notes = [event.text for event in events if isinstance(event, Note)]
    assert [told in note for note in notes] == ([True] if told else [])
