"""Is anything of the user's ever lost, half-written, or told as a traceback? Try it.

    python benchmarks/reliability.py                             # the smoke form: half a minute
    python benchmarks/reliability.py --kills 1000 --lines 10000 --files 1000 --full 100 \
        --memory 50 --soak 500 --hub 100 --log work/reliability.jsonl

One process imports everything once and runs every command once; from then on each runs in a fork
of it, in a folder of its own with a fake home, and is killed, starved, raced, or given what hostile
files and a lying hub have. After each, what was there before must be there still, what has a name
must be whole, and what was said must be a stated error. Prints what was tried and what went wrong,
and one JSON object. With `--log` all that was tried is kept, and the same line again goes on where
it was broken off, or adds to what is there. POSIX only.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from faults.files import MADE, hostile
from faults.forks import QUICK, Tally, mamtra, warm
from faults.kills import SAID, full, kills, races, starved, writers
from faults.lines import fuzzed
from faults.soak import soak


def materials(folder: Path) -> tuple[Path, Path, Path, Path]:
    """A model, a published folder, a student with lessons, clips: all tiny."""
    from tests.families.cosyvoice2.tiny import write_random_checkpoint
    from tests.tiny_model import write_tiny_model

    model = write_tiny_model(folder / "model", copies=True)
    published = write_random_checkpoint(folder / "published")
    data, clips = folder / "data", folder / "clips"
    data.mkdir()
    clips.mkdir()
    chance = random.Random(0)
    rows = [
        {"id": str(n), "text": "hello there", "tokens": [chance.randrange(40) for _ in range(20)]}
        for n in range(12)
    ]
    (data / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first = clips / "a.wav"
    ran = mamtra(["synth", SAID, "-m", "mini", "-o", str(first)], folder, limit=120)
    assert ran.code == 0, ran.said
    for name in "abc":
        if name != "a":
            shutil.copy(first, clips / f"{name}.wav")
        (clips / f"{name}.txt").write_text(SAID)
    ran = mamtra(["convert", str(model), *QUICK, "-o", str(data / "student")], folder)
    assert ran.code == 0, ran.said
    return model, published, data, clips


HEADINGS = {
    "kills": "kill -9",
    "full": "no space",
    "memory": "no memory",
    "races": "six at once",
    "lines": "fuzzed",
    "soak": "soak",
    "hub": "hostile hub",
    "files": "files broken",
}
"""How the names of tallies begin, by option."""


def campaign(arguments: argparse.Namespace, folder: Path, before: list[Tally]) -> Iterator[Tally]:
    """Everything that was asked for and not tried before."""
    tried = {
        option: sum(tally.tried for tally in before if tally.name.startswith(heading))
        for option, heading in HEADINGS.items()
    }
    wanted = {option: getattr(arguments, option) - done for option, done in tried.items()}
    seed = arguments.seed + 1000 * sum(tried.values())
    chance = random.Random(seed)
    import mamtra_cli.tasks.convert
    import mamtra_cli.tasks.distill
    import mamtra_cli.tasks.evaluate
    import mamtra_cli.tasks.prepare
    import mamtra_cli.tasks.profile
    import mamtra_cli.tasks.push
    import mamtra_cli.tasks.synth
    import mamtra_cli.tasks.voice  # noqa: F401

    model, published, data, clips = materials(folder)
    found = writers(model, data, clips)
    warm([writer.args for writer in found], folder)
    runs: dict[str, Callable[[int], Iterator[Tally]]] = {
        "kills": lambda count: kills(found, count, chance, folder),
        "full": lambda count: full(found, count, chance, folder),
        "memory": lambda count: starved(found, count, chance, folder),
        "races": lambda count: races(found, count, folder),
        "lines": lambda count: fuzzed(count, chance, folder),
        "soak": lambda count: soak(count, model, chance, folder),
    }
    for option, run in runs.items():
        if wanted[option] > 0:
            yield from run(wanted[option])
    if wanted["files"] > 0 or (arguments.files == 0 and not before):
        made = not any(tally.name == MADE for tally in before)
        yield from hostile(model, published, max(wanted["files"], 0), seed, folder, made=made)
    if wanted["hub"] > 0:
        from faults.hubs import lying, store
        from tests.loopback_hub import loopback_hub

        with loopback_hub() as hub:
            store(hub, model)
            yield from lying(hub, wanted["hub"], folder)


def logged(path: Path | None) -> list[Tally]:
    """What earlier campaigns tried, as their log says."""
    if path is None or not path.is_file():
        return []
    return [Tally(**json.loads(line)) for line in path.read_text().splitlines()]


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line; the defaults are the smoke form."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name, default, meaning in (
        ("kills", 14, "commands killed"),
        ("full", 7, "commands without space"),
        ("memory", 0, "commands without memory"),
        ("races", 2, "races of six"),
        ("files", 0, "files broken at random beside the made ones; -1 for none at all"),
        ("lines", 40, "fuzzed command lines"),
        ("soak", 0, "requests to one server"),
        ("hub", 0, "answers of a lying hub"),
        ("seed", 0, "of everything random"),
        ("show", 5, "examples of what went wrong"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} [{default}]")
    parser.add_argument("--log", type=Path, help="what was tried is kept here, and gone on from")
    return parser.parse_args(words)


def main() -> int:
    """Run the campaign; exit code 1 where anything went wrong."""
    arguments = parse()
    tallies = logged(arguments.log)
    log = None if arguments.log is None else arguments.log.resolve()
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="reliability-") as name:
        folder = Path(name).resolve() / "work"
        home = folder.parent / "home"
        folder.mkdir()
        home.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "MAMTRA_"))}
        os.environ.clear()
        os.environ.update(kept | {"HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"})
        os.environ.update({"HF_HOME": str(home / "hf"), "NO_COLOR": "1"})
        started = time.monotonic()
        for tally in campaign(arguments, folder, list(tallies)):
            tallies.append(tally)
            if log is not None:
                with open(log, "a") as file:
                    file.write(json.dumps(asdict(tally)) + "\n")
            told = ", ".join(f"{n} {what}" for what, n in tally.wrong.items()) or "nothing"
            print(f"{tally.name:<28} {tally.tried:>6} tried   wrong: {told}", flush=True)
            for line in tally.shown[: arguments.show]:
                print(f"    {line!r}", flush=True)
    found: dict[str, dict[str, Any]] = {}
    for tally in tallies:
        total = found.setdefault(tally.name, {"tried": 0, "wrong": Counter()})
        total["tried"] += tally.tried
        total["wrong"].update(tally.wrong)
    print(json.dumps({"seconds": round(time.monotonic() - started), "found": found}))
    return int(any(tally.wrong for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
