"""What is measured on a card, part by part; each cell is small, so that a run may end anywhere."""

import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import product
from pathlib import Path

import torch
from benchmarks.card.cells import Cells, Numbers
from benchmarks.card.steps import Model, Protocol, Shelf, planned, timed, transformers_step

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.device import Compute
from mamtra_cli.engine.loading.loaded import LoadedModel
from mamtra_cli.engine.measuring import memory
from mamtra_cli.engine.measuring import speed as bench
from mamtra_cli.engine.measuring.meter import read_seconds, synchronise
from mamtra_cli.engine.measuring.planner import LIBRARIES, Pace
from mamtra_cli.engine.measuring.sizing import Sizing
from mamtra_cli.engine.model import Engine
from mamtra_cli.families.cosyvoice2.family import FAMILY
from mamtra_cli.families.measures import Request
from mamtra_cli.ops.dispatch import forced
from mamtra_cli.ops.ssd import ssd_scan, ssd_step
from mamtra_cli.voices.voice import Voice

RATE = 25.0  # tokens a second
ROOT = Path(__file__).resolve().parents[2]
MIXERS = ("mamba2-gqa", "kv-shared-state", "gdn", "swa+ssm", "mamtra-paper", "swa")
KERNELS = "tests/ops/test_triton_kernels.py"
MARKED = ("tests/backbone/decoding", "tests/ops/test_ssd.py", "tests/layers/test_mamba2.py")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: where it is kept, how it is measured, and how far it goes."""

    cells: Cells
    protocol: Protocol
    contexts: tuple[int, ...]
    batches: tuple[int, ...]
    seconds: float
    rehearsed: bool
    shelf: Shelf = field(default_factory=Shelf)


def tests(run: Run) -> None:
    """The tests of GPU paths and kernels, on this card."""

    def work() -> Numbers:
        if run.rehearsed:
            return {"passed": None, "note": "rehearsed: no tests were run"}
        asked = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        kernels = [*asked, KERNELS]
        marked = [*asked, "-m", "gpu", *MARKED]
        found: Numbers = {}
        for name, command in (("kernels", kernels), ("marked", marked)):
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
            )
            said = done.stdout.strip().splitlines()
            found |= {name: done.returncode == 0, f"{name}_told": said[-1] if said else ""}
        return found

    run.cells.measure("tests", "all", work)


def floor(run: Run) -> None:
    """Bytes a second that a plain read reaches."""
    count = 1 << (20 if run.rehearsed else 29)

    def work() -> Numbers:
        return {
            "bytes_per_s": count
            / read_seconds(count, run.protocol.device, rounds=2 if run.rehearsed else 20)
        }

    run.cells.measure("floor", "read", work)


def bandwidth(run: Run) -> float:
    """What `floor` found; 0 where it did not run."""
    found = run.cells.found.get("floor", {}).get("read", {})
    return float(found.get("bytes_per_s", 0.0))


def graphs(run: Run) -> None:
    """A step as a graph beside the same step eagerly: ids equal, times."""
    for ratio in ("1:0", "1:3"):
        run.cells.measure("graph", f"{ratio} ids, float32", partial(equal_ids, run, ratio))
        for context in run.contexts[:3]:
            run.cells.measure("graph", f"{ratio} at {context}", partial(both, run, ratio, context))


def equal_ids(run: Run, ratio: str) -> Numbers:
    """Share of ids that graph and eager step have in common, from the same random numbers."""
    exact = replace(run.protocol, dtype=torch.float32)
    model, ids = run.shelf.model(exact, ratio, MIXERS[0]), []  # type: ignore[var-annotated]
    eager = model.eager(run.contexts[0], 2, ids)
    step, said = model.graphed(run.contexts[0], 2, exact.steps)
    with torch.inference_mode():
        for _ in range(exact.steps):
            eager()
            step()
    want = torch.tensor([[frame[0] for frame in row[1:]] for row in ids])
    return {"equal": float((said.cpu() == want).float().mean()), "steps": exact.steps}


def both(run: Run, ratio: str, context: int) -> Numbers:
    """Milliseconds of a step, one row."""
    model = run.shelf.model(run.protocol, ratio, MIXERS[0])
    graph = timed(model.graphed(context, 1, run.protocol.steps)[0], run.protocol)["ms"]
    eager = timed(model.eager(context, 1, []), run.protocol)["ms"]
    return {
        "graph_ms": graph,
        "eager_ms": eager,
        "times": eager / graph,
        "share_of_floor": least_ms(run, model, context, 1) / graph,
    }


def least_ms(run: Run, model: Model, context: int, batch: int) -> float:
    """A plain read of a step's bytes."""
    return 1e3 * model.floor_bytes(context, batch) / max(bandwidth(run), 1.0)


