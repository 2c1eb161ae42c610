"""Many callers at a server at once: time to first sound, sound a second, memory, refusals.

Starts `mamtra serve` on a free port of this machine, speaks to it one caller at a time, then with
many at once: sentences of mixed lengths, some callers that hang up in the middle, some that send
rubbish. Nothing may fail but requests refused with 429 or 503. Memory is that of the last minute
over that of the first (of thirds of the time, where it is shorter). Prints JSON, then Markdown; the
exit code is 1 where a goal below was missed.

    python benchmarks/load.py --clients 32 --seconds 180
"""

import argparse
import http.client
import json
import os
import random
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from protocol import markdown, out_option, publish, record

from mamtra_cli.text import sentences

RATE = 24_000
PROTOCOL = (
    "`mamtra serve` on loopback, sentences of mixed lengths, one caller at a time and then many at "
    "once, some of whom hang up or send rubbish."
)
GAIN, GROWTH, FREED = 2.5, 0.05, 0.3
"""Goals: sound a second over that of one at a time, growth of memory, seconds to a free row."""
LOOK = 2.0  # seconds between looks at the memory
GARBAGE = (b"{", b"[]", b'{"input": 3}', b'{"input": "a", "speed": 99}', b"\xff" * 50)


@dataclass
class Tally:
    """What came of the requests."""

    first: list[float] = field(default_factory=list)
    audio: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    hung_up: int = 0
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def ask(host: str, body: bytes, tally: Tally, hang_up: bool, rubbish: bool) -> int:
    """One request; returns its status."""
    connection = http.client.HTTPConnection(host, timeout=120)
    start = time.monotonic()
    try:
        connection.request("POST", "/v1/audio/speech", body)
        answer = connection.getresponse()
        size, first = 0, None
        while part := answer.read1(4096):
            first = first or time.monotonic() - start
            size += len(part)
            if hang_up and size > 20_000:
                with tally.lock:
                    tally.hung_up += 1
                return answer.status
        with tally.lock:
            tally.statuses[answer.status] += 1
            if answer.status == 200 and first is not None:
                tally.first.append(first)
                tally.audio += size / 2 / RATE
            elif answer.status not in (429, 503) and not (rubbish and answer.status == 400):
                tally.failures.append(f"{answer.status}")
        return answer.status
    except OSError as error:
        with tally.lock:
            tally.failures.append(type(error).__name__)
        return 0
    finally:
        connection.close()


def client(host: str, number: int, until: float, tally: Tally, wild: bool) -> None:
    """One caller after the other until the time is over."""
    draw = random.Random(number)
    lines = sentences.closed(number, 200)
    while time.monotonic() < until:
        text = " ".join(draw.choices(lines, k=draw.choice((1, 1, 1, 2, 4))))
        fields = {"input": text, "response_format": "pcm", "seed": draw.randrange(1000)}
        rubbish = wild and draw.random() < 0.05
        body = draw.choice(GARBAGE) if rubbish else json.dumps(fields).encode()
        status = ask(host, body, tally, wild and draw.random() < 0.1, rubbish)
        if status in (429, 503):
            time.sleep(draw.uniform(0.5, 1.5))


def cancelled(host: str) -> float:
    """Seconds from a caller's hanging up in the middle of a long text to a free row."""
    connection = http.client.HTTPConnection(host, timeout=120)
    text = " ".join(sentences.closed(1, 60))
    body = json.dumps({"input": text, "response_format": "pcm"})
    connection.request("POST", "/v1/audio/speech", body)
    answer = connection.getresponse()
    answer.read(20_000)
    start = time.monotonic()
    answer.close()
    connection.close()
    while running(host):
        time.sleep(0.002)
    return time.monotonic() - start


def running(host: str) -> int:
    """Rows in use."""
    with urllib.request.urlopen(f"http://{host}/healthz", timeout=30) as answer:
        return int(json.load(answer)["running"])


