"""Pictures are refused before any work; a file that is there is kept."""

import sys
from pathlib import Path

import pytest

from mamtra_cli.engine.pictures import check_picture
from mamtra_cli.errors import MissingDependencyError, OutputError, UsageError

pytest.importorskip("matplotlib")


def test_what_cannot_be_drawn_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no picture"):
        check_picture(tmp_path / "map.txt")
    with pytest.raises(OutputError, match="no folder"):
        check_picture(tmp_path / "nowhere" / "map.svg")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError) as said:
        check_picture(tmp_path / "map.svg")
    assert "mamtra-cli[plot]" in str(said.value.hint)
