"""Memory against the length of the speech, by formulas, as a picture (extra `plot`)."""

from collections.abc import Sequence
from pathlib import Path

from mamtra_cli.engine.measuring.planner import Budget
from mamtra_cli.engine.measuring.sizing import Sizing
from mamtra_cli.errors import MissingDependencyError

POINTS = 33
DPI = 110


def draw_plan(
    path: Path, sizings: Sequence[Sizing], frames: int, streams: int, budget: Budget | None
) -> None:
    """Draw each model's bytes from a second to four times the length asked for.

    Args:
        path: a `.png` or `.svg` file.
        sizings: the models.
        frames: length asked for.
        streams: utterances at once.
        budget: its room is a line.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingDependencyError(
            "plots need the package matplotlib", "pip install 'mamtra-cli[plot]'"
        ) from None
    figure = Figure(figsize=(7.0, 4.0))
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    lengths = [max(1, 4 * frames * point // (POINTS - 1)) for point in range(POINTS)]
    for sizing in sizings:
        seconds = [length / sizing.facts.frame_rate for length in lengths]
        total = [sizing.footprint(length).total(streams) / 1e9 for length in lengths]
        axes.plot(seconds, total, label=sizing.name, linewidth=1.4)
    if budget is not None:
        axes.axhline(budget.room / 1e9, color="black", linestyle="--", linewidth=1.0)
        axes.annotate("budget", (0, budget.room / 1e9), va="bottom", fontsize=8)
    axes.set_xlabel("seconds of each utterance")
    axes.set_ylabel(f"GB for {streams} at once, by formulas")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=DPI)
