"""Figures of a study as SVG. The same numbers give the same bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from study.report import Entry, Result

mpl.use("svg")

from matplotlib import pyplot as plt

SETTINGS = {
    "svg.hashsalt": "mamtra",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}
MARKERS = "osD^v*Pp"
LINE = 10  # pixels from one name to the next
READS = 0.85  # word errors from which on a plan is not named: nothing is understood


def draw(name: str, results: Sequence[Result], teacher: Entry | None, path: Path) -> None:
    """Draw the figure of a study and write it whole."""
    with mpl.rc_context(SETTINGS):
        if any(entry["curve"] for result in results for entry in result.trained):
            figure = curves(results)
        elif name == "placements":
            figure = scatter(results, teacher)
        else:
            figure = bars(results, teacher)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        figure.savefig(partial, format="svg", metadata={"Date": None}, bbox_inches="tight")
        partial.replace(path)
        plt.close(figure)


def curves(results: Sequence[Result]) -> Any:
    """Held-out KL over steps: a panel for each plan, one colour a row, one line a seed."""
    plans = list(dict.fromkeys(result.kinds for result in results))
    width = 6.4 if len(plans) == 1 else 2.9 * len(plans)
    figure, panels = plt.subplots(1, len(plans), figsize=(width, 3.6), squeeze=False)
    colors: dict[str, str] = {}
    for axes, kinds in zip(panels[0], plans, strict=True):
        for result in results:
            if result.kinds != kinds:
                continue
            label: str | None = result.name if len(plans) == 1 else result.name.partition(", ")[2]
            color = colors.setdefault(str(label), f"C{len(colors)}")
            for entry in result.trained:
                points = sorted((int(step), point["kl"]) for step, point in entry["curve"].items())
                if points:
                    steps, values = zip(*points, strict=True)
                    axes.plot(steps, values, color=color, lw=1.2, label=label)
                    label = None
        axes.set(xlabel="steps", yscale="log", title=kinds if len(plans) > 1 else "")
        axes.yaxis.set_major_formatter("{x:.2g}")
        axes.yaxis.set_minor_formatter("{x:.2g}")
        axes.tick_params(which="both", labelsize=8)
    panels[0][0].set_ylabel("held-out KL to the teacher, nats a token")
    lines, names = panels[0][0].get_legend_handles_labels()
    figure.legend(lines, names, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3)
    figure.tight_layout()
    return figure


def scatter(results: Sequence[Result], teacher: Entry | None) -> Any:
    """CE against WER where rows were heard, else KL before against KL after training."""
    figure, axes = plt.subplots(figsize=(6.8, 4.4))
    heard = any(result.heard for result in results)
    distinct = {result.kinds: result for result in results}
    labels: list[tuple[float, float, str]] = []
    counts = sorted({kinds.count("T") for kinds in distinct}, reverse=True)
    for kinds, result in distinct.items():
        wer = result.wer()
        if heard and wer is None:
            continue
        group = counts.index(kinds.count("T"))
        style = {"color": f"C{group}", "marker": MARKERS[group], "ms": 5, "ls": ""}
        if heard and wer is not None:
            ce = result.measure("ce")
            axes.errorbar(
                ce.value,
                100 * wer.value,
                yerr=[[100 * (wer.value - wer.low)], [100 * (wer.high - wer.value)]],
                elinewidth=0.7,
                **style,
            )
            spot = (ce.value, 100 * wer.value)
        else:
            spot = (result.measure("kl", "start").value, result.measure("kl").value)
            axes.plot(*spot, **style)
        kept = ",".join(str(i) for i, kind in enumerate(kinds) if kind == "T")
        if wer is None or wer.value < READS:
            labels.append((*spot, kept))
    for group, count in enumerate(counts):
        label = f"{count} attention layer{'s' if count > 1 else ''} of {len(next(iter(distinct)))}"
        axes.plot([], [], color=f"C{group}", marker=MARKERS[group], ls="", label=label)
    if heard:
        axes.set(xlabel="held-out CE, nats a token", ylabel="WER, %")
        if teacher is not None:
            from study.hear import word_errors

            errors, words = word_errors(teacher["said"], teacher["heard"])
            axes.axhline(100 * sum(errors) / sum(words), color="k", lw=0.8, ls=":")
    else:
        axes.set(xlabel="KL before training", ylabel="KL after", xscale="log", yscale="log")
    axes.legend(loc="center right" if heard else "best")
    figure.canvas.draw()
    write_labels(axes, labels)
    return figure


def write_labels(axes: Any, labels: Sequence[tuple[float, float, str]]) -> None:
    """Name each point; points that are close have their names in a column beside them."""
    left = [(*axes.transData.transform((x, y)), x, y, text) for x, y, text in labels]
    while left:
        group = [left.pop()]
        while near := [a for a in left if any(_close(a, b) for b in group)]:
            group += near
            left = [a for a in left if a not in near]
        group.sort(key=lambda point: point[1])
        side = max(point[0] for point in group) + (16 if len(group) > 1 else 5)
        middle = sum(point[1] for point in group) / len(group)
        for place, (right, height, x, y, text) in enumerate(group):
            at = middle + LINE * (place - (len(group) - 1) / 2)
            axes.annotate(
                text,
                (x, y),
                xytext=(side - right, at - height),
                textcoords="offset pixels",
                va="center",
                fontsize=7,
                arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "0.5", "shrinkB": 3}
                if len(group) > 1
                else None,
            )


def _close(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return abs(one[0] - other[0]) < 40 and abs(one[1] - other[1]) < 2 * LINE


def bars(results: Sequence[Result], teacher: Entry | None) -> Any:
    """KL of every row with its interval, and beside it WER where rows were heard."""
    heard = any(result.heard for result in results)
    height = 0.8 + 0.3 * len(results)
    figure, sides = plt.subplots(1, 2 if heard else 1, figsize=(7.6, height), squeeze=False)
    places = list(range(len(results)))[::-1]
    for place, result in zip(places, results, strict=True):
        kl, wer = result.measure("kl"), result.wer()
        for axes, estimate, scale in ((sides[0][0], kl, 1.0), (sides[0][-1], wer, 100.0)):
            if estimate is None or (axes is sides[0][0] and estimate is wer):
                continue
            value = scale * estimate.value
            error = [[value - scale * estimate.low], [scale * estimate.high - value]]
            axes.errorbar(value, place, xerr=error, fmt="o", color="C0", ms=4, elinewidth=0.9)
        for entry in result.trained:
            seed = sum(entry["end"]["kl"]) / sum(entry["end"]["tokens"])
            sides[0][0].plot(seed, place, "|", color="C1", ms=9)
    for axes in sides[0]:
        axes.set_ylim(-0.5, len(results) - 0.5)
        axes.set_yticks(places, [result.name for result in results] if axes is sides[0][0] else [])
    sides[0][0].set_xlabel("held-out KL, nats a token (dashes: seeds)")
    if heard:
        sides[0][1].set_xlabel("WER, % (dotted: teacher)")
        if teacher is not None:
            from study.hear import word_errors

            errors, words = word_errors(teacher["said"], teacher["heard"])
            sides[0][1].axvline(100 * sum(errors) / sum(words), color="k", lw=0.8, ls=":")
    return figure
