"""One decoded token by this tree and by another checkout of it, taking turns.

Each tree runs in a process of its own, on one thread, over random weights of the same sizes and
plan; they take turns, so a busy machine slows both alike. A time is processor time, the least of
all steps. Numbers above 1 say that this tree is faster.

    git worktree add /tmp/before 748cfd4
    python benchmarks/step_against.py /tmp/before
    python benchmarks/step_against.py /tmp/before --cases mini/TM --rounds 20
"""

import argparse
import importlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent.parent
SIZES = {
    "mini": {"d_model": 256, "n_layers": 8, "n_heads": 4, "n_kv_heads": 2, "head_dim": 64},
    "full": {"d_model": 896, "n_layers": 24, "n_heads": 14, "n_kv_heads": 2, "head_dim": 64},
}
FEED = {"mini": 512, "full": 4864}
STEPS = {"mini": 200, "full": 4}  # of a turn
FUSED = ("mamtra_cli.backbone.decoding.fused", "mamtra_cli.backbone.step")  # now, and at first
CONTEXT, ROOM = 64, 4096


class Side:
    """A process that steps the tree in a folder."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
        )

    def ask(self, case: str) -> float:
        """Milliseconds of the fastest step of a turn."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{case}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def work() -> None:
    """Answer each line of stdin, a case, by the time of its fastest step."""
    import torch

    torch.set_num_threads(1)
    made: dict[str, list[Any]] = {}
    for line in sys.stdin:
        case = line.strip()
        with torch.inference_mode():
            if case not in made:
                made.clear()
                made[case] = opened(case)
            stack, state, x = made[case]
            best = float("inf")
            for _ in range(STEPS[case.partition("/")[0]]):
                start = time.process_time()
                _, state = stack.step(x, state)
                best = min(best, time.process_time() - start)
            made[case][1] = state
        print(1000 * best, flush=True)


def opened(case: str) -> list[Any]:
    """The fused stack of a case, rows that have read a context, and an input."""
    import torch

    from mamtra_cli.backbone.config import HybridConfig
    from mamtra_cli.backbone.hybrid import HybridStack

    size, plan = case.split("/")
    kinds = plan * (SIZES[size]["n_layers"] // len(plan))
    config = HybridConfig(**SIZES[size], d_ff=FEED[size], kinds=kinds, vocab_size=0)
    for name in FUSED:
        try:
            fused: Any = importlib.import_module(name).FusedStack
            break
        except ModuleNotFoundError:
            continue
    torch.manual_seed(0)
    with torch.inference_mode(False), torch.no_grad():
        modules = HybridStack(config).eval().requires_grad_(False)
        held = modules(torch.randn(1, CONTEXT, config.d_model)).state
        stack = fused(modules, share=True)
        return [stack, stack.start(held, ROOM), torch.randn(1, config.d_model)]


def main() -> None:
    """Print a line a case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkout", type=Path, nargs="?", default=HERE)
    parser.add_argument("--cases", nargs="+", default=["mini/T", "mini/TM", "full/T", "full/TMMM"])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work()
        return
    sides = {"that": Side(given.checkout.resolve()), "this": Side(HERE)}
    for case in given.cases:
        best = dict.fromkeys(sides, float("inf"))
        for turn in range(given.rounds):
            for name in sides if turn % 2 else reversed(sides):
                best[name] = min(best[name], sides[name].ask(case))
        this, that = best["this"], best["that"]
        print(f"{case}: {this:.2f} ms, there {that:.2f} ms, {that / this:.2f}", flush=True)
    for side in sides.values():
        side.close()


if __name__ == "__main__":
    main()
