"""A newcomer's path, timed in a fresh clone: first sound, first hybrid, first served request.

    python benchmarks/newcomer.py

Every step is a command of the README or of the tutorial; seconds are counted from the start, so
the first holds the installation. Nothing that mamtra measured before is known (its cache is empty).
Needs git, make, and a package index for pip.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
PORT = 8897
STEPS = {
    "first sound": "make demo",
    "first hybrid": ".venv/bin/mamtra convert mini --ratio 1:1 -o student && "
    '.venv/bin/mamtra synth "Half of me is a state-space model." -m student -o hybrid.wav',
    "serving installed": ".venv/bin/python -m pip install --quiet -c constraints.txt '.[serve]'",
}


def main() -> int:
    """Walk the path and print the seconds at which each step was done."""
    reached: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        clone, env = Path(folder) / "mamtra", {**os.environ, "MAMTRA_CACHE": f"{folder}/cache"}
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        started = time.monotonic()
        for name, command in STEPS.items():
            subprocess.run(command, shell=True, cwd=clone, env=env, check=True, stdout=sys.stderr)
            reached[name] = round(time.monotonic() - started, 1)
        server = subprocess.Popen(
            [clone / ".venv/bin/mamtra", "serve", "student", "--port", str(PORT)],
            cwd=clone,
            env=env,
            stdout=sys.stderr,
        )
        try:
            reached["first served request"] = round(served(server) - started, 1)
        finally:
            server.terminate()
            server.wait(timeout=60)
    sys.stdout.write(json.dumps(reached) + "\n")
    return 0


def served(server: "subprocess.Popen[bytes]") -> float:
    """Ask for a sentence until it is answered; when that was."""
    body = json.dumps({"input": "Served.", "response_format": "wav"}).encode()
    while server.poll() is None:
        try:
            url = f"http://127.0.0.1:{PORT}/v1/audio/speech"
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=120) as answer:
                assert answer.read()[:4] == b"RIFF"
                return time.monotonic()
        except urllib.error.URLError:
            time.sleep(0.1)
    raise RuntimeError("the server ended")


if __name__ == "__main__":
    sys.exit(main())
