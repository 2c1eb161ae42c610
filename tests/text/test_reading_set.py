"""The measured set of readings: nothing on it is read worse than it was."""

import pytest

from benchmarks import reading

ROWS = list(reading.rows())


@pytest.fixture(scope="module")
def wrong() -> list[dict[str, object]]:
    front = reading.mamtra()
    return [row for row in ROWS if not reading.ours_is_right(row, front)[0]]


def test_the_set_is_wide() -> None:
    assert len(ROWS) > 750
    assert len({row["kind"] for row in ROWS}) > 60


def test_nothing_that_changes_a_meaning_is_read_wrong(wrong: list[dict[str, object]]) -> None:
    assert [row["id"] for row in wrong if row["severity"] == 1] == []


def test_readings_are_right(wrong: list[dict[str, object]]) -> None:
    assert len(wrong) <= 0.01 * len(ROWS), [row["id"] for row in wrong]
