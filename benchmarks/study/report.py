"""Finished rows to numbers with intervals, and to Markdown tables.

Reads what train.py and hear.py kept; computes nothing anew with models. Where a row has several
seeds, its value is their pooled one and the interval resamples sentences; the spread over seeds
is given beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from study.hear import word_errors
from study.layers import sizes
from study.recipe import Run, Study
from study.statistics import Estimate, rate, rate_difference, spearman

Entry = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A row with all seeds that are done.

    Attributes:
        runs, trained: its runs, and what training left of each.
        heard: what was heard of each run that was listened to.
    """

    name: str
    runs: tuple[Run, ...]
    trained: tuple[Entry, ...]
    heard: tuple[Entry, ...] = field(default=())

    @property
    def kinds(self) -> str:
        """Letters of its layers."""
        return self.runs[0].kinds

    def measure(self, what: str, when: str = "end") -> Estimate:
        """CE, KL (nats a token) or the share of agreement, pooled over seeds."""
        sums = [entry[when] for entry in self.trained]
        counts = [sum(values) / len(sums) for values in zip(*(s[what] for s in sums), strict=True)]
        return rate(counts, sums[0]["tokens"])

    def over(self, other: "Result") -> Estimate:
        """KL minus that of another row, on the same sentences."""
        counts = [
            [sum(values) / len(result.trained) for values in zip(*result.sums("kl"), strict=True)]
            for result in (self, other)
        ]
        return rate_difference(counts[0], counts[1], self.trained[0]["end"]["tokens"])

    def sums(self, what: str) -> list[list[float]]:
        """For each seed, what each sentence adds up to after training."""
        return [entry["end"][what] for entry in self.trained]

    def spread(self, what: str) -> tuple[float, float]:
        """Least and greatest of its seeds."""
        means = [sum(e["end"][what]) / sum(e["end"]["tokens"]) for e in self.trained]
        return min(means), max(means)

    def word_errors(self) -> tuple[list[float], list[float]] | None:
        """Errors (mean of seeds) and words of each sentence, or None where nothing was heard."""
        if not self.heard:
            return None
        pairs = [word_errors(entry["said"], entry["heard"]) for entry in self.heard]
        counts = [sum(values) / len(pairs) for values in zip(*(e for e, _ in pairs), strict=True)]
        return counts, pairs[0][1]

    def wer(self) -> Estimate | None:
        """Word error rate."""
        found = self.word_errors()
        return rate(*found) if found else None

    def against_teacher(self, teacher: Entry | None) -> tuple[float, float, float] | None:
        """Shares of sentences with fewer word errors than the teacher's, as many, and more."""
        if not self.heard or teacher is None:
            return None
        signs = []
        for entry in self.heard:
            ours, _ = word_errors(entry["said"], entry["heard"])
            theirs, _ = word_errors(entry["said"], teacher["heard"][: len(entry["said"])])
            signs += [(a > b) - (a < b) for a, b in zip(ours, theirs, strict=True)]
        win, tie, lose = (signs.count(sign) / len(signs) for sign in (-1, 0, 1))
        return win, tie, lose

    def wer_over(self, teacher: Entry | None) -> Estimate | None:
        """Word error rate minus the teacher's, sentence by sentence."""
        found = self.word_errors()
        if found is None or teacher is None:
            return None
        count = len(found[0])
        if teacher["said"][:count] != self.heard[0]["said"]:
            raise ValueError(f"`{self.name}` and the teacher said different sentences")
        theirs, _ = word_errors(teacher["said"][:count], teacher["heard"][:count])
        return rate_difference(found[0], theirs, found[1])

    def steps_to(self, target: float) -> list[int | None]:
        """For each seed the first measured step with a held-out KL at or under the target."""
        reached = []
        for entry in self.trained:
            points = sorted((int(step), point["kl"]) for step, point in entry["curve"].items())
            reached.append(next((step for step, kl in points if kl <= target), None))
        return reached


