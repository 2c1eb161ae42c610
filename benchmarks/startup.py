"""How long `mamtra` takes to answer what needs no model: help, version and usage errors.

Each line runs in processes of its own, in turn with an empty Python and with `import typer`, so
that a busy machine slows all alike; the median of the processor times counts.

    python benchmarks/startup.py --runs 15 --out startup      # startup.json and startup.md
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import typer

from mamtra_cli import __version__

LINES = {
    "python alone": ["-c", "pass"],
    "import typer": ["-c", "import typer"],
    "mamtra --help": ["-m", "mamtra_cli", "--help"],
    "mamtra synth --help": ["-m", "mamtra_cli", "synth", "--help"],
    "mamtra --version": ["-m", "mamtra_cli", "--version"],
    "mamtra conver": ["-m", "mamtra_cli", "conver"],
}


def measure(args: list[str]) -> tuple[float, float]:
    """Run Python once; return its processor time and the time that passed, in seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *args], capture_output=True, check=False)
    passed, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, passed


def main() -> None:
    """Measure every line in turn, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("startup"))
    args = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in LINES}
    for _ in range(args.runs + 1):
        for name, line in LINES.items():
            found[name].append(measure(line))
    rows = {
        name: {
            "cpu_s": statistics.median(cpu for cpu, _ in times[1:]),  # the first warms the disk
            "cpu_least_s": min(cpu for cpu, _ in times[1:]),
            "passed_s": statistics.median(passed for _, passed in times[1:]),
        }
        for name, times in found.items()
    }
    facts = {
        "mamtra": __version__,
        "typer": typer.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "runs": args.runs,
    }
    args.out.with_suffix(".json").write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")
    lines = [
        "| line | processor, median ms | least ms | passed, median ms |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| `{name}` | " + " | ".join(f"{1000 * value:.0f}" for value in row.values()) + " |"
        for name, row in rows.items()
    ]
    about = ", ".join(f"{name} {value}" for name, value in facts.items())
    text = "\n".join([*lines, "", about]) + "\n"
    args.out.with_suffix(".md").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
