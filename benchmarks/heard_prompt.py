"""What a stream costs where the flow hears a prompt with each window, and where it hears it once.

    python benchmarks/heard_prompt.py                    # mini, and a middle size: a minute
    python benchmarks/heard_prompt.py --sizes full       # the published size, random weights

Seconds of processor time of the flow alone (no vocoder), for a prompt of 5 s and speech of 6 s that
comes token by token: `again` hears the prompt with each window, `first` keeps it as it goes,
`later` is another stream of the same voice. The three take turns in one process.
"""

import argparse
import time
from dataclasses import replace
from typing import Any

import torch
from protocol import markdown, out_option, publish, record

from mamtra_cli.codecs.flow_hift.config import FlowConfig, FlowEncoderConfig, FlowEstimatorConfig
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.token2wav import TokenToWave, VoicePrompt
from mamtra_cli.codecs.flow_hift.windows import WaveOptions
from mamtra_cli.engine.model import Engine

PROMPT, TOKENS, RATE = 125, 150, 25
PROTOCOL = "Processor seconds of one thread; three ways taking turns, the least of the rounds."
MIDDLE = FlowConfig(
    encoder=FlowEncoderConfig(width=256, heads=4, d_ff=1024, blocks=4, up_blocks=2),
    estimator=FlowEstimatorConfig(channels=128, heads=4, head_dim=64, n_blocks=2, mid_blocks=6),
)


class Silent(TokenToWave):
    """A road whose vocoder makes nothing."""

    def voiced(self, state: Any, mel: torch.Tensor, *, final: bool) -> tuple[Any, torch.Tensor]:
        """See `Windows.voiced`."""
        del mel, final
        return state, self.nothing()


def flow_of(size: str) -> tuple[Flow, Any]:
    """The flow of a size, and the vocoder of mini, which the road asks for."""
    engine = Engine.load("mini")
    torch.manual_seed(0)
    flow = {
        "mini": lambda: engine.part("flow"),
        "middle": lambda: Flow(MIDDLE),
        "full": lambda: Flow(FlowConfig()),
    }[size]()
    return flow.eval().requires_grad_(False), engine.part(engine.config.vocoder_part)


def seconds(of: Silent, prompt: VoicePrompt, tokens: list[int]) -> float:
    """Processor time of one stream."""
    started = time.process_time()
    for _ in of.stream(tokens, prompt):
        pass
    return time.process_time() - started


def measure(size: str, rounds: int) -> dict[str, Any]:
    """One row."""
    flow, vocoder = flow_of(size)
    draw = torch.Generator().manual_seed(0)
    config = flow.config
    tokens = torch.randint(0, config.vocab_size, (TOKENS,), generator=draw).tolist()
    times: dict[str, list[float]] = {"again": [], "first": [], "later": []}
    for _ in range(rounds):
        once = Silent(flow, vocoder, WaveOptions())
        again = Silent(flow, vocoder, replace(WaveOptions(), prompt_bytes=0))
        prompt = VoicePrompt(
            speaker=torch.randn((1, config.speaker_dim), generator=draw),
            tokens=torch.randint(0, config.vocab_size, (1, PROMPT), generator=draw),
            mel=torch.randn((1, flow.ratio * PROMPT, config.mel_bins), generator=draw),
        )
        for name, way in (("again", again), ("first", once), ("later", once)):
            times[name].append(seconds(way, prompt, tokens))
    best = {name: min(values) for name, values in times.items()}
    (kept,) = once.prompts._kept.values()
    return {
        "size": size,
        **{name: round(value, 2) for name, value in best.items()},
        "first / again": round(best["first"] / best["again"], 3),
        "later / again": round(best["later"] / best["again"], 3),
        "MB kept": round(kept.nbytes / 1e6, 1),
    }


def main() -> None:
    """Measure the sizes that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=["mini", "middle"])
    parser.add_argument("--rounds", type=int, default=1)
    out_option(parser)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(size, asked.rounds) for size in asked.sizes]
    kept = record("heard_prompt", PROTOCOL, rows=rows, prompt=PROMPT / RATE, speech=TOKENS / RATE)
    publish(kept, markdown([*rows[0]], [[*row.values()] for row in rows]), asked.out)


if __name__ == "__main__":
    main()
