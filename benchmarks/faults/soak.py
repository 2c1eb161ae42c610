"""A server that answers many callers of every kind, and what it holds afterwards."""

import http.client
import json
import os
import random
import re
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from faults.forks import Tally, fresh, start

WARM = 100  # requests until its memory counts
GROWTH = 0.02
PATIENCE = 600.0  # seconds for an answer, on a machine with much else to do


def soak(count: int, model: Path, chance: random.Random, folder: Path) -> Iterator[Tally]:
    """Send requests, good and bad, to one server; its memory must end where it began."""
    home = fresh(folder, "soak")
    output = folder / "soak.said"
    output.write_text("")
    child = os.fork()
    if not child:
        args = ["serve", str(model), "--port", "0", "--voices", str(home), "--threads", "1"]
        start(args, home, output, {})
    tally = Tally(name="soak")
    try:
        port = _port(output)
        for _ in range(WARM):
            _ask(port, chance)
        before = _resident(child)
        for _ in range(count):
            status, said = _ask(port, chance)
            # Speech of a random model that no attempt made good is a stated answer.
            stated = status == 503 or b'"audio_rejected"' in said
            tally.add("" if status < 500 or stated else f"status {status}: {said[:200]!r}")
        grown = _resident(child) / before - 1
        if grown > GROWTH:
            tally.wrong[f"grew by {100 * grown:.1f} %"] = 1
        tally.shown.append(f"{before >> 20} MB, then {100 * grown:+.2f} %")
    finally:
        os.kill(child, signal.SIGINT)
        if not _ended(child):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            tally.wrong["does not stop"] = 1
    said = output.read_text(errors="replace")
    if "Traceback" in said:
        tally.wrong["traceback"] = 1
        tally.shown.append(said[said.index("Traceback") :][:4000])
    yield tally


def _ended(process: int) -> bool:
    """Whether a process ends in good time."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if os.waitpid(process, os.WNOHANG)[0]:
            return True
        time.sleep(0.1)
    return False


def _port(output: Path) -> int:
    """Where the server listens, once it says so."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", output.read_text(errors="replace"))
        if found:
            return int(found[1])
        time.sleep(0.1)
    raise TimeoutError(output.read_text(errors="replace")[-500:])


def _resident(process: int) -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _ask(port: int, chance: random.Random) -> tuple[int, bytes]:
    """One request of a kind drawn by chance; its status, and what was read of the answer."""
    text = " ".join(chance.choices(("hello", "there", "12", "Dr.", "🎉", "good"), k=5)) + "."
    speech = "/v1/audio/speech"
    body: object = {"input": text, "seed": chance.randrange(1000)}
    path = speech
    match chance.randrange(8):
        case 0 | 1:
            body = {**body, "response_format": chance.choice(("wav", "pcm", "mp3", "flac"))}  # type: ignore[dict-item]
        case 2:
            body = {**body, "stream_format": "sse"}  # type: ignore[dict-item]
        case 3:
            body = {**body, "voice": "nobody"}  # type: ignore[dict-item]
        case 4:
            body = [{}] * chance.randrange(50)
        case 5:
            body = {"input": "x" * chance.randrange(100_000)}
        case 6:
            path, body = f"{speech}/batch", {"inputs": [text, "", text]}
        case _:
            path, body = chance.choice(("/healthz", "/metrics", "/v1/models", "/nowhere")), None
    raw = None if body is None else json.dumps(body).encode()
    if raw and chance.random() < 0.1:
        raw = chance.randbytes(200)
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        line.request("GET" if raw is None else "POST", path, raw)
        answer = line.getresponse()
        leaves = answer.status == 200 and chance.random() < 0.1
        return answer.status, answer.read(100 if leaves else None)
    except http.client.IncompleteRead as error:  # a stream that a guard broke off
        return answer.status, error.partial
    finally:
        line.close()
