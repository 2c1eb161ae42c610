"""Jobs that do not meet, lists that stay whole."""

from pathlib import Path

import pytest

from mamtra_cli.engine.corpora.clip import Bad
from mamtra_cli.engine.preparing.prepared import BadList, Job
from mamtra_cli.errors import DataError, OutputError
from mamtra_cli.part import Part


def test_the_same_job_does_not_run_twice_and_others_do(tmp_path: Path) -> None:
    first, second = (Job(folder=tmp_path, part=Part(index=k, count=2)) for k in (1, 2))
    with first.running():
        with second.running():
            pass
        with pytest.raises(OutputError, match="another `mamtra prepare`"), first.running():
            pass
    with first.running():
        pass


def test_a_job_removes_what_it_left_when_it_was_killed_and_nothing_else(tmp_path: Path) -> None:
    mine = tmp_path / ".rows-0001-of-0002-00003.parquet.77.partial"
    theirs = tmp_path / ".rows-0002-of-0002-00003.parquet.78.partial"
    for path in (mine, theirs):
        path.write_bytes(b"half")
    with Job(folder=tmp_path, part=Part(index=1, count=2)).running():
        assert not mine.exists()
        assert theirs.exists()


def test_entries_of_another_input_stay_in_the_list(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    entry = Bad(id="a", source="x/a.wav", code="silent", cause="nothing is heard in it")
    for name in ("one", "two", "two"):
        bad = BadList(path, name)
        bad.add(entry)
        bad.write()
    assert path.read_text().count("\n") == 2
    assert BadList(path, "two").write() == path
    assert path.read_text().count("\n") == 1
    assert BadList(path, "one").write() is None
    assert not path.exists()


def test_bad_list_keeps_names_that_hold_line_separators(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    first = BadList(path, "one")
    first.add(Bad(id="a\u2028b", source="one/a\x85.wav", code="missing", cause="no `a\x0b`"))
    first.write()
    written = path.read_text(encoding="utf-8")
    second = BadList(path, "two")
    second.write()
    assert path.read_text(encoding="utf-8") == written


def test_bad_list_takes_names_that_are_no_utf8(tmp_path: Path) -> None:
    made = BadList(tmp_path / "bad.jsonl", "one")
    made.add(Bad(id="\udce9", source="one/\udce9", code="missing", cause="no `\ud800`"))
    assert made.write() is not None
    assert "\\\\udce9" in (tmp_path / "bad.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", ["{", "[]", "null"])
def test_damaged_bad_list_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "bad.jsonl").write_text(f"{line}\n")
    with pytest.raises(DataError, match="is damaged"):
        BadList(tmp_path / "bad.jsonl", "one")
