"""`benchmarks/gpu.py` on the pretended device: every part runs, is kept, and is taken up again."""

import json
from pathlib import Path

import pytest
import torch
from benchmarks.card.parts import PARTS
from benchmarks.gpu import measure
from tests.pretended_cuda import pretended_cuda

DEVICE = torch.device("cuda", 0)


def rehearsed(out: Path, minutes: float) -> dict[str, object]:
    with pretended_cuda():
        path = measure(out, minutes, list(PARTS), rehearse=True, device=DEVICE)
    kept: dict[str, object] = json.loads(path.read_text())
    return kept


@pytest.mark.slow
def test_rehearsal_measures_every_part_and_is_taken_up_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    out = tmp_path / "gpu"
    assert rehearsed(out, -1.0)["rows"] == []
    assert "Run it again" in out.with_suffix(".md").read_text()
    rows = rehearsed(out, 9.0)["rows"]
    assert isinstance(rows, list)
    assert {row["part"] for row in rows} == set(PARTS)
    assert not [row for row in rows if "error" in row]
    equal = [row["equal"] for row in rows if "equal" in row]
    assert equal == [1.0, 1.0]
    assert "## plans" in out.with_suffix(".md").read_text()
    capsys.readouterr()
    assert rehearsed(out, -1.0)["rows"] == rows
    assert capsys.readouterr().err == ""
