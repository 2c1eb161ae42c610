"""Layer scores as a picture: a row a step, a column a layer, a frame around every layer kept.

Each row is coloured on its own scale, since units differ; the numbers are written in.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from mamtra_cli.engine.pictures import check_picture, save_picture
from mamtra_cli.recipes.selection import LayerSelection


@dataclass(frozen=True, kw_only=True)
class HeatRow:
    """A row: its name, a number a layer (`None` stays white), layers to frame."""

    name: str
    scores: Sequence[float | None]
    kept: Collection[int] = ()


def draw_selection(path: Path, selection: LayerSelection, *, force: bool = False) -> None:
    """Draw every step of a choice of layers; see `draw`."""
    rows = [HeatRow(name=s.name, scores=s.scores, kept=s.kept) for s in selection.steps]
    draw(path, rows, title=f"{selection.request}  ({selection.unit})", force=force)


def draw(path: Path, rows: Sequence[HeatRow], *, title: str, force: bool = False) -> None:
    """Draw rows of scores; the file appears whole or not at all.

    Args:
        path: a picture that `check_picture` lets pass.
        rows: all of one length.
        title: written above.
        force: replace a file that is there.
    """
    check_picture(path, force=force)
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    n = len(rows[0].scores)
    height = 0.9 + 0.36 * len(rows)
    figure = Figure(figsize=(2.2 + 0.62 * n, height), layout="constrained")
    axes = figure.add_subplot()
    for line, row in enumerate(rows):
        numbers = [score for score in row.scores if score is not None]
        low, high = min([0.0, *numbers]), max([1e-12, *numbers])
        for layer, score in enumerate(row.scores):
            if score is None:
                continue
            share = (score - low) / (high - low)
            colour = matplotlib.colormaps["Blues"](0.05 + 0.85 * share)
            axes.add_patch(Rectangle((layer, line), 1, 1, color=colour, linewidth=0))
            ink = "white" if share > 0.6 else "black"
            middle = (layer + 0.5, line + 0.5)
            axes.text(*middle, short(score), ha="center", va="center", fontsize=7, color=ink)
        for layer in row.kept:
            frame = Rectangle((layer + 0.04, line + 0.06), 0.92, 0.88, fill=False)
            frame.set_edgecolor("#d95f02")
            frame.set_linewidth(1.6)
            axes.add_patch(frame)
    axes.set_xlim(0, n)
    axes.set_ylim(len(rows), 0)
    axes.set_xticks([i + 0.5 for i in range(n)], [str(i) for i in range(n)])
    axes.set_yticks([i + 0.5 for i in range(len(rows))], [row.name for row in rows])
    axes.tick_params(length=0, labelsize=8)
    axes.set_xlabel("layer (framed: stays attention)", fontsize=8)
    axes.set_title(title, fontsize=8, loc="left")
    for side in axes.spines.values():
        side.set_visible(False)
    save_picture(figure, path, force=force)


def short(score: float) -> str:
    """A number in at most five characters, as a cell of the map holds it."""
    size = abs(score)
    if size and size < 0.0005:
        return f"{score:.0e}".replace("e-0", "e-")
    return f"{score:.3f}" if size < 1 else f"{score:.2f}" if size < 100 else f"{score:.0f}"
