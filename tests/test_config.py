"""Plain data to dataclasses and back: strict, nested, worded."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from mamtra_cli.config import dump_json, from_dict, nearest, read_data, to_dict
from mamtra_cli.errors import UsageError
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config, LMConfig
from mamtra_cli.recipes import ConvertRecipe


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int = 4
    levels: tuple[int, ...] = (3, 3)


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    rate: float = 0.5
    flag: bool = False
    path: Path | None = None
    pair: tuple[int, float] = (1, 2.0)
    mode: Literal["a", "b"] = "a"
    inner: Inner = Inner()
    table: dict[str, Any] = field(default_factory=dict)


FULL = Outer(
    name="x",
    rate=1.0,
    flag=True,
    path=Path("a/b"),
    pair=(3, 4.0),
    mode="b",
    inner=Inner(width=1, levels=(5, 7)),
    table={"k": [1]},
)


def test_round_trip_keeps_every_type() -> None:
    data = json.loads(dump_json(FULL))
    assert data["path"] == "a/b"
    assert from_dict(Outer, data, "test") == FULL


@pytest.mark.parametrize("value", [CosyVoice2Config(), ConvertRecipe()], ids=["model", "recipe"])
def test_real_configs_round_trip(value: Any) -> None:
    assert from_dict(type(value), json.loads(dump_json(value)), "test") == value


def test_published_defaults_are_kept_where_keys_are_missing() -> None:
    assert from_dict(CosyVoice2Config, {"lm": {"n_layers": 2}}, "test").lm == LMConfig(n_layers=2)


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        pytest.param(
            {"nme": "x"}, "unknown key `nme` in r.toml", "did you mean `name`?", id="near"
        ),
        pytest.param({"name": "x", "qqq": 1}, "unknown key `qqq` in r.toml", None, id="far"),
        pytest.param({}, "missing key `name` in r.toml", None, id="missing"),
        pytest.param(
            {"name": "x", "inner": {"widht": 1}},
            "unknown key `widht` in `inner` of r.toml",
            "did you mean `width`?",
            id="nested",
        ),
        pytest.param({"name": 3}, "`name = 3` in r.toml is not a text", None, id="text"),
        pytest.param(
            {"name": "x", "inner": {"width": True}},
            "`width = True` in `inner` of r.toml is not a whole number",
            None,
            id="bool-for-int",
        ),
        pytest.param(
            {"name": "x", "mode": "c"},
            "`mode = 'c'` in r.toml is none of the known values",
            None,
            id="literal",
        ),
        pytest.param(
            {"name": "x", "pair": [1]}, "`pair` in r.toml has 1 items, not 2", None, id="pair"
        ),
        pytest.param(
            {"name": "x", "flag": 1}, "`flag = 1` in r.toml is not true or false", None, id="flag"
        ),
        pytest.param(
            {"name": "x", "inner": 3}, "`inner = 3` in r.toml is not a table", None, id="table"
        ),
    ],
)
def test_bad_data_is_named(data: dict[str, Any], message: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as said:
        from_dict(Outer, data, "r.toml")
    assert said.value.message == message
    if hint:
        assert said.value.hint == hint


def test_whole_numbers_pass_for_numbers() -> None:
    assert from_dict(Outer, {"name": "x", "rate": 2}, "test").rate == 2.0


def test_to_dict_makes_json_of_paths_and_tuples() -> None:
    assert to_dict({"a": (Path("x"), Inner())}) == {"a": ["x", {"width": 4, "levels": [3, 3]}]}


def test_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_data(tmp_path / "none.toml")


def test_nearest_finds_a_typo_and_nothing_else() -> None:
    assert nearest("sprad", ["spread", "front"]) == "spread"
    assert nearest("qqqq", ["spread", "front"]) is None
    assert nearest("F1", ["m1", "f1"]) == "f1"


@pytest.mark.parametrize(("name", "text"), [("a.toml", 'x = "1"'), ("a.json", '{"x": "1"}')])
def test_recipe_may_begin_with_a_byte_order_mark(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert read_data(tmp_path / name) == {"x": "1"}
