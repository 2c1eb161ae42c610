"""Which layers of a teacher stay attention, by every method, against the rule-based placements.

    python benchmarks/placement.py --figure docs/figures/placement.svg
    python benchmarks/placement.py --methods wer --sentences 10 --no-exhaustive

Nothing is trained but the short alignment of `swap-train` and `restore`. The teacher speaks; every
layer is fitted once to what it says, and all plans are compared on other sentences of its own.
With `--exhaustive` (the default up to 12 layers) every plan of a ratio is measured, so the table
tells how far from the best one a method ends. Prints Markdown; `--json` keeps every number.
"""

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from mamtra_cli.backbone.auto import ALIGNED, METHODS, read_auto
from mamtra_cli.config import to_dict
from mamtra_cli.engine import seeds
from mamtra_cli.engine.choosing.bench import Bench, align_pool, make_pool
from mamtra_cli.engine.choosing.hearing import word_errors
from mamtra_cli.engine.choosing.heat_map import HeatRow, draw
from mamtra_cli.engine.choosing.search import Hear, select
from mamtra_cli.engine.lessons.agreement import take_tokens
from mamtra_cli.engine.lessons.spoken import make_tokens
from mamtra_cli.engine.model import Engine
from mamtra_cli.layers.mixer_config import preset
from mamtra_cli.recipes import LayerSelection, PlanMeasure


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--mixer", default="mamba2-gqa")
    parser.add_argument("--ratios", default="1:1,1:3")
    parser.add_argument("--methods", default=",".join(m for m in METHODS if m != "wer"))
    parser.add_argument("--fit-tokens", type=int, default=8192)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=100, help="of alignment")
    parser.add_argument("--sentences", type=int, default=20, help="spoken by each candidate (wer)")
    parser.add_argument("--exhaustive", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def stays(kinds: str) -> str:
    """The attention layers of a plan."""
    return ",".join(str(i) for i, letter in enumerate(kinds) if letter == "T")


def exhaust(bench: Bench, count: int) -> list[PlanMeasure]:
    """Every plan that keeps `count` layers, the best first."""
    plans = [bench.plan(kept) for kept in itertools.combinations(range(bench.n_layers), count)]
    scores = bench.measure(plans)
    pairs = sorted(zip(plans, scores, strict=True), key=lambda pair: pair[1].kl)
    return [PlanMeasure(name="", kinds=p, kl=s.kl, ce=s.ce) for p, s in pairs]


def score_table(found: Sequence[LayerSelection]) -> list[str]:
    """Scores of single layers, a row a method."""
    n = len(found[0].scores)
    lines = ["| method | unit | " + " | ".join(map(str, range(n))) + " |", "|---" * (n + 2) + "|"]
    for selection in found:
        cells = ["" if s is None else f"{s:.3g}" for s in selection.scores]
        lines.append(f"| `{selection.method}` | {selection.unit} | " + " | ".join(cells) + " |")
    return lines


def plan_table(rows: Sequence[tuple[str, str, PlanMeasure]], ranks: dict[str, int]) -> list[str]:
    """Plans with their numbers; `ranks` places them among all of their size."""
    lines = ["| placement | stays | KL | CE | place |", "|---|---|---|---|---|"]
    for name, note, plan in rows:
        place = f"{ranks[plan.kinds]} of {len(ranks)}" if plan.kinds in ranks else ""
        label = f"{name}{note}"
        lines.append(f"| {label} | {stays(plan.kinds)} | {plan.kl:.3f} | {plan.ce:.3f} | {place} |")
    return lines


def main() -> None:
    """Measure, print, draw."""
    asked = arguments()
    begun, cpu = time.perf_counter(), time.process_time()
    engine = Engine.load(asked.model, device="cpu", dtype="float32")
    lm, n = engine.lessons, engine.lessons.stack.config.n_layers
    to_fit = make_tokens(engine, asked.fit_tokens, seed=asked.seed)
    spoken = make_tokens(engine, asked.tokens, seed=asked.seed + seeds.SCORE)
    to_score = take_tokens(spoken, asked.tokens)
    methods = asked.methods.split(",")
    pool = make_pool(lm, preset(asked.mixer), to_fit, seed=asked.seed)
    plain = Bench(lm, pool, to_score)
    aligned = plain
    if set(methods) & set(ALIGNED) and asked.steps:
        trained = make_pool(lm, preset(asked.mixer), to_fit, seed=asked.seed)
        align_pool(lm, trained, to_fit, steps=asked.steps, seed=asked.seed)
        aligned = Bench(lm, trained, to_score)
    data = {"tokens": plain.tokens, "teacher_ce": plain.reference.ce, "ratios": {}}
    print(f"{plain.tokens} speech tokens, teacher CE {plain.reference.ce:.3f} nats", flush=True)
    exhaustive = n <= 12 if asked.exhaustive is None else asked.exhaustive
    rows: list[HeatRow] = []
    for ratio in asked.ratios.split(","):
        found, table = [], []
        for method in methods:
            request = read_auto(f"{ratio}@auto:{method}", n)
            request = replace(request, steps=asked.steps, sentences=asked.sentences)
            bench = aligned if method in ALIGNED else plain

            def hear(kinds: str, bench: Bench = bench) -> float:
                return word_errors(
                    engine, bench.assemble(kinds), sentences=asked.sentences, seed=asked.seed
                )

            ear: Hear | None = hear if method == "wer" else None
            selection = select(bench, request, hear=ear)
            found.append(selection)
            # One measure for all: the fitted pool, whatever the method looked at.
            by_scores = "".join("T" if i in selection.steps[0].kept else "M" for i in range(n))
            if method == "restore":
                grown = [s for s in selection.steps if s.name.startswith(("scores", "restored"))]
                by_scores = "".join("T" if i in grown[-1].kept else "M" for i in range(n))
            plans = dict.fromkeys((by_scores, selection.chosen.kinds))
            for kinds in plans:
                score = plain.measure([kinds])[0]
                note = " alone" if kinds != selection.chosen.kinds else ""
                note += ", exchanged" if kinds == selection.chosen.kinds and len(plans) > 1 else ""
                measure = PlanMeasure(name=method, kinds=kinds, kl=score.kl, ce=score.ce)
                table.append((f"`auto:{method}`", note, measure))
            print(f"{ratio} {method}: T={stays(selection.chosen.kinds)}", flush=True)
        rivals = select(plain, read_auto(f"{ratio}@auto:drop,exchange=0", n)).rivals
        table += [(f"`{rival.name}`", "", rival) for rival in rivals]
        ranks: dict[str, int] = {}
        if exhaustive:
            everything = exhaust(plain, found[0].chosen.kinds.count("T"))
            ranks = {plan.kinds: place for place, plan in enumerate(everything, 1)}
            table.append(("best of all", "", everything[0]))
            table.append(("worst of all", "", everything[-1]))
        table.sort(key=lambda row: row[2].kl)
        print("", f"## {ratio}", "", *score_table(found), "", sep="\n")
        print(*plan_table(table, ranks), sep="\n", flush=True)
        for selection in found:
            for plan in selection.spoken:
                print(f"spoken {stays(plan.kinds)}: WER {plan.wer:.1%}, KL {plan.kl:.3f}")
            if selection.teacher_wer is not None:
                print(f"spoken by the teacher: WER {selection.teacher_wer:.1%}")
        rows += [
            HeatRow(name=f"{ratio} {s.method} [{s.unit}]", scores=s.scores, kept=s.kept)
            for s in found
        ]
        data["ratios"][ratio] = {
            "selections": to_dict(found),
            "rivals": to_dict(rivals),
            "all": [[plan, place] for plan, place in ranks.items()],
        }
        if asked.json:
            asked.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    if asked.figure:
        draw(asked.figure, rows, title=f"{asked.model}: scores of single layers, and what stays")
    seconds = time.perf_counter() - begun
    print(f"\n{time.process_time() - cpu:.0f} s of CPU time in {seconds:.0f} s", end="; ")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)")


if __name__ == "__main__":
    main()
