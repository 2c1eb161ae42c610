"""Seconds, memory and bytes of converting and speaking at full size, each step a process.

    python benchmarks/fullsize.py --work work/fullsize                # everything; 25 GB of disk
    python benchmarks/fullsize.py --work work/fullsize --rows convert-1:3,synth-1:3
    python benchmarks/fullsize.py --work work/small --small           # small sizes, the same steps

The teacher is the random stand-in of `examples/fullsize/make_standin.py`: sizes, files and code are
those of the published model, what is said is noise. Seconds are wall clock and processor time of
the whole process, start and imports included; memory is the peak resident size that the kernel
counts (`ru_maxrss`), which includes pages of mapped files; `over` is that peak less the peak of a
process which only imports what the step uses, as a share of the largest file it reads. A row that
is in `results.json` already is not measured again. Prints the tables of docs/performance.md.

Noise ends where the draw wants, and a guard refuses speech that does not end. A row of speech is
therefore tried with one seed after the other, each a process with `--retries 0`; the first that
ends is the row, and `refused` counts those before it. The streamed row of a model begins at the
seed of its whole row. Where no seed ends, the last is the row, and it says so.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mamtra_cli.engine import seeds

ROOT = Path(__file__).parents[1]
PLANS = {
    "1:1": ("--ratio", "1:1"),
    "1:3": ("--ratio", "1:3"),
    "1:5": ("--ratio", "1:5"),
    "1:11": ("--ratio", "1:11"),
    "mamtra-1:5": ("--plan", "preset:mamtra-1:5"),
    "mamtra-1:11": ("--plan", "preset:mamtra-1:11"),
}
UNFITTED = ("--calibrate", "none", "--check-tokens", "0")
TEXT = "Good evening, and welcome."
SEEDS = 40
REFUSED = "audio_rejected"
BASELINE = "import mamtra_cli.tasks.convert, mamtra_cli.tasks.synth, safetensors.torch, torch"

VOICE = """
import sys, torch
from pathlib import Path
from mamtra_cli.voices.voice import Voice, save_voice
draw = torch.Generator().manual_seed(0)
save_voice(
    Voice(
        name="random",
        embedding=torch.randn(192, generator=draw),
        prompt_tokens=torch.randint(0, 6561, (75,), generator=draw),
        prompt_mel=torch.randn(150, 80, generator=draw) - 5,
        prompt_text_ids=torch.randint(0, 256, (20,), generator=draw),
    ),
    Path(sys.argv[1]),
)
"""


def measure(command: list[str], threads: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a command: its seconds and peak memory, and the JSON it printed, errors of speech too."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    made: dict[str, Any] = json.loads(out) if out.startswith("{") else {}
    if process.returncode and made.get("code") != REFUSED:
        raise SystemExit(f"exit {process.returncode}: {' '.join(command)}")
    unit = 1 if sys.platform == "darwin" else 1024
    row = {
        "wall_seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_bytes": used.ru_maxrss * unit,
    }
    return row, made


def measure_speech(
    command: list[str], threads: int, first: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure the first seed whose speech ends by itself, from the given one on."""
    for seed in range(first, SEEDS):
        # Seeds of `synth --retries`, so that a streamed row says what its whole row said.
        row, made = measure([*command, "--seed", str(seed * seeds.ATTEMPTS_APART)], threads)
        row["refused"] = seed
        if "error" not in made:
            break
        row["error"] = made["error"]
    return row, made


def mamtra(*arguments: str | Path) -> list[str]:
    """The command line of a `mamtra` process."""
    return [sys.executable, "-m", "mamtra_cli", *map(str, arguments), "--quiet"]


