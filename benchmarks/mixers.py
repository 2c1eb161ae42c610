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
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from mamtra_cli.backbone import costs
from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.backbone.kinds import ATTENTION, letter_of
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
SIZE: dict[str, Any] = {"d_model": 896, "n_heads": 14, "n_kv_heads": 2, "head_dim": 64}
CONTEXTS = (256, 1024, 4096)
SCORE_SEED = 1 << 17  # sentences of the comparison are not those of the fit
FULL = HybridConfig(n_layers=24, d_ff=4864, **SIZE)


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


def sizes(name: str) -> dict[str, float]:
    """What one layer costs at the size of CosyVoice 2."""
    mixer = MIXERS[name]
    letter = letter_of(mixer.mixer)
    one = replace(FULL, n_layers=1, kinds=letter, mixer=mixer)
    attention = costs.layer_parameters(one, ATTENTION)
    even = costs.break_even(one, kind=letter)
    return {
        "kilobytes": costs.cache_bytes(one, 1 << 20) / 1000,
        "parameters": (costs.layer_parameters(one, letter) - attention) / 1e6,
        "memory_tokens": even.memory,
        "traffic_tokens": even.traffic,
    }


@torch.no_grad()
def step_times(names: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds of one step of one layer without its feed-forward, by context."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    made: dict[str, Any] = {}
    for name in ["attention", *names]:
        mixer = MIXERS.get(name, MixerConfig())
        kinds = letter_of(mixer.mixer) if name in MIXERS else ATTENTION
        config = HybridConfig(n_layers=1, d_ff=0, ffn="none", kinds=kinds, mixer=mixer, **SIZE)
        made[name] = HybridStack(config).eval()
    best: dict[str, dict[str, float]] = {name: {} for name in made}
    for context in CONTEXTS:
        x = torch.randn(1, context, SIZE["d_model"])
        ready = {}
        for name, stack in made.items():
            fused = FusedStack(stack, share=True)
            ready[name] = (fused, fused.start(stack(x).state, 20 * rounds + 1))
        for _ in range(rounds):
            for name, (fused, state) in ready.items():
                start = time.process_time()
                for _ in range(20):
                    _, state = fused.step(x[:, 0], state)
                spent = (time.process_time() - start) / 20 * 1e6
                ready[name] = (fused, state)
                key = str(context)
                best[name][key] = min(spent, best[name].get(key, spent))
    return best


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
            size = sizes(name)
            cells += [f"{size['kilobytes']:.0f}", f"{size['parameters']:+.2f}"]
            cells += [f"{size['memory_tokens']:.0f}"]
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
            found["steps"] = step_times(list(MIXERS), options.rounds)
            keep()
    print(table(found))


if __name__ == "__main__":
    main()
