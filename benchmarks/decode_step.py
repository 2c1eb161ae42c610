"""One decoded token of a full-size language model on one CPU thread: peers, precisions, plans.

Random weights at the sizes of the published CosyVoice 2 model (Qwen2-0.5B body, 6,564 outputs).
All sides live in one process and take turns, so a busy machine slows all alike: ratios hold where
times do not. A time is processor time, minimum over the rounds. Sides: `transformers` (sdpa,
DynamicCache) in float32 and bfloat16, our fused torch step in both, and the ONNX Runtime step in
float32, int8 and int4; then int8 with other layer plans, and with many streams in one batch.
`floor` is a plain read of as many bytes as the int8 weights, in the same run.

    python benchmarks/decode_step.py                      # JSON and Markdown on stdout
    python benchmarks/decode_step.py --contexts 256 --rounds 12 --plans T,TM
"""

import argparse
import gc
import time
from collections.abc import Callable

import torch
from protocol import markdown, out_option, publish, record
from torch import Tensor, nn

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.backbone.decoding.onnx_graph import Quantisation
from mamtra_cli.backbone.decoding.onnx_layers import build
from mamtra_cli.backbone.decoding.onnx_session import open_session
from mamtra_cli.backbone.decoding.onnx_step import OnnxStack
from mamtra_cli.backbone.hybrid import HybridStack

PROTOCOL = (
    "Random weights at the published sizes, one thread, batch 1; milliseconds of processor time a "
    "token, the least of the rounds, all sides taking turns in one process; in brackets against "
    "transformers in bfloat16."
)
Step = Callable[[], object]
WIDTH, LAYERS, HEADS, GROUPS, HEAD, HIDDEN, VOCABULARY = 896, 24, 14, 2, 64, 4864, 6564
PARAMETERS = (
    LAYERS * (2 * WIDTH * (WIDTH + GROUPS * HEAD) + 3 * WIDTH * HIDDEN) + WIDTH * VOCABULARY
)
BITS = {"float32": 32, "int8": 8, "int4": 4}
ROOM = 64


def stack(plan: str) -> tuple[HybridStack, nn.Linear]:
    """Random modules of a repeated plan."""
    config = HybridConfig(
        d_model=WIDTH,
        n_layers=LAYERS,
        n_heads=HEADS,
        n_kv_heads=GROUPS,
        head_dim=HEAD,
        d_ff=HIDDEN,
        kinds=plan * (LAYERS // len(plan)),
        vocab_size=0,
    )
    torch.manual_seed(0)
    return HybridStack(config).eval().requires_grad_(False), nn.Linear(WIDTH, VOCABULARY)


def onnx_stack(plan: str, precision: str, block: int, threads: int = 1) -> OnnxStack:
    """Our graph of a plan in a session."""
    modules, head = stack(plan)
    bits = BITS[precision]
    # The head of a model keeps eight bits beside layers of four: scores suffer first.
    chosen = Quantisation(bits=bits, head_bits=max(bits, 8), block=block)
    return OnnxStack(open_session(build(modules, head, chosen).SerializeToString(), threads))


def onnx_step(onnx: OnnxStack, context: int, rows: int = 1) -> Step:
    """Our step by ONNX Runtime, of so many streams in one batch."""
    state = onnx.alloc(rows, context + ROOM)
    for row in range(rows):
        _, state = onnx.read(torch.zeros(1, WIDTH).numpy(), state, row)
    x = torch.randn(rows, WIDTH).numpy()

    def step() -> object:
        nonlocal state
        state.lengths[:] = context
        scores, state = onnx.step(x, state)
        return scores

    return step


def fused_step(dtype: torch.dtype, context: int) -> Step:
    """Our step by torch."""
    modules, head = stack("T")
    modules, head = modules.to(dtype), head.to(dtype)
    fused = FusedStack(modules, share=True)
    held = modules.alloc(1, capacity=context)
    cached = [
        type(layer)(k=layer.k, v=layer.v, length=context, seen=context) for layer in held.layers
    ]
    start = type(held)(layers=tuple(cached), position=torch.tensor([context]))
    opened = fused.start(start, context + ROOM)
    x = torch.randn(1, WIDTH, dtype=dtype)

    def step() -> object:
        # A state is used up by its step, but its first column to write stays where it was.
        hidden, _ = fused.step(x, opened)
        return head(hidden)

    return step


def transformers_step(dtype: torch.dtype, context: int) -> Step:
    """The step of transformers' Qwen2."""
    from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=GROUPS,
        max_position_embeddings=32_768,
        tie_word_embeddings=False,
        attn_implementation="sdpa",
    )
    model = Qwen2ForCausalLM(config).to(dtype).eval()
    cache = DynamicCache(config=config)
    for layer in range(LAYERS):
        shape = (1, GROUPS, context, HEAD)
        cache.update(torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype), layer)
    token, position = torch.zeros(1, 1, dtype=torch.long), torch.full((1, 1), context)

    def step() -> object:
        out = model(
            input_ids=token, past_key_values=cache, use_cache=True, position_ids=position
        ).logits
        cache.crop(-1)
        return out

    return step


