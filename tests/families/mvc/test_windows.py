"""Sizes of windows and lengths of phones; what windows give is in test_stream.py."""

from math import log2

import pytest

from mamtra_cli.families.mvc.windows import Windows, durations


def test_rounded_durations_add_up() -> None:
    wished = [log2(2.4)] * 100
    counts, rest = durations(wished)
    assert sum(counts) in (239, 240, 241)
    assert abs(rest) <= 1
    assert sum(durations(wished, 1.2)[0]) in (199, 200, 201)
    assert durations([-4.0] * 5)[0] == (1,) * 5


def test_what_is_owed_goes_on_to_the_next_window() -> None:
    wished = [log2(2.4)] * 11
    first, rest = durations(wished[:4])
    assert first + durations(wished[4:], rest=rest)[0] == durations(wished)[0]


def test_seconds_become_phones() -> None:
    assert Windows.of_seconds(0.5, 12.5).ahead == 7


def test_a_window_without_phones_is_refused() -> None:
    with pytest.raises(ValueError, match="commits one phone"):
        Windows(commit=0)
