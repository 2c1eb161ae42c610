"""Mixers side by side at one budget: agreement with mini, state, break-even, time of a step.

Every layer of mini gets the mixer, fitted in closed form on what mini says itself; plans of
attention and mixer are compared with mini on other sentences (KL in nats a token), as fitted and
after the same alignment: so many steps in which each mixer alone learns from what the teacher
gives its layer. Bytes and break-even are those of `backbone.costs` at the size of CosyVoice 2
(float32 states, bfloat16 caches). A step is that of one layer of that size, mixer only, batch 1,
one thread: processor time, the minimum of rounds in which the mixers take turns.

    python benchmarks/mixers.py --output mixers.json                 # all, resumed where it stopped
    python benchmarks/mixers.py --output mixers.json --steps 0       # as fitted only
    python benchmarks/mixers.py --output mixers.json --table         # what is there, in Markdown

Results are added to the file one by one; a run goes on where the last one stopped.
"""

import argparse
import itertools
import json
import statistics
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from study.layers import sizes, step_times

from mamtra_cli.backbone.kinds import letter_of
from mamtra_cli.backbone.plan import LayerPlan
from mamtra_cli.engine.choosing.bench import Bench, align_pool, make_pool
from mamtra_cli.engine.lessons.agreement import take_tokens
from mamtra_cli.engine.lessons.spoken import make_tokens
from mamtra_cli.engine.model import Engine
from mamtra_cli.families.lessons import Example
from mamtra_cli.layers.mixer_config import MixerConfig, preset

MIXERS: dict[str, MixerConfig] = {
    "mamba2-gqa": preset("mamba2-gqa"),
    "mamba2-gqa, no gate": preset("mamba2-gqa", gate="none"),
    "kv-shared-state": preset("kv-shared-state"),
    "kv-shared-state, no gate": preset("kv-shared-state", gate="none"),
    "gdn": preset("gdn"),
    "gdn, kv state": replace(preset("gdn"), state="kv"),
    "swa, 16": replace(preset("swa"), window=16),
    "swa, 64": replace(preset("swa"), window=64),
    "swa+ssm, 16": replace(preset("swa+ssm"), window=16),
    "swa+ssm, 64": preset("swa+ssm"),
    "swa+ssm, 64, kv state": replace(preset("swa+ssm"), state="kv"),
}
PLANS = ("1:1", "1:3", "0:1")
SCORE_SEED = 1 << 17  # sentences of the comparison are not those of the fit


@cache
def teacher() -> Engine:
    """mini."""
    return Engine.load("mini", device="cpu", dtype="float32")


@cache
def speech(seed: int, fit_tokens: int, tokens: int) -> tuple[list[Example], list[Example]]:
    """What mini says itself, to fit on and to compare on."""
    made = make_tokens(teacher(), fit_tokens, seed=seed)
    said = make_tokens(teacher(), tokens, seed=seed + SCORE_SEED)
    return made, take_tokens(said, tokens)


def agreement(name: str, seed: int, options: argparse.Namespace, steps: int) -> dict[str, float]:
    """KL to mini of each plan after so many steps of alignment."""
    mixer, lessons = MIXERS[name], teacher().lessons
    made, scored = speech(seed, options.fit_tokens, options.tokens)
    letter = letter_of(mixer.mixer)
    pool = make_pool(lessons, mixer, made, letter=letter, seed=seed)
    if steps:
        align_pool(lessons, pool, made, steps=steps, seed=seed)
    depth = lessons.stack.config.n_layers
    plans = [LayerPlan.parse(plan, depth).kinds.replace("M", letter) for plan in PLANS]
    scores = Bench(lessons, pool, scored).measure(plans)
    return {plan: score.kl for plan, score in zip(PLANS, scores, strict=True)}


def table(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| mixer | KL 1:1 | 1:3 | 0:1 | aligned 1:1 | 1:3 | 0:1 | kB a layer | M parameters more "
        "| holds less from | step us at 256 / 1k / 4k |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    steps = found.get("steps", {})
    for name in ["attention", *MIXERS]:
        runs = [run for key, run in found["runs"].items() if key.rpartition("@")[0] == name]
        cells = [name]
        for stage in ("fitted", "aligned"):
            for plan in PLANS:
                values = [run[stage][plan] for run in runs if stage in run]
                spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
                cells.append(f"{statistics.mean(values):.3f}{spread}" if values else "")
        if name in MIXERS:
            size = sizes(MIXERS[name])
            cells += [f"{size.kilobytes:.0f}", f"{size.parameters:+.2f}"]
            cells += [f"{size.memory_tokens:.0f}"]
        else:
            cells += ["0.512 a token", "", ""]
        cells.append(" / ".join(f"{us:.0f}" for us in steps.get(name, {}).values()))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the file does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="JSON file, gone on with")
    parser.add_argument("--mixers", nargs="*", default=list(MIXERS), choices=list(MIXERS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=60, help="alignment steps")
    parser.add_argument("--fit-tokens", type=int, default=8192)
    parser.add_argument("--tokens", type=int, default=4096, help="speech tokens to compare on")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the step times")
    parser.add_argument("--table", action="store_true", help="print what is there")
    options = parser.parse_args()
    found: dict[str, Any] = {"runs": {}}
    if options.output.is_file():
        found = json.loads(options.output.read_text())

    def keep() -> None:
        options.output.write_text(json.dumps(found, indent=1))

    if not options.table:
        stages = {"fitted": 0} | ({"aligned": options.steps} if options.steps else {})
        for stage, seed in itertools.product(stages, range(options.seeds)):
            for name in options.mixers:
                run = found["runs"].setdefault(f"{name}@{seed}", {})
                if stage not in run:
                    run[stage] = agreement(name, seed, options, stages[stage])
                    keep()
                    print(stage, name, seed, run[stage], flush=True)
        if "steps" not in found and options.rounds:
            found["steps"] = step_times(MIXERS, options.rounds)
            keep()
    print(table(found))


if __name__ == "__main__":
    main()