def plans(run: Run) -> None:
    """Teacher and hybrids at contexts and batches, the default mixer first."""
    ratios = ("1:3",) if run.rehearsed else ("1:3", "1:1", "1:11")
    everything = [("1:0", MIXERS[0]), *product(ratios, MIXERS[:1]), *product(ratios, MIXERS[1:])]
    for ratio, mixer in everything:
        for context, batch in product(run.contexts, run.batches):
            work = partial(one_plan, run, ratio, mixer, context, batch)
            run.cells.measure("plans", f"{called(ratio, mixer)} | {context} | {batch}", work)


def called(ratio: str, mixer: str) -> str:
    """A plan in words."""
    return ratio if ratio == "1:0" else f"{ratio} {mixer}"


def one_plan(run: Run, ratio: str, mixer: str, context: int, batch: int) -> Numbers:
    """Milliseconds of a step, as a graph."""
    model = run.shelf.model(run.protocol, ratio, mixer)
    found = timed(model.graphed(context, batch, run.protocol.steps)[0], run.protocol)
    return {**found, "share_of_floor": least_ms(run, model, context, batch) / found["ms"]}


def peers(run: Run) -> None:
    """transformers' step beside ours."""
    for context, batch in product(run.contexts[:3], (run.batches[0], run.batches[-2])):
        run.cells.measure(
            "transformers", f"{context} | {batch}", partial(peer, run, context, batch)
        )


def peer(run: Run, context: int, batch: int) -> Numbers:
    """Milliseconds of transformers' step."""
    with warnings.catch_warnings():
        # Its names of arguments change from release to release; these are known to all.
        warnings.simplefilter("ignore", FutureWarning)
        return timed(transformers_step(run.protocol, context, batch), run.protocol)


def kernels(run: Run) -> None:
    """The recurrence by torch, by our Triton kernels and by mamba-ssm."""
    for way in ("torch",) if run.rehearsed else ("torch", "triton", "mamba-ssm"):
        run.cells.measure("kernels", f"step, {way}", partial(one_token, run, way))
        run.cells.measure("kernels", f"scan, {way}", partial(whole_scan, run, way))


def one_token(run: Run, way: str) -> Numbers:
    """Milliseconds of one token of 16 rows, one layer."""
    sizes, random = run.protocol.config.lm, partial(torch.randn, device=run.protocol.device)
    heads, groups, width = sizes.n_heads, sizes.n_kv_heads, sizes.head_dim
    state, x, dt = random(16, heads, width, width), random(16, groups, width), random(16, heads)
    rates, k, q = -random(heads).abs(), random(16, groups, width), random(16, heads, width)

    def work() -> object:
        return ssd_step(state, x, dt, rates, k, q, gain=1.0, in_place=True, force=way)

    return timed(work, run.protocol)


def whole_scan(run: Run, way: str) -> Numbers:
    """Milliseconds of a prompt, one layer."""
    sizes, length = run.protocol.config.lm, 40 if run.rehearsed else 2048
    heads, groups, width = sizes.n_heads, sizes.n_kv_heads, sizes.head_dim
    # The libraries round products of float32, so the type is that of a model.
    random = partial(torch.randn, device=run.protocol.device, dtype=run.protocol.dtype)
    x, dt, rates = random(1, length, heads, width), random(1, length, heads), -random(heads).abs()
    k, q = random(1, length, groups, width), random(1, length, groups, width)

    def work() -> object:
        with forced("ssd_scan", way), torch.inference_mode():
            return ssd_scan(x, dt, rates.float(), k, q)

    return timed(work, run.protocol)


