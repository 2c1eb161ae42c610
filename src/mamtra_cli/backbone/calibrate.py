"""Fit the output projections of fresh mixers to a teacher in closed form, without gradients.

Every converted layer is given the teacher's own layer input, all layers in one pass; with Y what
its output projection would read and T what the teacher's attention put out, both at real positions,

    ls:      Wo = (Y'Y + lam I)^-1 Y'T        gain: one factor per channel of Y
    scalar:  one factor for the layer         none: measure only

Only Y'Y, Y'T and T'T are kept, in float64, so memory does not grow with tokens.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.backbone.kinds import ATTENTION, kind_of
from mamtra_cli.errors import MamtraError
from mamtra_cli.layers.mixers import Fitted

MODES = ("ls", "gain", "scalar", "none")
# Much less also uses features of little power, and the large weights of those make the first
# training steps a step back (docs/experiments.md, Initialisation).
RIDGE = 0.03


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """One batch of embedded teacher inputs; arguments of `HybridStack.forward`."""

    x: Tensor
    positions: Tensor | None = None
    seq_idx: Tensor | None = None
    pad_mask: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class LayerFit:
    """How far one mixer's output is from the attention's, as a share of the latter's power."""

    layer: int
    tokens: int
    before: float
    after: float


@dataclass
class Moments:
    """Sums over tokens, in float64.

    Attributes:
        yy: (C, C) of the features.
        yt: (C, D) of features and targets.
        tt: sum of squared targets.
        tokens: how many.
    """

    yy: Tensor
    yt: Tensor
    tt: float = 0.0
    tokens: int = 0

    def add(self, features: Tensor, target: Tensor) -> None:
        """Add features (N, C) and targets (N, D)."""
        y, t = features.double(), target.double()
        self.yy += y.T @ y
        self.yt += y.T @ t
        self.tt += float(t.square().sum())
        self.tokens += len(y)

    def error(self, output: Tensor) -> float:
        """Relative squared error with output projection (D, C)."""
        w = output.double()
        cross = float((w.T * self.yt).sum())
        power = float((w @ self.yy * w).sum())
        return max(self.tt - 2 * cross + power, 0.0) / max(self.tt, 1e-300)


@torch.no_grad()
def calibrate(
    teacher: HybridStack,
    student: HybridStack,
    batches: Iterable[Sequences],
    *,
    mode: str = "ls",
    ridge: float = RIDGE,
) -> tuple[LayerFit, ...]:
    """Fit every layer of the student that can be and is attention in the teacher; writes into it.

    Args:
        teacher: the stack whose attention is imitated.
        student: the stack whose `o_proj` is set.
        batches: teacher inputs, each seen once.
        mode: one of `MODES`.
        ridge: lam as a share of the mean diagonal of Y'Y.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
    sites: dict[int, tuple[nn.Module, Fitted]] = {}
    for i, (theirs, mine) in enumerate(zip(teacher.blocks(), student.blocks(), strict=True)):
        if theirs.kind == ATTENTION and kind_of(mine.kind).fitted:
            sites[i] = (cast(nn.Module, theirs.core), cast(Fitted, mine.core))
    moments = {i: _empty(mixer) for i, (_, mixer) in sites.items()}
    hooks = [
        attention.register_forward_hook(partial(_collect, mixer, moments[i]), with_kwargs=True)
        for i, (attention, mixer) in sites.items()
    ]
    try:
        for batch in batches:
            teacher(
                batch.x,
                positions=batch.positions,
                seq_idx=batch.seq_idx,
                pad_mask=batch.pad_mask,
                keep_state=False,
            )
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(
        _fit(i, mixer.o_proj.weight, moments[i], mode, ridge) for i, (_, mixer) in sites.items()
    )


def _empty(mixer: Fitted) -> Moments:
    weight = mixer.o_proj.weight
    width, model = weight.shape[1], weight.shape[0]
    zeros = torch.zeros(width, width + model, dtype=torch.float64, device=weight.device)
    return Moments(yy=zeros[:, :width].clone(), yt=zeros[:, width:].clone())


def _collect(
    mixer: Fitted,
    moments: Moments,
    attention: nn.Module,
    arguments: tuple[Any, ...],
    named: dict[str, Any],
    result: tuple[Tensor, Any],
) -> None:
    """Forward hook of a teacher's attention: run the mixer on the same input and add up."""
    del attention
    u: Tensor = arguments[0]
    features, _ = mixer.features(u.to(mixer.o_proj.weight.dtype), **named)
    target, mask = result[0], named.get("pad_mask")
    if mixer.o_proj.bias is not None:
        target = target - mixer.o_proj.bias
    if mask is None:
        moments.add(features.flatten(0, 1), target.flatten(0, 1))
    else:
        moments.add(features[mask], target[mask])


def _fit(layer: int, output: Tensor, moments: Moments, mode: str, ridge: float) -> LayerFit:
    """Set one output projection (D, C) in place."""
    if moments.tokens == 0:
        raise MamtraError("there are no tokens to calibrate on", "give text or token data")
    if not bool(torch.isfinite(moments.yy).all() and torch.isfinite(moments.yt).all()):
        raise MamtraError(
            f"layer {layer} puts out values that are not finite", "check the teacher's weights"
        )
    before = moments.error(output)
    start = output.double()
    if mode == "ls":
        output.copy_(_solve(moments.yy, moments.yt, ridge).T)
    elif mode != "none":
        # Channel c adds gain_c * Y_c * start[:, c], so its products factor into two tables.
        table = moments.yy * (start.T @ start)
        aim = (moments.yt * start.T).sum(1, keepdim=True)
        gain = _solve(table, aim, ridge) if mode == "gain" else aim.sum() / table.sum()
        output.copy_(start * gain.T if mode == "gain" else start * gain)
    return LayerFit(layer=layer, tokens=moments.tokens, before=before, after=moments.error(output))


def _solve(table: Tensor, aim: Tensor, ridge: float) -> Tensor:
    """Solve (table + lam I) w = aim for a symmetric positive table."""
    size = len(table)
    lam = ridge * float(table.diagonal().mean())
    factor, failed = torch.linalg.cholesky_ex(
        table + max(lam, 1e-300) * torch.eye(size, dtype=table.dtype, device=table.device)
    )
    if int(failed):
        raise MamtraError(
            "the calibration has too few tokens for a closed-form fit", "raise the ridge or tokens"
        )
    return torch.cholesky_solve(aim, factor)
