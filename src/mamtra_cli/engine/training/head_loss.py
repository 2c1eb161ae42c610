"""The sum of the losses of a pass, with logits for some positions at a time.

Logits of all positions would be the largest tensor of a training step. Here a chunk of positions
goes through both heads, and where the student's head is a module its gradient is made at once, so
that nothing of a chunk is kept. Knows hidden states and heads; the losses are in losses.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mamtra_cli.engine.training.losses import (
    Blend,
    Divergence,
    Stored,
    cross_entropy,
    hidden_distance,
)
from mamtra_cli.families.lessons import IGNORE, counted


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the sum. A weight of 0 skips the term."""

    ce: float = 0.1
    divergence: float = 1.0
    hidden: float = 0.1


@dataclass(frozen=True)
class Losses:
    """One scalar to minimise and its unweighted parts (detached)."""

    total: Tensor
    parts: Mapping[str, Tensor]


def distillation_loss(
    student_hidden: Tensor,
    teacher_hidden: Tensor | Stored,
    student_head: Callable[[Tensor], Tensor],
    teacher_head: Callable[[Tensor], Tensor],
    targets: Tensor,
    *,
    weights: LossWeights,
    divergence: Divergence | Blend,
    layers: Sequence[tuple[Tensor, Tensor]] = (),
    pad_mask: Tensor | None = None,
    hidden_kind: str = "nmse",
    smoothing: float = 0.0,
    chunk: int = 1024,
    count: float | Tensor | None = None,
    total: Callable[[Tensor], Tensor] | None = None,
) -> Losses:
    """Weighted sum of cross entropy, divergence and hidden-state distance.

    Logits exist for `chunk` predicting positions at a time, so memory does not grow with
    positions x vocabulary. Where the student's head is a module, its gradients are made in the
    forward pass, chunk by chunk, and nothing is computed twice; for another function the backward
    pass does the chunks again.

    Args:
        student_hidden: (B, T, D) after the final norm; likewise teacher_hidden (B, T, D'), or
            what is stored of the teacher at the positions that predict, (N, K) of them.
        student_head: hidden (N, D) to logits (N, K, V); likewise teacher_head.
        targets: (B, T, K), `IGNORE` where nothing counts.
        layers: pairs (student, teacher) of (B, T, D) states compared by `hidden_kind`.
        pad_mask: (B, T) True at real positions, for `layers`.
        count: counted targets of the whole optimiser step, where this batch is a part of it
            (several micro-batches or devices).
        total: as in `hidden_distance`.
    """
    some = (targets != IGNORE).any(-1)  # (B, T)
    ids, mine = targets[some], student_hidden[some]  # (N, K), (N, D)
    here = ids != IGNORE
    aim = teacher_hidden if isinstance(teacher_hidden, Stored) else teacher_hidden[some].detach()
    scale: float | Tensor = max(int(here.sum()), 1) if count is None else count

    def piece(h_s: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        logits = counted(student_head(h_s), here[part])  # (M, V)
        ce = cross_entropy(logits, counted(ids[part], here[part]), smoothing=smoothing).sum()
        if weights.divergence == 0:
            return ce, ce.new_zeros(())
        known = aim[part]
        if isinstance(known, Stored):
            return ce, divergence.from_stored(logits, _stored_at(known, here[part])).sum()
        with torch.no_grad():
            wanted = counted(teacher_head(known), here[part])
        return ce, divergence(logits, wanted).sum()

    parts = [slice(start, start + chunk) for start in range(0, len(ids), chunk)]
    if isinstance(student_head, torch.nn.Module) and torch.is_grad_enabled():
        learning = [p for p in student_head.parameters() if p.requires_grad]
        share = (weights.ce, weights.divergence)
        value, ce, kl = _HeadSums.apply(mine, piece, parts, share, *learning)  # type: ignore[no-untyped-call]
        ce, kl, sum_of_both = ce / scale, kl / scale, value / scale
    else:
        wide = torch.promote_types(student_hidden.dtype, torch.float32)
        ce = student_hidden.new_zeros((), dtype=wide)
        kl = ce.clone()
        for part in parts:
            one, two = checkpoint(piece, mine[part], part, use_reentrant=False)
            ce, kl = ce + one, kl + two
        ce, kl = ce / scale, kl / scale
        sum_of_both = weights.ce * ce + weights.divergence * kl
    found: dict[str, Tensor] = {"ce": ce.detach(), divergence.kind: kl.detach()}
    if layers and weights.hidden:
        gaps = [hidden_distance(s, t, pad_mask, kind=hidden_kind, total=total) for s, t in layers]
        gap = torch.stack(gaps).mean()
        sum_of_both = sum_of_both + weights.hidden * gap
        found[f"hidden_{hidden_kind}"] = gap.detach()
    return Losses(sum_of_both, found)


def _stored_at(stored: Stored, here: Tensor) -> Stored:
    return Stored(
        ids=counted(stored.ids, here),
        log_p=counted(stored.log_p, here),
        rest=counted(stored.rest, here),
    )


class _HeadSums(torch.autograd.Function):
    """Sums of the two losses over chunks, with their gradients made on the way."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        piece: Callable[[Tensor, slice], tuple[Tensor, Tensor]],
        parts: Sequence[slice],
        share: tuple[float, float],
        *learning: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        ce = torch.zeros((), dtype=wide, device=hidden.device)
        kl, value = ce.clone(), ce.clone()
        slope = torch.zeros_like(hidden)
        slopes = [torch.zeros_like(p) for p in learning]
        for part in parts:
            with torch.enable_grad():
                given = hidden[part].detach().requires_grad_()
                one, two = piece(given, part)
                both = share[0] * one + share[1] * two
            grads = torch.autograd.grad(both, [given, *learning])
            slope[part] = grads[0]
            for total, grad in zip(slopes, grads[1:], strict=True):
                total += grad
            ce, kl, value = ce + one.detach(), kl + two.detach(), value + both.detach()
        ctx.save_for_backward(slope, *slopes)
        ctx.mark_non_differentiable(ce, kl)
        return value, ce, kl

    @staticmethod
    def backward(ctx: Any, slope: Tensor, *others: Tensor) -> Any:
        first, *rest = ctx.saved_tensors
        return first * slope, None, None, None, *(one * slope for one in rest)
