"""Scratch of the road from tokens to sound against the length of the speech.

    python benchmarks/token2wav_memory.py --plot docs/figures/token2wav-scratch.svg
    python benchmarks/token2wav_memory.py --full-size --lengths 10,20,40 --one-pass 40

Peak live bytes (not pages: see engine/measuring/live_bytes.py) of flow and vocoder beside their
weights, for random speech tokens. `windows` is our stream, whose sound is handed out and dropped;
`one pass` is the official arithmetic: whole score matrices, full attention, the vocoder over
everything at once, up to `--one-pass` seconds, and its formula beyond. mini by default;
`--full-size` takes the published sizes with random weights. The plot needs matplotlib (extra
`plot`).
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from protocol import markdown, out_option, publish, record

from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.token2wav import TokenToWave, VoicePrompt
from mamtra_cli.codecs.flow_hift.windows import WaveOptions
from mamtra_cli.engine.model import Engine
from mamtra_cli.families.cosyvoice2 import costs
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config
from mamtra_cli.families.cosyvoice2.measures import window_peak
from mamtra_cli.families.cosyvoice2.official.flow import published_attention
from mamtra_cli.live_bytes import live_peak, tensor_bytes

MB = 1_000_000
PROTOCOL = "Bytes alive at most beside the weights, by the count of the allocator."
RATE = 25


def road(full: bool, steps: int | None) -> tuple[CosyVoice2Config, TokenToWave]:
    """Return sizes and the road: mini, or the published sizes with random weights."""
    if full:
        config = CosyVoice2Config()
        torch.manual_seed(0)
        flow, hift = Flow(config.flow), HiFT(config.hift)
    else:
        engine = Engine.load("mini")
        config, flow, hift = (
            engine.config,
            engine.part("flow"),
            engine.part(engine.config.vocoder_part),
        )
    for part in (flow, hift):
        part.eval().requires_grad_(False)
    options = WaveOptions(
        hop_tokens=config.hop_tokens,
        max_hop_tokens=config.max_hop_tokens,
        context_tokens=config.context_tokens,
        whole_tokens=config.whole_tokens,
        steps=steps,
    )
    return config, TokenToWave(flow, hift, options)


def one_pass(waver: TokenToWave, prompt: VoicePrompt, tokens: int) -> int:
    """Return the peak of the official arithmetic."""
    flow, steps = waver.flow, waver.options.steps
    ids = torch.randint(flow.config.vocab_size, (1, tokens))
    with published_attention(flow):
        to_mel, mel = live_peak(
            lambda: flow.inference(ids, prompt.tokens, prompt.mel, prompt.speaker, steps=steps)
        )
    return max(to_mel, live_peak(lambda: waver.vocoder(mel))[0])


def formula(config: CosyVoice2Config, tokens: int) -> int:
    """Return what the formulas say of one pass."""
    flow, ratio = config.flow, config.flow.encoder.upsample
    rows = 2 if flow.cfg_rate else 1
    return max(
        costs.official_encoder_scratch(flow.encoder, tokens),
        costs.official_estimator_scratch(flow.estimator, ratio * tokens, rows),
        costs.vocoder_scratch(config, ratio * tokens),
    )


def measure(full: bool, lengths: list[float], limit: float, steps: int | None) -> dict[str, Any]:
    """Return the curves."""
    config, waver = road(full, steps)
    prompt = VoicePrompt.of_speaker(torch.randn(config.flow.speaker_dim))
    points = []
    with torch.inference_mode():
        window_peak(waver, prompt, 200)  # what a first run keeps is no scratch
        for seconds in lengths:
            tokens = round(seconds * RATE)
            point: dict[str, float] = {
                "seconds": seconds,
                "windows": window_peak(waver, prompt, tokens),
                "one_pass_formula": formula(config, tokens),
            }
            if seconds <= limit:
                point["one_pass"] = one_pass(waver, prompt, tokens)
            points.append(point)
            shown = {k: f"{v / MB:.1f} MB" for k, v in point.items() if k != "seconds"}
            print(f"{seconds:g} s", shown, file=sys.stderr, flush=True)
    windows = [point["windows"] for point in points]
    weights = [list(part.state_dict().values()) for part in (waver.flow, waver.vocoder)]
    return {
        "model": "published sizes, random weights" if full else "mini",
        "steps": steps or config.flow.steps,
        "weights_bytes": tensor_bytes(weights),
        "points": points,
        "spread_of_windows": max(windows) / min(windows) - 1,
    }


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw the curves."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "mamtra"
    from matplotlib import pyplot

    points = found["points"]
    figure, axes = pyplot.subplots(figsize=(5.6, 3.2), layout="constrained")
    for key, style, label in (
        ("one_pass_formula", ":", "one pass, official arithmetic (formula)"),
        ("one_pass", "o", "one pass, official arithmetic (measured)"),
        ("windows", "o-", "windows (measured)"),
    ):
        chosen = [(p["seconds"], p[key] / MB) for p in points if key in p]
        if chosen:
            axes.plot(*zip(*chosen, strict=True), style, label=label, markersize=4)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="seconds of speech",
        ylabel="peak scratch, MB",
        title=f"tokens to sound, {found['model']}",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full-size", action="store_true")
    parser.add_argument("--lengths", default="10,30,100,300,600", help="seconds")
    parser.add_argument("--one-pass", type=float, default=30.0, help="longest whole pass, seconds")
    parser.add_argument(
        "--steps", type=int, default=1, help="of the solver; scratch does not depend on them"
    )
    out_option(parser)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    lengths = [float(part) for part in args.lengths.split(",")]
    found = measure(args.full_size, lengths, args.one_pass, args.steps)
    columns = ("seconds", "windows", "one_pass", "one_pass_formula")
    table = [[point.get(name) for name in columns] for point in found["points"]]
    publish(record("token2wav_memory", PROTOCOL, **found), markdown(columns, table), args.out)
    if args.plot:
        plot(found, args.plot)


if __name__ == "__main__":
    main()
