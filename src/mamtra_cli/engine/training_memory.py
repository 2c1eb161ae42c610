"""What a training run will hold in memory, from sizes alone.

Weights held once by both models, gradients and AdamW's moments of what learns, activations of the
student from the first layer that learns on, and logits of one chunk of positions. An estimate for
plans and for advice: benchmarks/distill_step.py measures.
"""

from dataclasses import dataclass

from mamtra_cli.engine.pair import Pair
from mamtra_cli.families.cosyvoice2.config import LMConfig

CHUNK = 1024  # positions whose logits exist at once
COPIES = 6  # of a chunk's logits: both models, log-probabilities, mixture, gradient
NARROW, WIDE = 14, 4  # kept values a position and block, in widths and in feed-forward widths


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
    pair: Pair, trainable: int, positions: int, *, again: bool, half: bool, ema: bool
) -> Memory:
    """Estimate one process.

    Args:
        pair: both models, frozen tensors shared.
        trainable: parameters that learn.
        positions: of one pass in this process.
        again: blocks are run again in the backward pass.
        half: passes are bfloat16.
        ema: a running mean is kept.
    """
    held = {
        parameter.data_ptr(): parameter.numel()
        for engine in (pair.teacher, pair.student)
        for parameter in engine.lm.parameters()
    }
    lm = pair.student.config.lm
    return Memory(
        weights=4 * sum(held.values()),
        optimizer=(12 + 4 * ema) * trainable,
        activations=positions * kept_values(lm, again=again) * (2 if half else 4),
        logits=4 * COPIES * CHUNK * lm.head_size,
    )


def kept_values(lm: LMConfig, *, again: bool) -> int:
    """Numbers kept a position for the backward pass, in all blocks that gradients go through."""
    kinds = lm.hybrid.layer_kinds
    first = next((i for i, kind in enumerate(kinds) if kind != "T"), 0)
    block = NARROW * lm.d_model + WIDE * lm.d_ff
    if again:
        return (len(kinds) - first) * lm.d_model + block
    return (len(kinds) - first) * block
