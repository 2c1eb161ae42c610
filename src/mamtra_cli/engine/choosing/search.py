"""Which layers of a teacher stay attention: scores of single layers, greedy growth, exchange.

    drop        KL with the mixer of layer i left out
    cosine      1 - cos of a block's input and output (one pass, nothing converted)
    swap        KL with layer i alone converted and fitted; swap-train after a short alignment
    restore     KL gained by giving layer i back to a student converted everywhere, step by step
    wer         word errors heard with layer i alone converted; then the best plans are spoken
    smart       `swap` with both ends kept and no long gap between kept layers

A score ranks layers; what counts is the plan, since layers interact: every method but `smart`
goes on by exchange, which tries each kept layer against each converted one and takes what lowers
the KL of the whole plan. Sources: Apriel-H1 (arXiv 2511.02651, leave-one-out), KL-guided selection
(arXiv 2512.20569, `restore`), Zebra-Llama (arXiv 2505.17272, `smart`), MamTra (arXiv 2603.12342,
`cosine` and `wer`). Knows a bench and a way to hear; no folders, no sound.
"""

import time
from collections.abc import Callable, Sequence
from math import gcd

from mamtra_cli.backbone.auto import AutoRequest
from mamtra_cli.backbone.placement import STRATEGIES, place
from mamtra_cli.engine.choosing.bench import DROPPED, Bench
from mamtra_cli.events import Report, Stage, ignore
from mamtra_cli.recipes.selection import LayerSelection, PlanMeasure, SelectionStep

Hear = Callable[[str], float]
"""Word error rate of a plan, as a fraction."""
Scores = tuple[float | None, ...]

UNITS = {"cosine": "1 - cos", "wer": "WER"}
LEAST_GAIN = 1e-6  # share of the KL that an exchange must win, so that rounding decides nothing


def select(
    bench: Bench,
    request: AutoRequest,
    *,
    start: Sequence[int] | None = None,
    hear: Hear | None = None,
    report: Report = ignore,
) -> LayerSelection:
    """Score the layers, choose the plan, and measure it against rule-based ones.

    Args:
        bench: of the teacher; its pool is aligned already where the method wants it.
        request: method and number of layers.
        start: attention layers where the exchange begins, in place of the best scores.
        hear: speaks a plan and counts its errors; needed by `wer`.
        report: hears of stages.
    """
    begun = time.perf_counter()
    choice = _Choice(bench, request, hear, report)
    scores = choice.scores()
    ranking = choice.ranking(scores)
    kept = tuple(sorted(start)) if start is not None else choice.first(scores, ranking)
    choice.note("start" if start is not None else "scores", scores, kept)
    if request.method == "restore" and start is None:
        kept = choice.grow(scores, ranking)
    if request.method != "smart":
        kept = choice.exchange(kept)
    spoken: tuple[PlanMeasure, ...] = ()
    if hear is not None and request.method == "wer":
        spoken = choice.speak_best(kept)
        kept = _kept(min(spoken, key=lambda plan: (plan.wer, plan.kl)).kinds)
    wers = {plan.kinds: plan.wer for plan in spoken}
    chosen = choice.measured(request.source, kept)
    return LayerSelection(
        method=request.method,
        request=request.source,
        unit=UNITS.get(request.method, "KL, nats"),
        scores=scores,
        ranking=ranking,
        steps=tuple(choice.steps),
        kept=kept,
        chosen=PlanMeasure(
            name=chosen.name,
            kinds=chosen.kinds,
            kl=chosen.kl,
            ce=chosen.ce,
            wer=wers.get(chosen.kinds),
        ),
        rivals=choice.rivals(),
        spoken=spoken,
        teacher_ce=bench.reference.ce,
        teacher_wer=hear("T" * bench.n_layers) if spoken and hear is not None else None,
        tokens=bench.tokens,
        seconds=time.perf_counter() - begun,
    )


