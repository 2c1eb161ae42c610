"""Layer scores as a picture: a row a step, a column a layer, a frame around every layer kept.

Each row is coloured on its own scale, since units differ; the numbers are written in. SVG, PNG
or PDF by the name of the file, with the optional package matplotlib.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from mamtra_cli.audio import check_output
from mamtra_cli.errors import MissingDependencyError, UsageError
from mamtra_cli.publish import written_whole
from mamtra_cli.recipes.selection import LayerSelection

SUFFIXES = (".svg", ".png", ".pdf")


@dataclass(frozen=True, kw_only=True)
class HeatRow:
    """A row: its name, a number a layer (`None` stays white), layers to frame."""

    name: str
    scores: Sequence[float | None]
    kept: Collection[int] = ()


def check_heat_map(path: Path, *, force: bool = False) -> None:
    """Refuse, before anything is measured, what could not be drawn, or would replace a file."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"`{path}` is no picture that can be drawn", f"end it in {', '.join(SUFFIXES)}"
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "drawing needs the package matplotlib", "pip install 'mamtra-cli[plot]'"
        ) from None
    check_output(path, force=force)


def draw_selection(path: Path, selection: LayerSelection, *, force: bool = False) -> None:
    """Draw every step of a choice of layers; see `draw`."""
    rows = [HeatRow(name=s.name, scores=s.scores, kept=s.kept) for s in selection.steps]
    draw(path, rows, title=f"{selection.request}  ({selection.unit})", force=force)


def draw(path: Path, rows: Sequence[HeatRow], *, title: str, force: bool = False) -> None:
    """Draw rows of scores; the file appears whole or not at all.

    Args:
        path: ends in one of `SUFFIXES`.
        rows: all of one length.
        title: written above.
        force: replace a file that is there.
    """
    check_heat_map(path, force=force)
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
    # The same scores give the same bytes: no date, no random ids; text stays text.
    kind = path.suffix.lower().removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else None
    with (
        matplotlib.rc_context({"svg.hashsalt": "mamtra", "svg.fonttype": "none"}),
        written_whole(path, replace=force) as partial,
    ):
        figure.savefig(partial, format=kind, metadata=metadata)


def short(score: float) -> str:
    """A number in at most five characters, as a cell of the map holds it."""
    size = abs(score)
    if size and size < 0.0005:
        return f"{score:.0e}".replace("e-0", "e-")
    return f"{score:.3f}" if size < 1 else f"{score:.2f}" if size < 100 else f"{score:.0f}"
