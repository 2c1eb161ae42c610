"""Train mini from nothing: every stage in order, each one resumable where it stopped.

    python examples/mini/run.py --out work/mini                  # the shipped recipe
    python examples/mini/run.py --out work/smoke --smoke         # a minute or two, to see it run

Stages: corpus, natural, features, tokenizer, lm, flow, mels, vocoder, vocoder2, pack; `--from` and
`--to` choose some. `natural` needs `--tables`; without it the vocoder hears no natural speech.
`--smoke` needs no synthesizer: mini itself says a few sentences (rehearsal.py), and every stage
takes two steps.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
STAGES = (
    "corpus", "natural", "features", "tokenizer", "lm", "flow", "mels", "vocoder", "vocoder2",
    "pack",
)  # fmt: skip
STEPS = {"tokenizer": 2600, "lm": 1700, "flow": 8000, "vocoder": 7000, "vocoder2": 4500}
SMOKE_STEPS = 2
NATURAL_BATCHES = 8  # enough for the vocoder: 12 minutes


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--front-end", type=Path, help="folder of the front end's three files")
    parser.add_argument("--tables", type=Path, help="voices/ of npm's kokoro-js, for `natural`")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--from", dest="first", default=STAGES[0], choices=STAGES)
    parser.add_argument("--to", dest="last", default=STAGES[-1], choices=STAGES)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    from mamtra_cli.hub import BUILT_IN

    front = args.front_end or BUILT_IN["mini"]
    steps = dict.fromkeys(STEPS, SMOKE_STEPS) if args.smoke else STEPS
    out = ["--out", str(args.out)]
    jobs = str(args.threads)
    commands = {
        "corpus": ["corpus.py", *out, "--jobs", jobs, *(["--rehearse"] if args.smoke else [])],
        "natural": ["natural.py", *out, "--jobs", jobs, "--only", "natural"],
        "features": ["dataset.py", *out, "--jobs", jobs],
        "mels": ["flow_mels.py", *out, "--threads", jobs],
        "vocoder2": ["train_vocoder.py", *out, "--name", "vocoder2", "--flow-share", "0.7"],
        "lm": ["train_lm.py", *out, "--symbols", str(front / "symbols.json")],
        "pack": ["pack.py", *out, "--front-end", str(front)],
    }
    commands["vocoder2"] += ["--init", str(args.out / "vocoder.pt"), "--lr", "7e-4"]
    batches = 1 if args.smoke else NATURAL_BATCHES
    commands["natural"] += ["--tables", str(args.tables), "--limit", str(batches)]
    for name in STAGES[STAGES.index(args.first) : STAGES.index(args.last) + 1]:
        if name == "natural" and args.tables is None:
            continue
        command = commands.get(name, [f"train_{name}.py", *out])
        if name in steps:
            command += ["--steps", str(steps[name]), "--threads", jobs]
        print("stage", name, flush=True)
        subprocess.run([sys.executable, str(HERE / command[0]), *command[1:]], check=True)


if __name__ == "__main__":
    main()