class _Choice:
    """One choice under way; `steps` tells how it went."""

    def __init__(
        self, bench: Bench, request: AutoRequest, hear: Hear | None, report: Report
    ) -> None:
        if request.method == "wer" and hear is None:
            raise ValueError("the method wer needs a way to hear")
        if not 0 < request.kept < bench.n_layers:
            raise ValueError(f"cannot keep {request.kept} of {bench.n_layers} layers")
        self.bench, self.request, self.hear, self.report = bench, request, hear, report
        self.steps: list[SelectionStep] = []
        self.sensitivity: list[float] = []

    def scores(self) -> Scores:
        """The score of every layer by itself."""
        n, method = self.bench.n_layers, self.request.method
        self.report(Stage(name="scoring", detail=f"{n} layers by {method}"))
        if method == "cosine":
            return tuple(self.bench.cosine())
        if method == "restore":
            return self.gains(())
        letter = DROPPED if method == "drop" else self.bench.letter
        alone = [_alone(n, i, letter) for i in range(n)]
        found = [score.kl for score in self.bench.measure(alone)]
        if method != "wer":
            return tuple(found)
        assert self.hear is not None
        # Speech is dear: only layers that might be kept at all are spoken.
        self.sensitivity = found
        tried = sorted(range(n), key=lambda i: (-found[i], i))[: 2 * self.request.kept + 2]
        self.report(Stage(name="speaking", detail=f"{len(tried)} layers, one converted each"))
        return tuple(self.hear(alone[i]) if i in tried else None for i in range(n))

    def gains(self, kept: tuple[int, ...]) -> Scores:
        """KL that giving one more layer back wins; `None` for those that are back."""
        bench = self.bench
        others = [i for i in range(bench.n_layers) if i not in kept]
        plans = [bench.plan(kept), *(bench.plan((*kept, i)) for i in others)]
        before, *after = (score.kl for score in bench.measure(plans))
        won = {i: before - kl for i, kl in zip(others, after, strict=True)}
        return tuple(won.get(i) for i in range(bench.n_layers))

    def ranking(self, scores: Scores) -> tuple[int, ...]:
        """Layers, the most worth keeping first; ties and unmeasured ones by sensitivity."""
        second = self.sensitivity or [0.0] * len(scores)

        def order(i: int) -> tuple[float, float, int]:
            score = scores[i]
            return (float("inf") if score is None else -score, -second[i], i)

        return tuple(sorted(range(len(scores)), key=order))

    def first(self, scores: Scores, ranking: Sequence[int]) -> tuple[int, ...]:
        """The plan that the scores alone ask for."""
        if self.request.method == "smart":
            return spaced(_numbers(scores), self.request.kept)
        count = 1 if self.request.method == "restore" else self.request.kept
        return tuple(sorted(ranking[:count]))

    def grow(self, scores: Scores, ranking: Sequence[int]) -> tuple[int, ...]:
        """Give layers back one by one, each time the one that wins most."""
        kept: tuple[int, ...] = (ranking[0],)
        while len(kept) < self.request.kept:
            gains = self.gains(kept)
            best = self.ranking(gains)[0]
            kept = tuple(sorted((*kept, best)))
            self.note(f"restored {best}", gains, kept)
        return kept

    def exchange(self, kept: tuple[int, ...]) -> tuple[int, ...]:
        """Try every kept layer against every converted one while the plan gets better."""
        bench = self.bench
        for number in range(self.request.exchange):
            self.report(Stage(name="exchanging", detail=f"pass {number + 1}, from {_names(kept)}"))
            before = kept
            for old in before:
                others = [i for i in range(bench.n_layers) if i not in kept]
                swapped = [tuple(sorted({*kept, i} - {old})) for i in others]
                plans = [bench.plan(kept), *map(bench.plan, swapped)]
                now, *after = (score.kl for score in bench.measure(plans))
                best = min(range(len(others)), key=lambda index: (after[index], index))
                if now - after[best] <= LEAST_GAIN * now:
                    continue
                kept = swapped[best]
                won = dict(zip(others, (now - kl for kl in after), strict=True))
                scores = tuple(won.get(i) for i in range(bench.n_layers))
                self.note(f"{old} for {others[best]}", scores, kept)
            if kept == before:
                break
        return kept

    def speak_best(self, kept: tuple[int, ...]) -> tuple[PlanMeasure, ...]:
        """Speak the plans of the lowest KL that were met, and the one that the ear ranked first."""
        assert self.hear is not None
        met = self.bench.known(self.request.kept)
        by_kl = sorted(met, key=lambda plan: (met[plan].kl, plan))[: self.request.candidates]
        plans = list(dict.fromkeys((self.bench.plan(self.steps[0].kept), *by_kl)))
        self.report(Stage(name="speaking", detail=f"{len(plans)} plans"))
        return tuple(
            PlanMeasure(
                name=_names(_kept(plan)),
                kinds=plan,
                kl=met[plan].kl,
                ce=met[plan].ce,
                wer=self.hear(plan),
            )
            for plan in plans
        )

    def rivals(self) -> tuple[PlanMeasure, ...]:
        """Rule-based plans with as many attention layers."""
        n, count = self.bench.n_layers, self.request.kept
        common = gcd(count, n - count)
        unit = (count // common, (n - count) // common)
        return tuple(self.measured(name, place(n, count, name, unit=unit)) for name in STRATEGIES)

    def measured(self, name: str, kept: Sequence[int]) -> PlanMeasure:
        """A plan with its numbers."""
        kinds = self.bench.plan(kept)
        score = self.bench.measure([kinds])[0]
        return PlanMeasure(name=name, kinds=kinds, kl=score.kl, ce=score.ce)

    def note(self, name: str, scores: Scores, kept: tuple[int, ...]) -> None:
        """Remember a step."""
        kl = self.bench.measure([self.bench.plan(kept)])[0].kl
        self.steps.append(SelectionStep(name=name, scores=scores, kept=kept, kl=kl))


def spaced(scores: Sequence[float], count: int) -> tuple[int, ...]:
    """The best-scored layers among those choices that keep both ends and bound every gap.

    Args:
        scores: one a layer, more is better.
        count: layers to keep, at least 2 of them; the longest step between two kept ones is the
            shortest that can be, rounded up, and one more.
    """
    last = len(scores) - 1
    if not 2 <= count <= len(scores):
        raise ValueError(f"cannot keep both ends and {count} of {len(scores)} layers")
    longest = -(-last // (count - 1)) + (1 if count > 2 else 0)
    # best[i]: the most that layers 0..i, i kept, can score with the layers kept so far.
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (scores[0], (0,))}
    for left in range(count - 2, -1, -1):
        step: dict[int, tuple[float, tuple[int, ...]]] = {}
        for i in range(1, last + 1):
            reachable = [best[j] for j in range(max(0, i - longest), i) if j in best]
            # The rest must still reach the end.
            if reachable and last - i <= left * longest and (i < last or left == 0):
                value, way = max(reachable, key=lambda item: (item[0], item[1]))
                step[i] = (value + scores[i], (*way, i))
        best = step
    return best[last][1]


def _alone(n: int, i: int, letter: str) -> str:
    return "T" * i + letter + "T" * (n - i - 1)


def _kept(kinds: str) -> tuple[int, ...]:
    return tuple(i for i, letter in enumerate(kinds) if letter == "T")


def _names(kept: Sequence[int]) -> str:
    return "T=" + ",".join(map(str, kept))


def _numbers(scores: Scores) -> list[float]:
    return [0.0 if score is None else score for score in scores]
