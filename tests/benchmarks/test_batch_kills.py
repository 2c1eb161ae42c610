"""`benchmarks/batch_kills.py` on few lines: killed runs end as one that was left alone."""

from pathlib import Path

from benchmarks.batch_kills import Progress, campaign, lines_of
from tests.command import python


def test_a_killed_batch_ends_with_every_line_once_and_the_same_bytes(tmp_path: Path) -> None:
    found = campaign(tmp_path, lines=20, kills=2, seed=1, python=python())
    assert found.once == found.equal == 20, found
    assert found.kills >= 1


def test_lines_are_the_same_again_and_all_different_in_seed() -> None:
    lines = list(lines_of(50, 3))
    assert lines == list(lines_of(50, 3))
    assert len({line["seed"] for line in lines}) == 50


def test_what_was_done_is_kept(tmp_path: Path) -> None:
    first = Progress(tmp_path / "progress.json")
    with first.timed("whole_seconds"):
        first.add(tries=1, kills=1)
    again = Progress(tmp_path / "progress.json")
    assert again.told == first.told
    assert (again.told["tries"], again.told["whole_seconds"] > 0) == (1, True)
