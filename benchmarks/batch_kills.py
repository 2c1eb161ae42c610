"""A file of many lines killed again and again: is every line spoken once, and as in one go?

    python -m benchmarks.batch_kills --lines 10000 --kills 10 --work work/kills

One run of `mamtra synth --jsonl` is left alone, another is killed with signal 9 at random places
and started again each time. Both must hold a record and a file for every line, and the same bytes.
The claim is about the machinery of batches, not about a model: this one is tiny and random, with
the cheaper vocoder (`tests/tiny_model.py`), and a line is one number. Its noise is refused more
often than speech: new attempts are tried as well. The same command with the same `--work` goes on
where it was stopped.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.tiny_model import write_tiny_model

from mamtra_cli.text.number_words import cardinal

RESULTS = "results.jsonl"
TICK = 0.01


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the two runs left.

    Attributes:
        lines: asked for.
        kills: that hit a running process.
        once: lines with exactly one record in the killed run.
        equal: lines whose record and file are the same in both.
        differ: ids of the first others.
        whole_seconds, killed_seconds: wall time of the runs.
    """

    lines: int
    kills: int
    once: int
    equal: int
    differ: tuple[str, ...]
    whole_seconds: float
    killed_seconds: float


def main() -> int:
    """Run both and print what was found; 1 where a line is lost, doubled or other."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder to keep; thrown away without it")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as thrown_away:
        folder = asked.work or Path(thrown_away)
        folder.mkdir(parents=True, exist_ok=True)
        found = campaign(folder, asked.lines, asked.kills, asked.seed)
    sys.stdout.write(json.dumps(asdict(found)) + "\n")
    return 0 if found.once == found.equal == found.lines else 1


def campaign(
    folder: Path, lines: int, kills: int, seed: int, python: Sequence[str] = (sys.executable,)
) -> Found:
    """Run one file of lines whole and killed, in a folder, and compare; goes on where it was.

    Args:
        folder: where the runs write.
        lines: of the file.
        kills: of the second run.
        seed: of the lines and of the moments of the kills.
        python: the words that start a `python`.
    """
    source, model = folder / "lines.jsonl", folder / "model"
    if not model.exists():
        write_tiny_model(model, layers=2, source_filter=True)
    progress = Progress(folder / "progress.json")
    source.write_text("".join(f"{json.dumps(line)}\n" for line in lines_of(lines, seed)))
    command = [*python, "-m", "mamtra_cli", "synth", "--quiet", "--jsonl", str(source)]
    command += [
        "--model",
        str(model),
        "--rows",
        "32",
        "--retries",
        "4",
        "--steps",
        "1",
        "--output-dir",
    ]
    with progress.timed("whole_seconds"):
        to_the_end([*command, str(folder / "whole")])
    draws = random.Random(seed)
    places = sorted(draws.sample(range(1, lines), kills))
    for place in places[int(progress.told["tries"]) :]:
        with progress.timed("killed_seconds"):
            hit = killed_at([*command, str(folder / "killed")], place, draws)
        progress.add(tries=1, kills=int(hit))
    with progress.timed("killed_seconds"):
        to_the_end([*command, str(folder / "killed")])
    one, many = records(folder / "whole"), records(folder / "killed")
    once = [id for id, found in many.items() if len(found) == 1]
    equal = [id for id in once if same(folder, one[id], many[id])]
    return Found(
        lines=lines,
        kills=int(progress.told["kills"]),
        once=len(once),
        equal=len(equal),
        differ=tuple(sorted(set(one) - set(equal))[:10]),
        whole_seconds=round(progress.told["whole_seconds"], 1),
        killed_seconds=round(progress.told["killed_seconds"], 1),
    )


class Progress:
    """What was done so far, in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told = dict.fromkeys(("whole_seconds", "killed_seconds", "tries", "kills"), 0.0)
        if path.is_file():
            self.told |= json.loads(path.read_text())

    def add(self, **more: float) -> None:
        """Add numbers, and keep them."""
        for name, value in more.items():
            self.told[name] += value
        self.path.write_text(json.dumps(self.told))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds of a block."""
        started = time.monotonic()
        yield
        self.add(**{name: time.monotonic() - started})


def lines_of(count: int, seed: int) -> Iterator[dict[str, object]]:
    """Lines of one number, each with a seed of its own."""
    draws = random.Random(seed)
    for number in range(count):
        word = cardinal(str(draws.randrange(20)))
        yield {"id": f"{number:05}", "text": f"{word.capitalize()}.", "seed": number}


def to_the_end(command: list[str]) -> None:
    """Run a command; 1 is its answer where a line's every attempt was refused."""
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr.decode()[-2000:])


def killed_at(command: list[str], place: int, draws: random.Random) -> bool:
    """Run a command until so many lines have a record and a moment more; was it still running?"""
    path = Path(command[-1]) / RESULTS
    # A pipe that stays all but empty tells when nothing of it runs any more.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        if path.is_file() and path.read_bytes().count(b"\n") >= place:
            time.sleep(draws.random() / 10)
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(TICK)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def records(folder: Path) -> dict[str, list[dict[str, object]]]:
    """Records of a run by id."""
    found: dict[str, list[dict[str, object]]] = {}
    for line in (folder / RESULTS).read_text("utf-8").splitlines():
        record = json.loads(line)
        found.setdefault(record["id"], []).append(record)
    return found


def same(folder: Path, one: list[dict[str, object]], many: list[dict[str, object]]) -> bool:
    """Whether a line has the same record and the same bytes in both runs."""
    name = str(one[0]["output"])
    paths = [folder / run / name for run in ("whole", "killed")]
    return one == many and (not name or paths[0].read_bytes() == paths[1].read_bytes())


if __name__ == "__main__":
    sys.exit(main())
