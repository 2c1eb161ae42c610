"""What a training run will hold in memory, from sizes alone.

Weights held once by both models, gradients and AdamW's moments of what learns, activations of the
student from the first layer that learns on, and logits of one chunk of positions: what is in use at
once. The pages of a process on a CPU are more, for the C library keeps what was freed in pieces.
The factors were fitted to counts of what autograd keeps; benchmarks/distill_memory.py measures.
"""

from dataclasses import dataclass

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.engine.students.pair import Pair

CHUNK = 1024  # positions whose logits exist at once
COPIES = 6  # of a chunk's logits: both models, log-probabilities, mixture, gradient
NARROW, WIDE = 14, 3  # kept values a position and block, in widths and in feed-forward widths
LEARNING_NARROW, LEARNING_WIDE = 17, 4  # the same where the block's frozen weights learn too
SCAN = 25  # values a position, head and width of a head while one block is run again
HALF = 0.75  # of the bytes where passes are bfloat16: norms and scans stay float32


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of each part."""

    weights: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.optimizer + self.activations + self.logits


def estimate(
    pair: Pair,
    trainable: int,
    positions: int,
    *,
    everything: bool = False,
    again: bool = False,
    half: bool = False,
    ema: bool = False,
) -> Memory:
    """Estimate one process.

    Args:
        pair: both models, frozen tensors shared.
        trainable: parameters that learn.
        positions: padded, of one pass in this process.
        everything: frozen weights learn too.
        again: blocks are run again in the backward pass.
        half: passes are bfloat16.
        ema: a running mean is kept.
    """
    held = {
        parameter.data_ptr(): parameter.numel()
        for engine in (pair.teacher, pair.student)
        for parameter in engine.lessons.lm.parameters()
    }
    stack, head = pair.student.lessons.stack.config, pair.student.facts.head
    width = 4 * positions * (HALF if half else 1)
    through, block = kept_values(stack, everything=everything, again=again)
    logits = 4 * COPIES * min(CHUNK, positions) * head.codebooks * head.speech_vocab
    if again:
        # Logits are gone before the first block is run again: the larger one counts.
        logits = max(0, logits - round(width * block))
    return Memory(
        weights=4 * sum(held.values()),
        optimizer=(12 + 4 * ema) * trainable,
        activations=round(width * (through + block)),
        logits=logits,
    )


def kept_values(
    stack: HybridConfig, *, everything: bool = False, again: bool = False
) -> tuple[int, int]:
    """Numbers a position for the backward pass: kept throughout, and those of one block run again.

    Only blocks that gradients go through count.
    """
    kinds = stack.layer_kinds
    first = next((i for i, kind in enumerate(kinds) if kind != "T"), 0)
    blocks = len(kinds) - (0 if everything else first)
    narrow, wide = (LEARNING_NARROW, LEARNING_WIDE) if everything else (NARROW, WIDE)
    block = narrow * stack.d_model + wide * stack.d_ff
    if again:
        return 2 * blocks * stack.d_model, block + SCAN * stack.shape.q_width
    return blocks * block, 0
