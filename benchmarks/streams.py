"""Many streams of one language model on one CPU thread: tokens a second, text in turns, leaving.

All sides live in one process and take turns, so a busy machine slows all alike: ratios hold where
times do not. A time is processor time, the minimum over the rounds. Sampling is part of every
step. Three questions:

- `streams`: tokens a second of mini with 1, 4, 16 streams, each by random numbers of its own;
- `turns`: a token of a text that arrives in turns, beside one of a text that is whole, with mini's
  sizes and the published layout of positions (random weights); `modules` is the step of the plain
  modules, which text in turns took before;
- `leaving`: what a dropped stream costs the others, beside a copy of their caches, which is what
  leaving a batch took before.

    python benchmarks/streams.py                      # JSON and Markdown on stdout
    python benchmarks/streams.py --rows 1,8,32 --rounds 5
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from protocol import out_option, publish, record

from mamtra_cli.backbone.decoding.caches import finish
from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.decoding.streams import Streams
from mamtra_cli.engine.model import Engine
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.scripts import plain_script
from mamtra_cli.families.cosyvoice2.sequences import decode_sequence
from mamtra_cli.families.cosyvoice2.token_model import FusedTokens
from mamtra_cli.families.cosyvoice2.turns import TextStream
from mamtra_cli.ops.draws import Variates, draw_frames
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.ops.tensor_draws import sample_one

TEXT = "The old clock in the kitchen was very slow, and nobody noticed it."
OPEN = GuardLimits(equal_run=1e6, loop_span=1e6, leak_run=1e6, min_share=0.0, max_share=1e9)
PUBLISHED = Sampling(top_p=0.8, top_k=25, ras_window=10)
VOCABULARY = 6564

PROTOCOL = (
    "One thread; processor time, the least of the rounds, all sides taking turns in one process, "
    "sampling included."
)
Numbers = dict[str, Any]


def spent(work: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def running(engine: Engine, rows: int, steps: int) -> Streams:
    """So many streams of mini that have spoken a few tokens and will not end by themselves."""
    model = engine.speaker.tokens
    assert model is not None
    streams = Streams(model, rows=rows, limits=OPEN)
    ids = engine.encode(TEXT)
    for seed in range(rows):
        script = replace(engine.speaker.begin(ids, engine.voice()), least=10**6, most=10**6)
        streams.add(script, engine.sampling, seed=seed)
    for _ in range(steps):
        streams.step()
    return streams


def rates(engine: Engine, sizes: list[int], steps: int, rounds: int) -> Numbers:
    """Tokens a second by the number of streams; each round starts anew, at the same lengths."""
    best = dict.fromkeys(sizes, float("inf"))
    for _ in range(rounds):
        for rows in sizes:
            streams = running(engine, rows, 5)
            best[rows] = min(best[rows], spent(lambda s=streams: [s.step() for _ in range(steps)]))
    found = {str(rows): rows * steps / seconds for rows, seconds in best.items()}
    one = found[str(sizes[0])]
    return {"tokens_per_second": found, "ratio": {rows: v / one for rows, v in found.items()}}


def choosing(rows: int, rounds: int) -> Numbers:
    """Milliseconds of choosing for so many rows of the published vocabulary."""
    scores = torch.randn(rows, 1, VOCABULARY, generator=torch.Generator().manual_seed(0)) * 3
    scores = scores.log_softmax(-1)
    histories = [[(i,) for i in range(10)] for _ in range(rows)]

    def together() -> None:
        variates = [Variates(i) for i in range(rows)]
        for _ in range(10):
            draw_frames(scores, PUBLISHED, histories, variates)

    def singly() -> None:
        variates = [Variates(i) for i in range(rows)]
        for _ in range(10):
            for row in range(rows):
                sample_one(scores[row, 0], PUBLISHED, range(10), variates[row])

    sides = {"together_ms": together, "singly_ms": singly}
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, work in sides.items():
            best[name] = min(best[name], 100 * spent(work))
    return {"rows": rows, "vocabulary": VOCABULARY, **best}


def turns(engine: Engine, tokens: int, rounds: int) -> Numbers:
    """Milliseconds of a token where the text is whole, arrives in turns, and of the modules."""
    torch.manual_seed(0)
    config = replace(
        engine.config.lm, positions="sequential", durations=(), speech_chunk=15, max_ratio=1e6
    )
    lm = SpeechLM(config).eval().requires_grad_(False)
    lm.llm_decoder.bias[list(config.stop_ids)] = -30.0  # nothing ends, whatever is drawn
    model = FusedTokens(lm)
    ids = [1 + index % 50 for index in range(60)]

    def steps(streams: Streams) -> Iterator[float]:
        while streams.busy:
            yield spent(streams.step)

    def whole() -> Iterator[float]:
        streams = Streams(model, rows=1, limits=OPEN)
        script = plain_script(config, ids)
        streams.add(replace(script, least=10**6, most=10**6), PUBLISHED)
        return steps(streams)

    def arriving() -> Iterator[float]:
        streams = Streams(model, rows=1, limits=OPEN)
        id = streams.add(TextStream.begin(config), PUBLISHED)
        streams.hear(id, ids)
        return steps(streams)

    def modules() -> Iterator[float]:
        _, state = lm.extend(decode_sequence(config, ids))
        token = torch.tensor([3])
        while True:
            start = time.process_time()
            scores, state = lm.step(token, state)
            token = torch.tensor([sample_one(scores[0], PUBLISHED, (), Variates(0))])
            yield time.process_time() - start

    sides = {"whole": whole, "turns": arriving, "modules": modules}
    medians = {name: float("inf") for name in sides}
    means = dict(medians)
    for _ in range(rounds):
        under_way = {name: begin() for name, begin in sides.items()}
        took = [{name: next(side) for name, side in under_way.items()} for _ in range(tokens)]
        for name in sides:
            kept = sorted(token[name] for token in took[1:])  # the first reads the prompt
            medians[name] = min(medians[name], 1e3 * kept[len(kept) // 2])
            means[name] = min(means[name], 1e3 * sum(kept) / len(kept))
    return {
        "token_ms": medians,
        "with_reads_ms": means,
        "token_ratio": {name: value / medians["whole"] for name, value in medians.items()},
        "with_reads_ratio": {name: value / means["whole"] for name, value in means.items()},
    }


def leaving(engine: Engine, rows: int, rounds: int) -> Numbers:
    """Milliseconds of dropping one of many streams, of their step, and of copying the others."""
    best = {"drop_ms": float("inf"), "step_ms": float("inf"), "copy_ms": float("inf")}
    moved, gone = 0, (rows - 1) // 2
    for _ in range(rounds):
        streams = running(engine, rows, 40)
        state = streams._batch
        buffers = [view.data_ptr() for cache in state.caches for view in cache.by_slot()]
        rest = [row for row in range(rows) if row != gone]
        copied = spent(lambda s=state, rest=rest: finish(s).select(rest).clone())
        best["copy_ms"] = min(best["copy_ms"], 1e3 * copied)
        best["step_ms"] = min(best["step_ms"], 1e3 * spent(streams.step))
        best["drop_ms"] = min(best["drop_ms"], 1e3 * spent(lambda s=streams: s.drop(gone)))
        assert streams.running == rows - 1
        assert streams._batch.lengths[gone] == 0
        big = [view.data_ptr() for cache in streams._batch.caches for view in cache.by_slot()]
        # Convolution inputs are new tensors in every step; keys, values and states stay.
        moved += len({*big} & {*buffers}) == 0
    return {"rows": rows, **best, "others_moved": bool(moved)}


def tables(found: Numbers) -> str:
    """The results as tables."""
    lines = ["| streams | tokens/s | times one |", "|---|---|---|"]
    for rows, rate in found["streams"]["tokens_per_second"].items():
        lines.append(f"| {rows} | {rate:.0f} | {found['streams']['ratio'][rows]:.2f} |")
    lines += ["", "| a token | ms | times whole | with reads |", "|---|---|---|---|"]
    told = found["turns"]
    for name, value in told["token_ms"].items():
        ratios = f"{told['token_ratio'][name]:.2f} | {told['with_reads_ratio'][name]:.2f}"
        lines.append(f"| {name} | {value:.2f} | {ratios} |")
    chosen, left = found["choosing"], found["leaving"]
    lines += [
        "",
        f"Choosing for {chosen['rows']} rows of {chosen['vocabulary']} ids: "
        f"{chosen['together_ms']:.2f} ms together, {chosen['singly_ms']:.2f} ms one by one.",
        f"Dropping one of {left['rows']} streams: {left['drop_ms']:.3f} ms beside a step of "
        f"{left['step_ms']:.1f} ms; a copy of the others' caches takes {left['copy_ms']:.2f} ms.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1,4,16")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    out_option(parser)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sizes = [int(rows) for rows in asked.rows.split(",")]
    engine = Engine.load("mini", device="cpu", dtype="float32", threads=1)
    found: Numbers = {
        "streams": rates(engine, sizes, asked.steps, asked.rounds),
        "choosing": choosing(sizes[-1], asked.rounds),
        "turns": turns(engine, 160, asked.rounds),
        "leaving": leaving(engine, sizes[-1], asked.rounds),
    }
    publish(record("streams", PROTOCOL, **found), tables(found), asked.out)


if __name__ == "__main__":
    main()