def number(estimate: Estimate | None, digits: int = 3, scale: float = 1.0) -> str:
    """`0.123 (0.100-0.150)`."""
    if estimate is None:
        return "-"
    value, low, high = (scale * v for v in (estimate.value, estimate.low, estimate.high))
    dash = " to " if low < 0 else "-"
    return f"{value:.{digits}f} ({low:.{digits}f}{dash}{high:.{digits}f})"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rule = "|" + "---|" * len(head)
    return "\n".join([f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(x)} |" for x in lines)])


def main_table(results: Sequence[Result], teacher: Entry | None, against: str = "") -> str:
    """Every row: layers, KL before and after, CE, agreement, word errors."""
    base = next((result for result in results if result.name == against), None)
    seeds = any(len(result.trained) > 1 for result in results)
    heard = any(result.heard for result in results)
    head = ["row", "layers", "KL at start", "KL", "CE", "agree %"]
    head += [f"KL - that of `{against}`"] if base else []
    head += ["seeds", "KL of seeds"] if seeds else []
    head += ["WER %", "WER - teacher's, points"] if heard else []
    lines = []
    for result in results:
        low, high = result.spread("kl")
        line = [
            result.name,
            result.kinds,
            f"{result.measure('kl', 'start').value:.3f}",
            number(result.measure("kl")),
            number(result.measure("ce")),
            f"{100 * result.measure('same').value:.1f}",
        ]
        if base:
            line.append("" if result is base else number(result.over(base)))
        if seeds:
            spread = f"{low:.3f}-{high:.3f}" if len(result.trained) > 1 else ""
            line += [str(len(result.trained)), spread]
        if heard:
            line += [number(result.wer(), 1, 100), number(result.wer_over(teacher), 1, 100)]
        lines.append(line)
    end = results[0].trained[0]["end"]
    ce = number(rate(end["ce_teacher"], end["tokens"]))
    row = ["teacher", "T" * len(results[0].kinds), "", "0", ce, "100"]
    row += [""] * ((2 if seeds else 0) + (1 if base else 0))
    if heard:
        wer = rate(*word_errors(teacher["said"], teacher["heard"])) if teacher else None
        row += [number(wer, 1, 100), ""]
    lines.append(row)
    return table(head, lines)


def layers_table(
    results: Sequence[Result], teacher: Entry | None, times: Mapping[str, Mapping[str, float]]
) -> str:
    """For each mixer: sentences against the teacher's, and what a layer costs at full size."""
    contexts = " / ".join(next(iter(times.values()))) if times else ""
    head = ["row", "wins / ties / losses, %", "kB a layer", "M weights more"]
    head += ["holds less from", "moves less from", f"step, us at {contexts}"]

    def clock(name: str) -> str:
        return " / ".join(f"{us:.0f}" for us in times.get(name, {}).values())

    lines = [["attention", "", "0.512 a token", "", "", "", clock("attention")]]
    for result in results:
        found = result.against_teacher(teacher)
        cost = sizes(result.runs[0].mixer)
        lines.append(
            [
                result.name,
                " / ".join(f"{100 * share:.0f}" for share in found) if found else "-",
                f"{cost.kilobytes:.0f}",
                f"{cost.parameters:+.2f}",
                f"{cost.memory_tokens:.0f}",
                f"{cost.traffic_tokens:.0f}",
                clock(result.name),
            ]
        )
    return table(head, lines)


def steps_table(results: Sequence[Result], targets: Sequence[float]) -> str:
    """Steps to the same held-out KL; `>n` where a run ended above it."""
    rows = [result for result in results if any(entry["curve"] for entry in result.trained)]
    head = ["row", *(f"KL {target:g}" for target in targets)]
    lines = []
    for result in rows:
        most = result.runs[0].distill.steps
        cells = []
        for target in targets:
            reached = [f">{most}" if s is None else str(s) for s in result.steps_to(target)]
            cells.append(" / ".join(reached))
        lines.append([result.name, *cells])
    return table(head, lines)


def correlations(results: Sequence[Result]) -> str:
    """Rank correlations over distinct plans: does a cheap number predict a dear one?"""
    distinct = list({result.kinds: result for result in results}.values())
    pairs: list[tuple[str, list[float], list[float]]] = []
    start = [result.measure("kl", "start").value for result in distinct]
    end = [result.measure("kl").value for result in distinct]
    pairs.append(("KL at start, KL after training", start, end))
    heard = [result for result in distinct if result.heard]
    if len(heard) > 2:
        ce = [result.measure("ce").value for result in heard]
        wer = [estimate.value for result in heard if (estimate := result.wer()) is not None]
        pairs.append(("CE, WER", ce, wer))
        good = [(c, w) for c, w in zip(ce, wer, strict=True) if w < 0.5]
        if len(good) > 3:
            pairs.append(("CE, WER under 50 %", *map(list, zip(*good, strict=True))))  # type: ignore[arg-type]
    lines = [[what, str(len(x)), number(spearman(x, y), 2)] for what, x, y in pairs if len(x) > 2]
    return table(["pair", "plans", "Spearman (95 %)"], lines)


def summary(
    study: Study,
    results: Sequence[Result],
    teacher: Entry | None,
    times: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """Everything that a study prints; `times` are those of `layers.step_times`."""
    parts = [f"## {study.title}", study.question, main_table(results, teacher, study.against)]
    if study.layer_rounds:
        parts.append(layers_table(results, teacher, times or {}))
    if study.targets:
        parts.append(steps_table(results, study.targets))
    if len({result.kinds for result in results}) > 3:
        parts.append(correlations(results))
    return "\n\n".join(parts) + "\n"
