"""Train a small Zonos: every stage in order, each one resumable where it stopped.

    python examples/zonos/run.py --corpus work/mini --corpus work/natural --out work/zonos-small
    python examples/zonos/run.py --corpus work/mini --out work/smoke --smoke    # to see it run

Corpora are folders that `examples/mini` renders. Stages: codec, speaker, features, lm, voice, pack;
`--from` and `--to` choose some. espeak-ng must be installed. The language model hears all voices
first and goes on with one, because it has to be understood on little time.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
STAGES = {
    "codec": "train_codec.py",
    "speaker": "train_speaker.py",
    "features": "features.py",
    "lm": "train_lm.py",
    "voice": "train_lm.py",
    "pack": "pack.py",
}
VOICE = "f1"
STEPS = {"codec": 650, "speaker": 200, "lm": 450, "voice": 1100}  # `voice` counts those of `lm`
SMOKE = {"codec": 10, "speaker": 2, "lm": 2, "voice": 4}


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, default=Path("work/zonos-small"))
    names = list(STAGES)
    parser.add_argument("--from", dest="first", default=names[0], choices=names)
    parser.add_argument("--to", dest="last", default=names[-1], choices=names)
    parser.add_argument("--smoke", action="store_true", help="a few steps of each")
    args = parser.parse_args()
    steps = SMOKE if args.smoke else STEPS
    for name in names[names.index(args.first) : names.index(args.last) + 1]:
        command = [str(HERE / STAGES[name]), "--out", str(args.out)]
        if name != "pack":
            for corpus in args.corpus:
                command += ["--corpus", str(corpus)]
        if name in ("voice", "pack"):
            command += ["--voice", VOICE]
        if name in steps:
            command += ["--steps", str(steps[name])]
        print("stage", name, flush=True)
        subprocess.run([sys.executable, *command], check=True)


if __name__ == "__main__":
    main()
