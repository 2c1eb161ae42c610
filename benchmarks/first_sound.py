"""From the shell to a sound file with mini, without and with torch: time, memory, and its parts.

Every row is a process of its own, start and imports included; the roads take turns, so a busy
machine slows both alike. Processor seconds and peak memory are the kernel's, of that process; the
least of the runs counts. `steady` is the real-time factor of a text of many sentences in processor
seconds, what a first sentence costs taken off. `--busy` then repeats a sentence beside one spinning
process a core, and gives its wall time as a multiple of the quiet one, default settings all.

    python benchmarks/first_sound.py                  # two minutes
    python benchmarks/first_sound.py --runs 5 --busy --out first_sound
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHORT = "Hello there."
SENTENCE = (
    "The birch canoe slid on the smooth planks, and a glass of milk stood on the sunny table while "
    "they waited for the rain to end."
)
MANY = " ".join(
    f"{SENTENCE} On day {number} nobody came." for number in ("one", "two", "three", "four")
)
TEXTS = {"short": SHORT, "sentence": SENTENCE, "many": MANY}
ROADS = {"without torch": [], "with torch": ["--backend", "torch"]}
SPIN = "while True: pass"
PARTS = """
import json, time
marks, last = {}, 0.0
def mark(name):
    global last
    now = time.process_time()
    marks[name], last = round(now - last, 4), now
mark("python")
import mamtra_cli.cli.app, mamtra_cli.cli.synth
mark("command line")
import mamtra_cli.tasks.synth, mamtra_cli.families.cosyvoice2.light
mark("imports of speaking")
import onnxruntime
mark("onnxruntime")
from mamtra_cli.engine.loading.light import opened
from mamtra_cli.hub import BUILT_IN
engine, reason = opened(BUILT_IN["mini"], "mini")
engine.speaker.ready()
mark("graphs opened")
voice, ids = engine.voice(), engine.speaker.encode("Hello there.")
mark("text and voice")
from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.engine.decoding.loop import Utterance, speak_one
script = engine.speaker.begin(ids, voice)
*_, end = speak_one(engine.speaker.tokens, Utterance(script=script), engine.sampling)
mark("tokens")
engine.speaker.codec.whole(end.outcome.frames, engine.speaker.sound_prompt(voice), SoundOptions())
mark("flow and vocoder")
print(json.dumps(marks))
"""


def run(text: str, more: list[str], folder: Path) -> dict[str, float]:
    """Speak a text in a new process: its times, memory, and what it says of itself."""
    command = [sys.executable, "-m", "mamtra_cli", "synth", text, "--json", "--force", *more]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen([*command, "-o", str(folder / "a.wav")], stdout=out)
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{command} ended with {child.returncode}")
        out.seek(0)
        said = json.load(out)
    return {
        "cpu_s": used.ru_utime + used.ru_stime,
        "wall_s": wall,
        "peak_mb": used.ru_maxrss / 1024,
        "audio_s": said["seconds"],
        "tokens": said["tokens"],
    }


def least(rows: list[dict[str, float]]) -> dict[str, float]:
    """The least of each number."""
    return {name: min(row[name] for row in rows) for name in rows[0]}


def measured(runs: int, folder: Path) -> list[dict[str, object]]:
    """Every text on both roads, in turn."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for _ in range(runs):
        for text, words in TEXTS.items():
            for road, more in ROADS.items():
                found.setdefault((text, road), []).append(run(words, more, folder))
    best = {key: least(rows) for key, rows in found.items()}
    rows: list[dict[str, object]] = []
    for (text, road), row in best.items():
        steady = None
        if text == "many":
            first = best["short", road]
            steady = (row["cpu_s"] - first["cpu_s"]) / (row["audio_s"] - first["audio_s"])
        rows.append({"text": text, "road": road, **row, "steady": steady})
    return rows


def parts(runs: int) -> dict[str, float]:
    """Processor seconds of each part of a short text without torch."""
    found = []
    for _ in range(runs):
        done = subprocess.run([sys.executable, "-c", PARTS], capture_output=True, check=True)
        found.append(json.loads(done.stdout))
    return least(found)


def busy(folder: Path, runs: int) -> dict[str, float]:
    """Wall seconds of a sentence alone, and beside one spinning process a core."""
    quiet = least([run(SENTENCE, [], folder) for _ in range(runs)])["wall_s"]
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(os.cpu_count() or 1)]
    try:
        crowded = least([run(SENTENCE, [], folder) for _ in range(runs)])["wall_s"]
    finally:
        for child in spinning:
            child.kill()
            child.wait()
    return {"quiet_s": quiet, "busy_s": crowded, "times": crowded / quiet}


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = measured(args.runs, folder)
        crowd = busy(folder, args.runs) if args.busy else None
    stages = parts(args.runs)
    # Only now: a child's peak counts from the size of the process that started it.
    from protocol import markdown, publish, record

    protocol = (__doc__ or "").split("\n\n")[1].replace("\n", " ")
    kept = record("first_sound", protocol, rows=rows, parts=stages, busy=crowd)
    text = markdown(list(rows[0]), [list(row.values()) for row in rows])
    text += "\n\n" + markdown(["part", "processor s"], [list(one) for one in stages.items()])
    if crowd is not None:
        text += "\n\n" + markdown(list(crowd), [list(crowd.values())])
    publish(kept, text, args.out)


if __name__ == "__main__":
    main()
