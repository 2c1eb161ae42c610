"""Measures of an evaluation as people read them: their names, and figures with intervals in rows.

Shared by the report of an evaluation and by the terminal.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mamtra_cli.recipes.evaluate import Scores


def percent(value: float) -> str:
    """Return a share in words."""
    return f"{100 * value:.1f} %"


def points(value: float) -> str:
    """Return a difference of shares in words."""
    return f"{100 * value:+.1f}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A measure as people read it: its name, and how figures and differences are written."""

    label: str
    show: Callable[[float], str]
    change: Callable[[float], str] | None = None


ROWS: Mapping[str, Row] = {
    "wer": Row(label="word errors (corpus)", show=percent, change=points),
    "wer_mean": Row(label="word errors (mean of utterances)", show=percent, change=points),
    "cer": Row(label="character errors", show=percent, change=points),
    "failed": Row(label="failed (refused, or over 50 % errors)", show=percent, change=points),
    "refused": Row(label="refused by guards", show=percent, change=points),
    "first_refused": Row(label="refused at the first attempt", show=percent, change=points),
    "run_on": Row(label="ran on at the first attempt", show=percent, change=points),
    "similarity": Row(label="voice similarity", show="{:.3f}".format, change="{:+.3f}".format),
    "utmos": Row(label="UTMOS", show="{:.2f}".format, change="{:+.2f}".format),
    "dnsmos_sig": Row(label="DNSMOS signal", show="{:.2f}".format, change="{:+.2f}".format),
    "dnsmos_bak": Row(label="DNSMOS background", show="{:.2f}".format, change="{:+.2f}".format),
    "dnsmos_ovrl": Row(label="DNSMOS overall", show="{:.2f}".format, change="{:+.2f}".format),
    "distillmos": Row(label="Distill-MOS", show="{:.2f}".format, change="{:+.2f}".format),
    "length_ratio": Row(label="length to expected", show="{:.3f}".format, change="{:+.3f}".format),
    "rtf": Row(label="real-time factor", show="{:.3f}".format),
    "rtf_tokens": Row(label="  of it tokens", show="{:.3f}".format),
    "lm_bytes": Row(label="language model, MB", show=lambda value: f"{value / 1e6:.1f}"),
    "cache_bytes": Row(label="its cache a sentence, kB", show=lambda value: f"{value / 1e3:.0f}"),
}
DIRECT: Mapping[str, Row] = {
    "length_to_teacher": Row(label="length to teacher", show="{:.3f}".format),
    "ce": Row(label="CE on the teacher's speech", show="{:.3f}".format),
    "teacher_ce": Row(label="  teacher's own", show="{:.3f}".format),
    "kl": Row(label="KL to the teacher", show="{:.3f}".format),
    "agreement": Row(label="same likeliest token", show=percent),
}
CHARACTER_LABELS = {
    "wer": "character errors (corpus)",
    "wer_mean": "character errors (mean of utterances)",
}


def label_of(name: str, rules: str) -> str:
    """Return a measure's name in words; under rules that split at characters, words are those."""
    if rules.endswith("zh") and name in CHARACTER_LABELS:
        return CHARACTER_LABELS[name]
    return {**ROWS, **DIRECT}[name].label


def shown(scores: Scores, name: str, show: Callable[[float], str]) -> str:
    """Return a figure with its interval, `-` where there is none."""
    if name not in scores.values:
        return "-"
    text = show(scores.values[name])
    if name not in scores.intervals:
        return text
    low, high = (show(end).removesuffix(" %") for end in scores.intervals[name])
    return f"{text} ({low} to {high})"


def score_rows(
    scores: Scores, teacher: Scores | None, difference: Scores | None, rules: str
) -> Iterator[tuple[str, ...]]:
    """Rows of the table of scores: label, model and, with a teacher, teacher and difference."""
    for name, row in ROWS.items():
        if name == "cer" and rules.endswith("zh"):
            continue
        if name not in scores.values and (teacher is None or name not in teacher.values):
            continue
        cells = [label_of(name, rules), shown(scores, name, row.show)]
        if teacher is not None and difference is not None:
            cells.append(shown(teacher, name, row.show))
            cells.append(shown(difference, name, row.change) if row.change else "")
        yield tuple(cells)


def direct_rows(difference: Scores) -> Iterator[tuple[str, str]]:
    """Rows of what compares student and teacher directly."""
    for name, row in DIRECT.items():
        if name in difference.values:
            yield row.label, shown(difference, name, row.show)
