"""Cases of public reports run again: each is right, argued, or wrong.

    python benchmarks/public_cases.py                 # all of them, a minute or two
    python benchmarks/public_cases.py --only R05 clip-hot

The reports are of people who did this job with other tools: readings of texts (the set `reports`
of `benchmarks/reading`), clips, pipes, encodings, hints, and the faults, hostile files, hubs and
races that were tried on an early state of this project. A case stands for its kind. One that is
answered otherwise than its reporter wished is argued: its reason is printed. POSIX only.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from cases import data, folders, hubs, models, sounds, words
from cases.case import ARGUED, CASES, Check, Place, place_for
from faults.forks import QUICK, fresh, warm
from faults.kills import SAID

PARTS = (words, sounds, data, models, folders, hubs)
"""Importing them registers their cases."""


def materials(work: Path) -> Place:
    """What cases use, and a process that has loaded what commands load."""
    import soundfile
    from tests.families.cosyvoice2.tiny import write_random_checkpoint
    from tests.tiny_model import write_tiny_model
    from tests.voices.test_clip import RATE, speech

    model = write_tiny_model(work / "model", copies=True)
    published = write_random_checkpoint(work / "published")
    clip = work / "clip.wav"
    soundfile.write(clip, speech(5.5), RATE)
    speak = ["synth", SAID, "-m", str(model), "--retries", "40", "-o", "out.wav"]
    warm([speak, ["convert", str(model), *QUICK, "-o", "out"]], work)
    return Place(
        home=fresh(work, "home"), model=model, published=published, clip=clip, words=SAID, work=work
    )


def outcome(check: Check, place: Place) -> str:
    """What is wrong with a case; an exception of its own is."""
    try:
        return check(place)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def main() -> int:
    """Run the cases; exit code 1 where one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", help="ids of cases, or how they begin")
    asked = parser.parse_args()
    chosen = [id for id in CASES if not asked.only or id.startswith(tuple(asked.only))]
    started, counts, done = time.monotonic(), Counter[str](), dict[object, str]()
    with tempfile.TemporaryDirectory(prefix="cases-") as name:
        work = Path(name).resolve()
        for key in [key for key in os.environ if key.startswith(("HF_", "MAMTRA_"))]:
            del os.environ[key]
        os.environ |= {"HOME": str(fresh(work, "user")), "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
        os.environ |= {"OMP_NUM_THREADS": "1", "HF_HOME": str(work / "hf")}
        common = materials(work)
        for id in chosen:
            check = CASES[id]
            if check not in done:
                done[check] = outcome(check, place_for(id, common))
            verdict = "wrong" if done[check] else "argued" if id in ARGUED else "right"
            counts[verdict] += 1
            reason = done[check] or ARGUED.get(id, "")
            print(f"{id:<16} {verdict:<7} {reason}".rstrip(), flush=True)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("right", "argued", "wrong"))
    print(f"{len(chosen)} cases: {told}; {time.monotonic() - started:.0f} s")
    return int(counts["wrong"] > 0)


if __name__ == "__main__":
    assert PARTS
    sys.exit(main())
