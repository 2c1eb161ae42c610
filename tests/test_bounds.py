"""Numbers of a config have ranges, wherever they came from."""

from dataclasses import dataclass

import pytest

from mamtra_cli.bounds import Kernels, Layers, Share, check_fields
from mamtra_cli.config import brief, from_dict, parse_json
from mamtra_cli.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Sizes:
    layers: Layers = 1
    kernels: Kernels = (3,)
    share: Share = 0.5
    free: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)


@pytest.mark.parametrize(
    "fields",
    [
        {"layers": 0},
        {"layers": 10**9},
        {"layers": 10**400},
        {"kernels": [3, 10**9]},
        {"share": 1.5},
        {"share": float("nan")},
        {"free": float("inf")},
        {"free": 10**400},
    ],
    ids=str,
)
def test_number_out_of_its_range_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError) as said:
        from_dict(Sizes, fields, "a file")
    assert next(iter(fields)) in said.value.message
    assert len(said.value.message) < 200


def test_number_at_the_ends_of_its_range_is_taken() -> None:
    assert from_dict(Sizes, {"layers": 1024, "share": 1.0}, "a file").layers == 1024


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 100_000, "", "nul", b"\xff"])
def test_json_that_is_none_is_one_kind_of_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


def test_value_is_shown_short_whatever_it_is() -> None:
    bomb: list[object] = [1] * 9
    for _ in range(40):
        bomb = [bomb] * 9
    for value in ("x" * 10**6, bomb, {"k" * 10**5: 1}, 10**4000, list(range(10**6))):
        assert len(brief(value)) < 400