def floor() -> Step:
    """A read of as many bytes as the int8 weights."""
    held: Tensor = torch.ones(PARAMETERS // 4)
    return lambda: held.sum()


def measured(sides: dict[str, Step], rounds: int) -> dict[str, float]:
    """Least processor time of each side in milliseconds, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    with torch.inference_mode():
        for number in range(rounds + 1):
            for name, step in sides.items():
                start = time.process_time()
                step()
                if number:  # the first round warms up
                    times[name].append(1000 * (time.process_time() - start))
    return {name: round(min(values), 2) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contexts", default="256,1024,4096")
    parser.add_argument("--plans", default="T,TM,TMMM,TMMMMMMMMMMM")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--block", type=int, default=128)
    parser.add_argument("--rows", type=int, default=16, help="streams of the int8 batch")
    out_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    stacks = {
        "onnx float32": onnx_stack("T", "float32", options.block),
        "onnx int4": onnx_stack("T", "int4", options.block),
    }
    plans = options.plans.split(",")
    for plan in plans:
        stacks[f"onnx int8 {plan}"] = onnx_stack(plan, "int8", options.block)
    rows, contexts = [], [int(context) for context in options.contexts.split(",")]
    many = f"{options.rows} rows"
    for context in contexts:
        sides = {
            "transformers float32": transformers_step(torch.float32, context),
            "transformers bfloat16": transformers_step(torch.bfloat16, context),
            "fused float32": fused_step(torch.float32, context),
            "fused bfloat16": fused_step(torch.bfloat16, context),
            "floor": floor(),
        }
        sides |= {name: onnx_step(onnx, context) for name, onnx in stacks.items()}
        if context == contexts[0]:
            sides[many] = onnx_step(stacks[f"onnx int8 {plans[0]}"], context, options.rows)
        rows.append({"context": context, **measured(sides, options.rounds)})
        del sides
        gc.collect()
    one, batch = rows[0][f"onnx int8 {plans[0]}"], rows[0].pop(many)
    told = f"{many} of onnx int8 {plans[0]} at {contexts[0]}: {batch:.1f} ms a step, "
    told += f"{options.rows * one / batch:.1f} times the tokens a second of one."
    names = [name for name in rows[0] if name != "context"]
    table = [
        [
            name,
            *(f"{row[name]:.1f} ({row['transformers bfloat16'] / row[name]:.1f}x)" for row in rows),
        ]
        for name in names
    ]
    kept = record(
        "decode_step", PROTOCOL, rounds=options.rounds, block=options.block, rows=rows, batch=told
    )
    head = ["step", *(f"{row['context']:,}" for row in rows)]
    publish(kept, f"{markdown(head, table)}\n\n{told}", options.out)


if __name__ == "__main__":
    main()
