"""Everything that only a GPU can tell, in one run that may be broken off and taken up again.

In this order: the tests of GPU paths and kernels; what a plain read of memory reaches; a decoded
token as a CUDA graph beside the same step eagerly, its ids and its share of that floor;
transformers beside it; memory of each stage beside the official pipeline's arithmetic, time to
first sound; the teacher and hybrids of every mixer at contexts and batches; streams a card; kernels
beside each other. Weights are random at the published sizes of CosyVoice 2, bfloat16, so nothing is
downloaded. Every cell is kept as soon as it is measured; what there was no time for is named.

    python benchmarks/gpu.py --minutes 8 --out work/gpu       # work/gpu.json, work/gpu.md; run it
                                                              # again to go on where it stopped
    python benchmarks/gpu.py --rehearse --out work/rehearsal  # tiny sizes, without a GPU
"""

import argparse
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.card.cells import Cells  # noqa: E402
from benchmarks.card.parts import PARTS, Run  # noqa: E402
from benchmarks.card.steps import Protocol  # noqa: E402
from benchmarks.protocol import markdown, publish, record  # noqa: E402

from mamtra_cli.codecs.flow_hift.config import (  # noqa: E402
    FlowConfig,
    FlowEncoderConfig,
    FlowEstimatorConfig,
    HiFTConfig,
)
from mamtra_cli.engine.measuring.meter import environment  # noqa: E402
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config, LMConfig  # noqa: E402

PROTOCOL = (
    "Random weights at the published sizes; a step is embedding, stack, head, log-softmax and "
    "draw; milliseconds are the least of three rounds, the device idle around each; a floor is a "
    "plain read of the bytes that the step cannot do without, in the same run."
)
TINY = CosyVoice2Config(
    lm=LMConfig(
        d_model=32, n_layers=4, n_heads=4, n_kv_heads=2, head_dim=8, d_ff=48, vocab_size=60,
        speech_vocab=61,
    ),
    flow=FlowConfig(
        vocab_size=61,
        steps=2,
        encoder=FlowEncoderConfig(width=16, heads=2, d_ff=32, blocks=1, up_blocks=1),
        estimator=FlowEstimatorConfig(channels=16, heads=2, head_dim=8, n_blocks=1, mid_blocks=1),
    ),
    hift=HiFTConfig(base_channels=16, f0_channels=16),
)  # fmt: skip


def measure(
    out: Path, minutes: float, parts: list[str], *, rehearse: bool, device: torch.device
) -> Path:
    """Run the parts, keep what they find, write the page; returns the path of the JSON."""
    kept = out.with_suffix(".cells.json")
    kept.parent.mkdir(parents=True, exist_ok=True)
    cells = Cells(
        path=kept,
        device=device,
        deadline=time.monotonic() + 60 * minutes,
        facts=environment(device) | {"rehearsed": rehearse},
    )
    run = Run(
        cells=cells,
        protocol=Protocol(
            config=TINY if rehearse else CosyVoice2Config(),
            device=device,
            dtype=torch.float32 if rehearse else torch.bfloat16,
            steps=2 if rehearse else 16,
            rounds=1 if rehearse else 3,
        ),
        contexts=(8,) if rehearse else (256, 1024, 4096, 16_384, 32_768),
        batches=(1, 2) if rehearse else (1, 4, 16, 64),
        seconds=1.0 if rehearse else 30.0,
        rehearsed=rehearse,
    )
    for name in parts:
        PARTS[name](run)
    cells.write()
    rows = [
        {"part": part, "cell": key, **numbers}
        for part, found in cells.found.items()
        for key, numbers in found.items()
    ]
    publish(record("gpu", PROTOCOL, device=device, rows=rows), page(cells), out)
    return out.with_suffix(".json")


def page(cells: Cells) -> str:
    """Tables of every part, and what is left."""
    lines = []
    for part, found in cells.found.items():
        columns = list(dict.fromkeys(key for row in found.values() for key in row))
        columns.remove("spent_s")
        rows = [[key, *(row.get(column) for column in columns)] for key, row in found.items()]
        lines += [f"## {part}", "", markdown(["cell", *columns], rows), ""]
    if cells.left:
        lines += ["## left", "", "No time for: " + ", ".join(cells.left) + ". Run it again."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--out", type=Path, default=Path("gpu"), help="both files, without an end")
    parser.add_argument("--parts", default=",".join(PARTS), help="of: " + ", ".join(PARTS))
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, on whatever is here")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.rehearse:
        parser.error("no GPU is here: `--rehearse` goes through it with tiny sizes")
    asked = options.parts.split(",")
    if not set(asked) <= set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(set(asked) - set(PARTS)))}")
    found = measure(options.out, options.minutes, asked, rehearse=options.rehearse, device=device)
    print(found.with_suffix(".md"))


if __name__ == "__main__":
    main()
