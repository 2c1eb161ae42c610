"""Rates, groups and lengths of one training run: numbers only, no loop.

New layers learn at one rate and everything else at another; matrices decay, and A_log, dt_bias, D,
norms and biases do not (Mamba's own rule). Rates warm up linearly and fall along half a cosine.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

NO_DECAY = ("A_log", "dt_bias", "D", "norm", "layernorm", "bias")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train. `steps` are optimizer updates, each of `accumulate` batches."""

    steps: int = 200
    lr: float = 1e-3
    lr_rest: float = 0.0
    warmup: int = 20
    final_lr: float = 0.05  # share of the peak left at the last step
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.01
    clip: float = 1.0  # largest gradient norm; 0 sets no limit
    accumulate: int = 1
    autocast: bool = False  # bfloat16 in the forward pass; weights and losses stay float32
    ema: float = 0.0  # decay of the running mean of the weights; 0 keeps none
    log_every: int = 10
    save_every: int = 100


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: matrices yes; A_log, dt_bias, D, norms and biases no."""
    leaf = name.split(".")
    return parameter.ndim >= 2 and not any(
        part == word or (word.islower() and part.endswith(word))
        for part in leaf
        for word in NO_DECAY
    )


def parameter_groups(
    named: Mapping[str, nn.Parameter], *, options: TrainOptions, is_new: Callable[[str], bool]
) -> list[dict[str, object]]:
    """Sort trainable parameters into AdamW groups by rate and by decay.

    Args:
        named: the trainable parameters.
        options: the rates.
        is_new: whether a name belongs to the new layers, which learn at `lr`.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in named.items():
        rate = options.lr if is_new(name) else options.lr_rest
        decay = options.weight_decay if decays(name, parameter) else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": members, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), members in sorted(groups.items(), reverse=True)
    ]


def rate_at(step: int, options: TrainOptions) -> float:
    """Share of the peak rate at update `step` (from 0): linear warm-up, then half a cosine."""
    if step < options.warmup:
        return (step + 1) / options.warmup
    span = max(1, options.steps - options.warmup)
    progress = min(1.0, (step - options.warmup) / span)
    return options.final_lr + (1 - options.final_lr) * 0.5 * (1 + math.cos(math.pi * progress))
