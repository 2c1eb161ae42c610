"""Memory of speaking to many: what one more stream holds beside the formula, what requests leave.

On the road that `serve` takes, for mini without torch. Resident bytes are the kernel's, of this
process. Two questions:

- `streams`: bytes that each stream adds once it has so many positions, from one stream to `--rows`,
  beside what the admission of `serve` counts for it;
- `requests`: mixed requests, `--rows` at a time (whole, streamed, arriving by parts, of several
  voices and speeds, dropped in the middle): the resident bytes after the last over those after the
  first tenth, which fills caches.

    python benchmarks/holding.py --requests 500
"""

import argparse
import gc
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.decoding.streams import Streams
from mamtra_cli.engine.loading.light import Wishes
from mamtra_cli.engine.loading.opening import open_talker
from mamtra_cli.engine.speaking.many import EngineStudio
from mamtra_cli.engine.speaking.studio import Order

TEXT = "The old clock in the kitchen was very slow, and nobody noticed it."
TEXTS = (
    "Yes.",
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background, and then wait until it is dry.",
    "One came. Two went home. Three stayed until the morning.",
)
OPEN = GuardLimits(equal_run=1e6, loop_span=1e6, leak_run=1e6, min_share=0.0, max_share=1e9)
PROTOCOL = (
    "Resident bytes of one process that speaks as `serve` does; the formula is what its admission "
    "counts for a stream; requests are compared after a first tenth that fills caches."
)


def resident() -> int:
    """Resident bytes of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def streams(engine: Any, rows: int, positions: int) -> dict[str, Any]:
    """Bytes a stream, from one stream to so many, each after so many positions."""
    tokens, speaker = engine.speaker.tokens, engine.speaker
    found: list[int] = []
    ids = speaker.encode(TEXT)
    read = len(speaker.begin(ids, engine.voice()).reads.row.ids)
    for count in (1, rows):
        several = Streams(tokens, rows=count, limits=OPEN)
        before = resident()
        for seed in range(count):
            script = replace(speaker.begin(ids, engine.voice()), least=10**6, most=10**6)
            several.add(script, engine.sampling, seed=seed)
        for _ in range(positions - read + 1):
            several.step()
        found.append(resident() - before)
        del several
    each = (found[1] - found[0]) / (rows - 1)
    formula = tokens.row_bytes(positions)
    return {"rows": rows, "positions": positions, "bytes": each, "formula": formula}


def orders(count: int, voices: list[str]) -> Iterator[tuple[Order, str]]:
    """Orders of all kinds, and what else happens to each: `arrives`, `leaves` or nothing."""
    draw = random.Random(0)
    for number in range(count):
        order = Order(
            text=draw.choice(TEXTS),
            voice=draw.choice(voices),
            speed=draw.choice((0.9, 1.0, 1.3)),
            seed=number,
            whole=draw.random() < 0.5,
        )
        yield order, draw.choice(("", "", "", "arrives", "leaves"))


def requests(studio: EngineStudio, count: int, rows: int) -> dict[str, Any]:
    """Speak so many orders, and tell what is left of them."""
    line, under_way, leaving = orders(count, studio.voices()), set[int](), set[int]()
    done, start, seconds, failed = 0, 0, 0.0, 0
    more = True
    while more or under_way:
        while more and len(under_way) < rows:
            found = next(line, None)
            if found is None:
                more = False
                break
            order, kind = found
            id = studio.add(replace(order, text=None) if kind == "arrives" else order)
            under_way.add(id)
            if kind == "arrives":
                studio.hear(id, order.text or "")
                studio.close(id)
            if kind == "leaves":
                leaving.add(id)
        for event in studio.step():
            if event.id in leaving and event.audio is not None:
                leaving.discard(event.id)
                under_way.discard(event.id)
                studio.drop(event.id)
                done += 1
            elif event.done and event.id in under_way:
                under_way.discard(event.id)
                seconds += event.seconds
                failed += event.error is not None
                done += 1
            if done >= count // 10 and not start:
                start = resident()
    end = resident()
    return {
        "requests": count,
        "seconds": seconds,
        "failed": failed,
        "start_mb": start / 1e6,
        "end_mb": end / 1e6,
        "grown": end / start - 1,
    }


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--positions", type=int, default=400)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    engine = open_talker(args.model, Wishes(threads=1))
    studio = EngineStudio(engine, rows=args.rows)
    held = streams(engine, args.rows, args.positions)
    left = requests(studio, args.requests, args.rows)
    # Only now: it imports torch.
    from protocol import markdown, publish, record

    text = "\n\n".join(markdown(list(one), [list(one.values())]) for one in (held, left))
    publish(record("holding", PROTOCOL, streams=held, requests=left), text, args.out)


if __name__ == "__main__":
    main()