def resident(pid: int) -> int:
    """Bytes of a process in memory (Linux)."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", text)
    return 1024 * int(found[1]) if found else 0


def run(host: str, clients: int, seconds: float, wild: bool) -> tuple[Tally, float]:
    """Let clients call for a while."""
    tally, start = Tally(), time.monotonic()
    until = start + seconds
    threads = [
        threading.Thread(target=client, args=(host, n, until, tally, wild)) for n in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally, time.monotonic() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--alone", type=float, default=30.0, help="seconds of one caller")
    parser.add_argument("--cancels", type=int, default=20, help="callers who hang up, timed")
    parser.add_argument("--threads", type=int, default=0, help="of the server; 0: its own choice")
    out_option(parser)
    options = parser.parse_args()
    command = [sys.executable, "-m", "mamtra_cli", "serve", options.model, "--port", "0", "--json"]
    command += ["--warmup", *(["--threads", str(options.threads)] if options.threads else [])]
    # The server chooses its threads as a user's does.
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert server.stdout is not None
    try:
        begun = server.stdout.readline()
        if not begun:
            raise SystemExit("the server did not start")
        host = json.loads(begun)["address"].removeprefix("http://")
        for _ in range(300):  # the socket listens before the model is loaded
            try:
                if ask(host, b'{"input": "Ready."}', Tally(), False, False) == 200:
                    break
            except OSError:
                time.sleep(0.2)
        freed = [cancelled(host) for _ in range(options.cancels)]
        alone, alone_seconds = run(host, 1, options.alone, wild=False)
        memory: list[int] = []
        over = threading.Event()

        def watch() -> None:
            while not over.wait(LOOK):
                memory.append(resident(server.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        many, many_seconds = run(host, options.clients, options.seconds, wild=True)
        over.set()
        watcher.join()
    finally:
        server.terminate()
        server.wait(60)
    span = max(1, min(len(memory) // 3, round(60 / LOOK)))
    early, late = statistics.median(memory[:span]), statistics.median(memory[-span:])
    speed = {"alone": alone.audio / alone_seconds, "together": many.audio / many_seconds}
    quantiles = statistics.quantiles(many.first, n=20) if len(many.first) > 1 else [0.0] * 19
    result = {
        "model": options.model,
        "clients": options.clients,
        "seconds": round(many_seconds, 1),
        "audio_per_second": {name: round(value, 2) for name, value in speed.items()},
        "gain": round(speed["together"] / max(speed["alone"], 1e-9), 2),
        "first_audio_p50": round(quantiles[9], 2),
        "first_audio_p95": round(quantiles[18], 2),
        "first_audio_alone": round(statistics.median(alone.first or [0.0]), 2),
        "statuses": {str(status): count for status, count in sorted(many.statuses.items())},
        "hung_up": many.hung_up,
        "cancel_to_free_row_p50": round(statistics.median(freed or [0.0]), 3),
        "cancel_to_free_row_most": round(max(freed, default=0.0), 3),
        "failures": Counter(many.failures),
        "memory_span_seconds": round(span * LOOK),
        "memory_first": early,
        "memory_last": late,
        "memory_growth": round(late / early - 1, 4) if early else 0.0,
    }
    goals = {
        "nothing fails but 429 and 503": not many.failures,
        f"{GAIN} times the sound of one at a time": result["gain"] >= GAIN,
        f"memory within {GROWTH:.0%}": abs(result["memory_growth"]) <= GROWTH,
        f"a free row within {FREED} s": result["cancel_to_free_row_most"] < FREED,
    }
    first = [result["first_audio_alone"], quantiles[9]]
    table = [
        ["sound a second, s", speed["alone"], speed["together"]],
        ["first sound, median, s", *first],
        ["first sound, 95th, s", None, quantiles[18]],
        ["hung up to free row, median, s", statistics.median(freed or [0.0]), None],
        ["hung up to free row, most, s", max(freed, default=0.0), None],
        [f"memory, last {span * LOOK:.0f} s over first, %", None, 100 * result["memory_growth"]],
        ["sound over that of one at a time", None, result["gain"]],
        ["failures", None, len(many.failures)],
        ["answered, refused, hung up", None, told(many)],
    ]
    text = markdown(["", "alone", "together"], table)
    text += "\n\n" + "\n".join(
        f"- {goal}: {'met' if met else 'MISSED'}" for goal, met in goals.items()
    )
    publish(record("load", PROTOCOL, goals=goals, **result), text, options.out)
    return 0 if all(goals.values()) else 1


def told(tally: Tally) -> str:
    """What became of the requests, by status."""
    by_status = ", ".join(f"{status}: {count}" for status, count in sorted(tally.statuses.items()))
    return f"{by_status}, hung up: {tally.hung_up}"


if __name__ == "__main__":
    sys.exit(main())
