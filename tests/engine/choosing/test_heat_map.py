"""The picture of layer scores: whole files, same bytes for same scores."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from mamtra_cli.engine.choosing.heat_map import HeatRow, draw, short

pytest.importorskip("matplotlib")

ROWS = [
    HeatRow(name="drop", scores=[0.123, 2.5, 0.0], kept=[1]),
    HeatRow(name="restored 2", scores=[None, -0.25, 1e-7], kept=[1, 2]),
]


def test_svg_holds_every_score_as_text(tmp_path: Path) -> None:
    draw(tmp_path / "map.svg", ROWS, title="auto:drop")
    text = "".join(ElementTree.parse(tmp_path / "map.svg").getroot().itertext())
    for word in ("0.123", "2.50", "-0.250", "1e-7", "drop", "restored 2", "auto:drop"):
        assert word in text
    assert [path.name for path in tmp_path.iterdir()] == ["map.svg"]


def test_same_scores_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        draw(tmp_path / name, ROWS, title="x")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_png_is_drawn_too(tmp_path: Path) -> None:
    draw(tmp_path / "map.PNG", ROWS[:1], title="x")
    assert (tmp_path / "map.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("score", [0.0, 1e-9, 0.0004, 0.5, -0.5, 1.5, 99.99, 1234.5, -1e-5])
def test_cell_text_is_short(score: float) -> None:
    assert len(short(score)) <= 6
    assert float(short(score)) == pytest.approx(score, rel=0.3, abs=5e-4)
