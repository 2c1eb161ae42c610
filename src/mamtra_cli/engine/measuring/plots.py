"""Memory against the length of the speech, by formulas, as a picture (extra `plot`)."""

from collections.abc import Sequence
from pathlib import Path

from mamtra_cli.engine.measuring.planner import Budget
from mamtra_cli.engine.measuring.sizing import Sizing
from mamtra_cli.engine.pictures import check_picture, save_picture

POINTS = 33


def draw_plan(
    path: Path,
    sizings: Sequence[Sizing],
    frames: int,
    streams: int,
    budget: Budget | None,
    *,
    force: bool = False,
) -> None:
    """Draw each model's bytes from a second to four times the length asked for.

    Args:
        path: a picture that `check_picture` lets pass.
        sizings: the models.
        frames: length asked for.
        streams: utterances at once.
        budget: its room is a line.
        force: replace a file that is there.
    """
    check_picture(path, force=force)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.0))
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
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    save_picture(figure, path, force=force)
