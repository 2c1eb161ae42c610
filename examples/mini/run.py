"""Train mini from nothing: every stage in order, each one resumable where it stopped.

    python examples/mini/run.py --tables package/voices --out work/natural    # the shipped recipe
    python examples/mini/run.py --out work/smoke --smoke         # a minute or two, to see it run
    python examples/mini/run.py --source synthesizers --out work/first        # the first mini

Stages: corpus, natural, sped, features, codes, tokenizer, lm, flow, mels, vocoder, vocoder2, pack;
`--from` and `--to` choose some. `natural` needs `--tables`. Every part starts from that of `mini`,
codes are told (`supervised_codes.py`), and the vocoder stays as it is. With `--source synthesizers`
festival and flite speak, every part starts from nothing, codes are found, and without `--tables`
the vocoder hears no natural speech. `--smoke` needs no source: mini itself says a few sentences
(rehearsal.py), every stage takes two steps.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
STAGES = (
    "corpus", "natural", "sped", "features", "codes", "tokenizer", "lm", "flow", "mels", "vocoder",
    "vocoder2", "pack",
)  # fmt: skip
STEPS = {"tokenizer": 2600, "lm": 1700, "flow": 8000, "vocoder": 7000, "vocoder2": 4500}
SMOKE_STEPS = 2
NATURAL_STEPS = {"tokenizer": 3000, "lm": 3000, "flow": 9000}
NATURAL_BATCHES = 8  # enough for the vocoder: 12 minutes


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/natural"))
    parser.add_argument("--source", choices=("natural", "synthesizers"), default="natural")
    parser.add_argument("--front-end", type=Path, help="folder of the front end's three files")
    parser.add_argument("--tables", type=Path, help="voices/ of npm's kokoro-js, for `natural`")
    parser.add_argument("--begin", default="mini", help="what `--source natural` starts from")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--from", dest="first", default=STAGES[0], choices=STAGES)
    parser.add_argument("--to", dest="last", default=STAGES[-1], choices=STAGES)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    from mamtra_cli.hub import BUILT_IN

    front, natural = args.front_end or BUILT_IN["mini"], args.source == "natural"
    chosen = STAGES[STAGES.index(args.first) : STAGES.index(args.last) + 1]
    if natural and "natural" in chosen and not (args.smoke or args.tables):
        parser.error("name the style tables with --tables")
    steps = NATURAL_STEPS if natural else STEPS
    steps = dict.fromkeys(steps, SMOKE_STEPS) if args.smoke else steps
    rehearse = ["--rehearse"] if args.smoke else []
    jobs = str(args.threads)
    commands = {
        "corpus": ["corpus.py", "--jobs", jobs, *rehearse],
        "sped": ["sped.py"],
        "features": ["dataset.py", "--jobs", jobs],
        "codes": ["supervised_codes.py"],
        "mels": ["flow_mels.py", "--threads", jobs],
        "vocoder2": "train_vocoder.py --name vocoder2 --flow-share 0.7 --lr 7e-4".split(),
        "lm": ["train_lm.py", "--symbols", str(front / "symbols.json")],
        "pack": ["pack.py", "--front-end", str(front)],
    }
    tables = ["--tables", str(args.tables)]
    if natural:
        left_out = {"corpus", "mels", "vocoder", "vocoder2"}
        commands["pack"] += ["--vocoder", args.begin]
        speech = [*rehearse, "--hours", "0"] if args.smoke else tables
    else:
        left_out = {"sped", "codes"} if args.tables else {"sped", "codes", "natural"}
        batches = 1 if args.smoke else NATURAL_BATCHES
        speech = [*tables, "--only", "natural", "--limit", str(batches)]
        commands["vocoder2"] += ["--init", str(args.out / "vocoder.pt")]
    commands["natural"] = ["natural.py", "--jobs", jobs, *speech]
    for name in chosen:
        if name in left_out:
            continue
        program, *options = commands.get(name, [f"train_{name}.py"])
        options += ["--out", str(args.out)]
        if name in (*steps, "mels", "pack"):
            options += ["--source", args.source]
        if name in steps:
            options += ["--steps", str(steps[name]), "--threads", jobs]
            options += ["--begin", args.begin, "--supervised"] if natural else []
            options += ["--crop", "64"] if natural and name == "flow" else []
        print("stage", name, flush=True)
        subprocess.run([sys.executable, str(HERE / program), *options], check=True)


if __name__ == "__main__":
    main()
