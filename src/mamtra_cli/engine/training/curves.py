"""Curves of a run: a picture of losses and gradient norm, and TensorBoard's event files.

matplotlib and tensorboard are optional (extras `plot` and `train`). Knows rows of numbers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mamtra_cli.engine.pictures import need_matplotlib
from mamtra_cli.errors import MissingDependencyError

APART = ("step", "tokens", "tokens_per_second", "lr", "gradient_norm", "loss")
DPI = 110


def draw_curves(path: Path, stages: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Draw losses, their parts and the gradient norm of each stage over its updates.

    Args:
        path: a `.png` or `.svg` file.
        stages: name to rows of `metrics.jsonl`.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    need_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    shown = {name: rows for name, rows in stages.items() if rows}
    figure = Figure(figsize=(10, 3.2 * max(1, len(shown))))
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(max(1, len(shown)), 2, squeeze=False)
    for (left, right), (name, rows) in zip(axes, shown.items(), strict=False):
        steps = [row["step"] for row in rows]
        # Updates on the student's own speech have other parts than those beside them.
        parts = [
            key for key in dict.fromkeys(key for row in rows for key in row) if key not in APART
        ]
        for key in ["loss", *parts[:6]]:
            there = [row for row in rows if key in row]
            left.plot(
                [row["step"] for row in there],
                [row[key] for row in there],
                label=key,
                linewidth=1.6 if key == "loss" else 0.9,
            )
        left.set_title(name)
        left.legend(fontsize=7)
        right.plot(steps, [row["gradient_norm"] for row in rows], linewidth=0.9)
        right.set_title("gradient norm")
        for axis in (left, right):
            axis.set_xlabel("update")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.set_yscale("log")
            axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=DPI, metadata={"Software": None} if path.suffix == ".png" else None)


class Board:
    """Writes the numbers of each update as TensorBoard events.

    Raises:
        MissingDependencyError: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingDependencyError(
                "`--tensorboard` needs the package tensorboard", "pip install 'mamtra-cli[train]'"
            ) from error
        self.writer: Any = SummaryWriter(str(folder))

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Write one update."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is buffered."""
        self.writer.close()
