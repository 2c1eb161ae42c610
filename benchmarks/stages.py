"""Seconds a second of speech at the published size, stage by stage, before and after, in one run.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/stages.py --out stages   # some three minutes alone
    python benchmarks/stages.py --small                   # tiny sizes, to try the program

Random weights at the published sizes of CosyVoice 2: 10 s of speech after a prompt of 3 s. Stages:
a step of the language model at the positions of the middle of the speech, by torch in float32 and
by ONNX Runtime in int8; the flow over the whole, ten and five steps with guidance, and as
`distill --flow-steps 2` leaves it (a mean velocity, no guidance), in float32 and as this CPU
computes it (`device.fit_solver`); the vocoder in pieces of 200 frames, by torch and by its graph.
Wall time, the least of the rounds, stages in turns; sums are stages one after the other, which
streaming overlaps. Only time: what so few steps sound like was heard with mini (docs/flow.md).
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from decode_step import fused_step, onnx_stack, onnx_step
from protocol import markdown, out_option, publish, record
from torch import Tensor

from mamtra_cli import device
from mamtra_cli.backbone.decoding.onnx_session import open_session
from mamtra_cli.codecs.flow_hift.config import (
    FlowConfig,
    FlowEncoderConfig,
    FlowEstimatorConfig,
    HiFTConfig,
)
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.hift_graph import hift_graph
from mamtra_cli.codecs.flow_hift.light_hift import LightHiFT
from mamtra_cli.codecs.flow_hift.vocoder_stream import HiFTStream
from mamtra_cli.codecs.flow_hift.windows import WaveOptions

PROTOCOL = (
    "Random weights at the published sizes; 10 s of speech after a prompt of 3 s; seconds of wall "
    "time a second of speech, the least of the rounds, stages in turns in one process."
)
RATE, SECONDS, PROMPT = 25, 10, 75  # tokens a second, seconds spoken, tokens of the prompt
TEXT = 100  # text ids of prompt and speech
PIECE = 200  # mel frames that the vocoder takes at once
FEW = 2  # steps of the distilled flow
SMALL = FlowConfig(
    encoder=FlowEncoderConfig(width=32, heads=2, d_ff=32, blocks=1, up_blocks=1),
    estimator=FlowEstimatorConfig(channels=16, heads=2, head_dim=8, n_blocks=1, mid_blocks=1),
)
SUMS = {
    "before: float32, ten guided steps": ("lm float32", "flow 10 guided float32", "vocoder torch"),
    "five guided steps": ("lm int8", "flow 5 guided", "vocoder torch"),
    "two steps, distilled": ("lm int8", f"flow {FEW} distilled", "vocoder torch"),
}


def steps_of_lm(plan: str, threads: int) -> dict[str, Callable[[], object]]:
    """A step at the middle of the speech."""
    middle = TEXT + PROMPT + RATE * SECONDS // 2
    onnx = onnx_stack(plan, "int8", 128, threads)
    return {
        "lm float32": fused_step(torch.float32, middle),
        "lm int8": onnx_step(onnx, middle),
    }


def flows(config: FlowConfig, frames: int) -> dict[str, Callable[[], object]]:
    """The flow over all tokens at once."""
    cpu = device.choose("cpu", "auto")
    narrow = device.fit_solver(cpu, device.SMALL).solver_dtype
    guided, exact = Flow(config).eval(), Flow(config).eval()
    few = replace(config, velocity="mean", steps=FEW, cfg_rate=0.0)
    distilled = Flow(few).eval()
    for one in (guided, distilled):
        one.solve_in(narrow)
    tokens = torch.randint(0, config.vocab_size, (1, frames))
    heard = torch.randint(0, config.vocab_size, (1, PROMPT))
    shown = heard, torch.randn(1, PROMPT * exact.ratio, 80) - 5, torch.randn(1, config.speaker_dim)
    return {
        "flow 10 guided float32": lambda: exact.inference(tokens, *shown, steps=10),
        "flow 5 guided": lambda: guided.inference(tokens, *shown, steps=5),
        f"flow {FEW} distilled": lambda: distilled.inference(tokens, *shown),
    }


def vocoders(config: HiFTConfig, frames: int, threads: int) -> dict[str, Callable[[], object]]:
    """The vocoder piece by piece, as a stream."""
    hift = HiFT(config).eval()
    pieces = (torch.randn(1, 80, frames) - 5).split(PIECE, dim=2)
    options = WaveOptions()
    stream = HiFTStream(hift=hift, context=16, overlap=8, guard=4, seed=0)
    light = LightHiFT(config, open_session(hift_graph(hift).SerializeToString(), threads))

    def spoken(step: Callable[[Any, Tensor, bool], tuple[Any, object]], state: Any) -> None:
        for number, piece in enumerate(pieces, 1):
            state, _ = step(state, piece, number == len(pieces))

    def by_torch(state: Any, piece: Tensor, final: bool) -> tuple[Any, object]:
        return stream.step(state, piece, final=final)

    def by_graph(state: Any, piece: Tensor, final: bool) -> tuple[Any, object]:
        return light.step(state, piece.numpy(), options, final=final)

    return {
        "vocoder torch": lambda: spoken(by_torch, stream.start()),
        "vocoder graph": lambda: spoken(by_graph, light.start()),
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure every stage in turns and add them up."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--plan", default="T", help="layers of the language model, repeated")
    parser.add_argument("--small", action="store_true", help="tiny sizes, without language model")
    out_option(parser)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    seconds = 1 if given.small else SECONDS
    tokens = seconds * RATE
    flow = SMALL if given.small else FlowConfig()
    hift = HiFTConfig(base_channels=16, f0_channels=16) if given.small else HiFTConfig()
    sides = {} if given.small else steps_of_lm(given.plan, given.threads)
    sides |= flows(flow, tokens) | vocoders(hift, 2 * tokens, given.threads)
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(given.rounds):
        for name, run in sides.items():
            for _ in range(8 if name.startswith("lm") else 1):
                start = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - start)
    found = {
        name: spent * (RATE if name.startswith("lm") else 1 / seconds)
        for name, spent in best.items()
    }
    sums = {
        name: sum(found[part] for part in parts)
        for name, parts in SUMS.items()
        if all(part in found for part in parts)
    }
    kept = record("stages", PROTOCOL, threads=given.threads, rounds=given.rounds, rows=found | sums)
    rows = [[name, f"{value:.3f}"] for name, value in (found | sums).items()]
    publish(kept, markdown(["stage", "s a second"], rows), given.out)


if __name__ == "__main__":
    main()
