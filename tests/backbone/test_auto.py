"""Requests to measure: what is read, what is refused with the fix, and their printed form."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mamtra_cli.backbone.auto import METHODS, AutoRequest, is_auto, read_auto
from mamtra_cli.errors import PlanError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("auto:swap,k=6", AutoRequest(method="swap", kept=6)),
        ("1:3@auto:drop", AutoRequest(method="drop", kept=6)),
        ("2:6@auto:drop", AutoRequest(method="drop", kept=6)),
        ("auto:wer,k=2,sentences=5,candidates=2", AutoRequest(
            method="wer", kept=2, sentences=5, candidates=2)),
        ("auto:swap-train,k=1,steps=0,exchange=3,tokens=9,bistream=25", AutoRequest(
            method="swap-train", kept=1, steps=0, exchange=3, tokens=9, bistream=25)),
        ("auto:restore,from=preset:mamtra-1:5", AutoRequest(
            method="restore", kept=0, start="preset:mamtra-1:5")),
        ("auto:restore,k=4,from=T=0,8,11,16", AutoRequest(
            method="restore", kept=4, start="T=0,8,11,16")),
        (" auto:cosine,k=23 ", AutoRequest(method="cosine", kept=23)),
    ],
)  # fmt: skip
def test_request_reads_as(text: str, wanted: AutoRequest) -> None:
    assert is_auto(text)
    assert read_auto(text, 24) == wanted


@pytest.mark.parametrize("text", ["1:3", "1:3@spread", "T=0", "automatic", "auto-swap", ""])
def test_plans_written_out_are_no_requests(text: str) -> None:
    assert not is_auto(text)


@pytest.mark.parametrize(
    ("text", "fact", "hint"),
    [
        ("auto", "score ``", "swap-train"),
        ("auto:swop,k=2", "score `swop`", "did you mean `auto:swap`?"),
        ("auto:swap", "how many layers stay", "auto:swap,k=N"),
        ("auto:swap,k=0", "nothing to choose", "1 to 23"),
        ("auto:swap,k=24", "nothing to choose", "1 to 23"),
        ("1:0@auto:swap", "nothing to choose", "1 to 23"),
        ("0:1@auto:swap", "nothing to choose", "1 to 23"),
        ("0:0@auto:swap", "names no layer", "1:3"),
        ("1:4@auto:swap", "does not fit 24 layers", "--round"),
        ("1:3@auto:swap,k=0", "both a ratio and k", "leave out `k=0`"),
        ("1:3@auto:swap,k=2", "both a ratio and k", "--plan auto:swap,k=2"),
        ("auto:swap,k=x", "`k`", "whole number"),
        ("auto:swap,k=2,k=3", "given twice", "steps"),
        ("auto:swap,k=2,seed=1", "key `seed`", "candidates"),
        ("auto:swap,k=2,kind=Q", "kind `Q`", "M"),
        ("auto:swap,k=2,exchange=-1", "`exchange`", "from 0 on"),
        ("auto:wer,k=2,sentences=0", "`sentences`", "from 1 on"),
        ("auto:swap,k=2,bistream=101", "percentage", "100"),
        ("auto:smart,k=1", "both ends", "k=2"),
        ("auto:swap,k=" + "9" * 5000, "`k`", "whole number"),
    ],
)
def test_bad_request_is_refused_with_the_fix(text: str, fact: str, hint: str) -> None:
    with pytest.raises(PlanError) as said:
        read_auto(text, 24)
    assert fact in said.value.message
    assert hint in (said.value.hint or "")


def test_ratio_that_does_not_fit_is_rounded_when_asked() -> None:
    assert read_auto("1:4@auto:swap", 24, rounded=True).kept == 5


@given(
    st.sampled_from(METHODS),
    st.integers(2, 23),
    st.integers(0, 9),
    st.integers(0, 100),
    st.sampled_from(["", "preset:mamtra-1:5", "T=0,3,7"]),
)
def test_printed_form_reads_back(
    method: str, k: int, exchange: int, turns: int, start: str
) -> None:
    request = AutoRequest(method=method, kept=k, exchange=exchange, bistream=turns, start=start)
    assert read_auto(request.source, 24) == request


@given(st.text(max_size=20), st.integers(1, 30))
def test_any_ending_is_a_request_or_a_plan_error(text: str, n: int) -> None:
    with contextlib.suppress(PlanError):
        assert 0 <= read_auto(f"auto:{text}", n).kept < n