def steps(work: Path, small: bool) -> Iterator[tuple[str, list[str]]]:
    """Every row's name and command, in order."""
    teacher, voice = work / "standin", work / "random.safetensors"
    yield "imports", [sys.executable, "-c", BASELINE]
    maker = [sys.executable, str(ROOT / "examples/fullsize/make_standin.py"), "--out", str(teacher)]
    yield "stand-in", [*maker, *(["--size", "small"] if small else [])]
    yield "voice", [sys.executable, "-c", VOICE, str(voice)]

    def convert(name: str, *options: str) -> list[str]:
        output = work / name.replace(":", "-")
        common = ("-o", output, "--force", "--device", "cpu", "--json")
        return mamtra("convert", teacher, *options, *common)

    def synth(name: str, *options: str) -> list[str]:
        model = teacher if name == "teacher" else work / name.replace(":", "-")
        sound = ("-o", work / "out.wav", "--force", "--device", "cpu", "--json", "--retries", "0")
        return mamtra("synth", TEXT, "-m", model, "--voice", voice, *options, *sound)

    yield "synth-teacher", synth("teacher")
    yield "stream-teacher", synth("teacher", "--stream")
    for name, plan in PLANS.items():
        yield f"convert-{name}", convert(name, *plan, *UNFITTED)
        yield f"synth-{name}", synth(name)
        yield f"stream-{name}", synth(name, "--stream")
    yield "convert-bf16", convert("bf16", *PLANS["1:3"], *UNFITTED, "--dtype", "bfloat16")
    yield "synth-bf16", synth("bf16", "--dtype", "bfloat16")
    yield "convert-fitted", convert("fitted", *PLANS["1:3"])
    yield "synth-fitted", synth("fitted")


def folder_bytes(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(work: Path, small: bool, rows: set[str], threads: int) -> dict[str, dict[str, Any]]:
    """Measure what is asked for and not known yet."""
    known = work / "results.json"
    results: dict[str, dict[str, Any]] = json.loads(known.read_text()) if known.is_file() else {}
    work.mkdir(parents=True, exist_ok=True)
    for name, command in steps(work, small):
        needed = name in ("imports", "stand-in", "voice")
        if name in results or (rows and name not in rows and not needed):
            continue
        load = os.getloadavg()[0]
        spoken = name.startswith(("synth-", "stream-"))
        before = results.get(name.replace("stream-", "synth-"), {}) if spoken else {}
        row, made = (
            measure_speech(command, threads, before.get("refused", 0))
            if spoken
            else measure(command, threads)
        )
        row["load"] = round(load, 1)
        if name == "stand-in":
            row["bytes"] = folder_bytes(work / "standin")
            row["largest"] = max(path.stat().st_size for path in (work / "standin").glob("*.pt"))
        if name.startswith("convert-"):
            row["bytes"] = folder_bytes(Path(made["output"]))
            row["plan"], row["check"] = made["plan"], made["check"]
        if spoken and "error" not in made:
            keys = ("seconds", "tokens", "load_seconds", "first_audio_seconds", "compute_seconds")
            row |= {key: made[key] for key in (*keys, "rtf")}
        results[name] = row
        known.write_text(json.dumps(results, indent=1))
        print(f"{name}: {json.dumps(row)}", file=sys.stderr)
    return results


def tables(results: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown."""
    idle = results["imports"]["peak_bytes"]
    largest = results["stand-in"]["largest"]
    lines = [
        "| step | wall s | CPU s | peak RSS GB | over imports / largest file | output GB | load |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        if name.startswith(("convert-", "stand-in", "imports")):
            over = f"{(row['peak_bytes'] - idle) / largest:.2f}" if "convert" in name else ""
            size = f"{row['bytes'] / 1e9:.3f}" if "bytes" in row else ""
            lines.append(
                f"| {name} | {row['wall_seconds']:.0f} | {row['cpu_seconds']:.0f} | "
                f"{row['peak_bytes'] / 1e9:.2f} | {over} | {size} | {row['load']} |"
            )
    lines += [
        "",
        "| step | wall s | CPU s | peak RSS GB | seeds refused | tokens | audio s | RTF | "
        "first audio s | load |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        if not name.startswith(("synth-", "stream-")):
            continue
        said = (
            f"{row['tokens']} | {row['seconds']:.2f} | {row['rtf']:.1f} | "
            f"{row['first_audio_seconds']:.1f}"
            if "tokens" in row
            else "no end | | | "
        )
        lines.append(
            f"| {name} | {row['wall_seconds']:.0f} | {row['cpu_seconds']:.0f} | "
            f"{row['peak_bytes'] / 1e9:.2f} | {row['refused']} | {said} | {row['load']} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rows", default="", help="names of rows, comma-separated; all by default")
    parser.add_argument("--small", action="store_true", help="the small stand-in")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clean", action="store_true", help="remove the models at the end")
    given = parser.parse_args()
    rows = {name for name in given.rows.split(",") if name}
    results = run(given.work, given.small, rows, given.threads)
    print(tables(results))
    if given.clean:
        for folder in given.work.iterdir():
            if folder.is_dir():
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