def engine_of(run: Run, ratio: str) -> Engine:
    """The whole pipeline with random weights."""
    protocol = run.protocol
    config = planned(protocol.config, ratio, MIXERS[0])
    torch.manual_seed(0)
    parts = {}
    for name in config.speaking_parts:
        with torch.device(protocol.device):
            part = FAMILY.build_part(config, name)
        dtype = protocol.dtype if name == "lm" else torch.float32
        parts[name] = part.to(protocol.device, dtype).eval().requires_grad_(False)
    compute = Compute(
        device=str(protocol.device),
        dtype=str(protocol.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        reason="asked for",
    )
    name = f"random {ratio}"
    return Engine(
        LoadedModel(
            config=config, family=FAMILY, folder=ROOT, compute=compute, name=name, parts=parts
        )
    )


def request_of(run: Run) -> Request:
    """What is spoken where memory is told."""
    return Request.of_seconds(run.seconds, 5.0 if run.seconds > 5 else 0.5, rate=RATE)


def stages(run: Run) -> None:
    """Memory of each stage beside the official pipeline's arithmetic; seconds to sound."""
    asked: dict[str, Callable[[Run, Engine], Numbers]] = {
        "memory, ours": lambda run, engine: memory.own_memory(engine, request_of(run)),
        "memory, official": lambda run, engine: memory.official_memory(engine, request_of(run)),
        "first sound": first_sound,
        "to sound": to_sound,
    }
    for ratio in ("1:0", "1:3"):
        engine = cache(partial(engine_of, run, ratio))
        for name, work in asked.items():
            run.cells.measure("stages", f"{ratio} {name}", partial(with_engine, run, engine, work))


def with_engine(
    run: Run, engine: Callable[[], Engine], work: Callable[[Run, Engine], Numbers]
) -> Numbers:
    """A cell of a pipeline that is made when the first one asks for it."""
    return work(run, engine())


def to_sound(run: Run, engine: Engine) -> Numbers:
    """Real-time factor of each stage from frames to sound."""
    runs = 1 if run.rehearsed else 2
    return {
        f"{name}_rtf": stage["rtf"]
        for name, stage in bench.frames_to_sound(engine, runs=runs).items()
    }


def first_sound(run: Run, engine: Engine) -> Numbers:
    """Seconds from a prompt of five seconds to the first samples of a stream, cold and warm."""
    measures = memory.measures_of(engine)
    reads = measures.prompt(engine.config, request_of(run), seed=0, room=256)
    tokens, codec = engine.speaker.tokens, engine.speaker.codec
    assert tokens is not None
    voice = engine.speaker.sound_prompt(Voice(name="none", embedding=torch.ones(192)))
    found: Numbers = {}
    for when in ("cold", "warm"):
        synchronise(run.protocol.device)
        start, count = time.perf_counter(), 0
        with torch.inference_mode():
            scores, rows = tokens.read([reads], None, [0], [None])
            state, samples = codec.start(voice, SoundOptions()), torch.empty(0)
            while not len(samples) and count < 250:
                scores, rows = tokens.step(scores.argmax(-1).cpu().numpy() % 40, rows)
                state, samples = codec.push(state, [(count % 40,)])
                count += 1
        synchronise(run.protocol.device)
        found |= {f"{when}_s": time.perf_counter() - start, "tokens": count}
    return found


def streams(run: Run) -> None:
    """Streams a card, at about 4k positions."""
    for ratio in ("1:0", "1:3"):
        run.cells.measure("streams", ratio, partial(streams_of, run, ratio))


def streams_of(run: Run, ratio: str) -> Numbers:
    """By memory from formulas, in time from the steps and stages that were measured."""
    context = min(run.contexts, key=lambda length: abs(length - 4096))
    few, many = run.batches[0], run.batches[-1]
    plans, stages = run.cells.found["plans"], run.cells.found["stages"]
    one, all_of_them = (
        plans[f"{called(ratio, MIXERS[0])} | {context} | {batch}"]["ms"] / 1e3
        for batch in (few, many)
    )
    each = max(0.0, (all_of_them - one) / (many - few))
    to_sound = stages[f"{ratio} to sound"]
    sound = sum(value for key, value in to_sound.items() if key.endswith("_rtf"))
    pace = Pace(shared=RATE * max(0.0, one - few * each), stream=RATE * each + sound)
    real = run.protocol.device.type == "cuda" and not run.rehearsed
    total = torch.cuda.mem_get_info()[1] if real else 80 * 10**9
    sizing = Sizing(
        name=ratio,
        family=FAMILY,
        config=planned(run.protocol.config, ratio, MIXERS[0]),
        precision=run.protocol.precision,
        libraries=LIBRARIES["cuda"],
        prompt=5.0,
    )
    return {
        "positions": context,
        "card_bytes": total,
        "by_memory": sizing.footprint(sizing.frames_at(context)).streams(total),
        "in_time": pace.streams,
        "in_time_steps_alone": replace(pace, stream=RATE * each).streams,
    }


PARTS: dict[str, Callable[[Run], None]] = {
    "tests": tests,
    "floor": floor,
    "graph": graphs,
    "transformers": peers,
    "stages": stages,
    "plans": plans,
    "streams": streams,
    "kernels": kernels,
}
"""In the order of what matters most."""
