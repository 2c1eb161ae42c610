"""Training losses: cross entropy, divergences of teacher and student, hidden-state distances.

Each loss gives one value a position; `reduce` averages over the counted positions of the whole
batch, so padding and sequence length never change a weight. p is the teacher, q the student.
Knows tensors only: no models, no data, no schedule. Formulas: DistiLLM (arXiv 2402.03898) for
the skew forms, generalised JS of GKD (arXiv 2306.13649). Logits must be finite. All values are
computed in float32 or wider, whatever the input type.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

IGNORE = -100

DIVERGENCES = ("kl_forward", "kl_reverse", "skew_forward", "skew_reverse", "js", "tv", "kl_topk")

HIDDEN = ("mse", "nmse", "l2", "cosine")


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Which divergence, and how it is scaled.

    Attributes:
        kind: one of `DIVERGENCES`.
        alpha: share of the divergence's own side in the skew mixture; teacher's share in `js`.
        temperature: p and q are taken from logits / temperature.
        t2: multiply by temperature squared, which keeps gradient size over temperatures.
        top_k: teacher tokens kept by `kl_topk`.
        rest: `bucket` sums the other tokens into one outcome, `renorm` leaves them out.
    """

    kind: str = "skew_forward"
    alpha: float = 0.1
    temperature: float = 1.0
    t2: bool = False
    top_k: int = 32
    rest: str = "bucket"

    def __post_init__(self) -> None:
        if self.kind not in DIVERGENCES:
            raise ValueError(f"kind must be one of {DIVERGENCES}, got {self.kind!r}")
        if not 0.0 <= self.alpha < 1.0:
            raise ValueError(f"alpha must be in [0, 1), got {self.alpha}")
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if self.rest not in ("bucket", "renorm"):
            raise ValueError(f"rest must be bucket or renorm, got {self.rest!r}")

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Divergence at each position.

        Args:
            student_logits: (..., V).
            teacher_logits: (..., V); gradients do not flow into them.

        Returns:
            (...), float32 or wider.
        """
        if student_logits.shape != teacher_logits.shape:
            raise ValueError(
                f"student {tuple(student_logits.shape)} and teacher "
                f"{tuple(teacher_logits.shape)} logits differ in shape"
            )
        log_q = _log_probs(student_logits, self.temperature)
        log_p = _log_probs(teacher_logits.detach(), self.temperature)
        value = self._value(log_p, log_q)
        return value * self.temperature**2 if self.t2 else value

    def _value(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        a = self.alpha
        match self.kind:
            case "kl_forward":
                return _kl(log_p, log_q)
            case "kl_reverse":
                return _kl(log_q, log_p)
            case "skew_forward":
                return _kl(log_p, _mix(log_p, log_q, a))
            case "skew_reverse":
                return _kl(log_q, _mix(log_q, log_p, a))
            case "js":
                mixed = _mix(log_p, log_q, a)
                return a * _kl(log_p, mixed) + (1 - a) * _kl(log_q, mixed)
            case "tv":
                return 0.5 * (log_p.exp() - log_q.exp()).abs().sum(-1)
        top, ids = log_p.topk(min(self.top_k, log_p.shape[-1]), dim=-1)
        return topk_kl(log_q, ids, top, rest=self.rest)


def topk_kl(student_logits: Tensor, ids: Tensor, teacher_log_p: Tensor, *, rest: str) -> Tensor:
    """Forward KL over the teacher's k stored tokens.

    Args:
        student_logits: (..., V), already divided by the temperature.
        ids: (..., k) tokens that the teacher's cache holds.
        teacher_log_p: (..., k) their log probabilities.
        rest: `bucket` (a lower bound of the full KL) or `renorm`.

    Returns:
        (...).
    """
    log_q = _log_probs(student_logits, 1.0)
    kept_q = log_q.gather(-1, ids)
    kept_p = _wide(teacher_log_p)
    if rest == "renorm":
        return _kl(kept_p.log_softmax(-1), kept_q.log_softmax(-1))
    if ids.shape[-1] == log_q.shape[-1]:
        return _kl(kept_p, kept_q)
    others = log_q.scatter(-1, ids, -math.inf)
    rest_q = others.logsumexp(-1, keepdim=True)
    tiny = torch.finfo(kept_p.dtype).tiny
    rest_p = (1 - kept_p.exp().sum(-1, keepdim=True)).clamp_min(tiny).log()
    return _kl(torch.cat((kept_p, rest_p), -1), torch.cat((kept_q, rest_q), -1))


def cross_entropy(logits: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Cross entropy at each position; 0 where the target is `IGNORE`.

    Args:
        logits: (..., V).
        targets: (...), int64.
        smoothing: share of the target spread over all V tokens.

    Returns:
        (...).
    """
    value = F.cross_entropy(
        _wide(logits).reshape(-1, logits.shape[-1]),
        targets.reshape(-1),
        ignore_index=IGNORE,
        reduction="none",
        label_smoothing=smoothing,
    )
    return value.view(targets.shape)


def reduce(
    values: Tensor,
    mask: Tensor,
    *,
    how: str = "token",
    count: float | Tensor | None = None,
) -> Tensor:
    """Average over counted positions; 0 where there are none.

    Args:
        values: (B, T) or flat.
        mask: the same shape, True where a position counts.
        how: `token` weighs every position alike, `sequence` every row alike.
        count: positions of the whole optimiser step where this batch is a part of it (several
            micro-batches or devices); `token` only.
    """
    if values.shape != mask.shape:
        raise ValueError(f"values {tuple(values.shape)} and mask {tuple(mask.shape)} differ")
    # A value that does not count may be NaN; multiplying by 0 would let it through.
    kept = values.masked_fill(~mask, 0.0)
    if how == "token":
        return kept.sum() / (mask.sum().clamp_min(1) if count is None else count)
    if how != "sequence":
        raise ValueError(f"how must be token or sequence, got {how!r}")
    if count is not None:
        raise ValueError("count belongs to how='token'")
    lengths = mask.sum(-1)
    rows = kept.sum(-1) / lengths.clamp_min(1)
    return rows.sum() / (lengths > 0).sum().clamp_min(1)


def hidden_distance(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, kind: str = "nmse"
) -> Tensor:
    """Distance of hidden states over the real positions, text included.

    Args:
        student: (B, T, D).
        teacher: (B, T, D); gradients do not flow into it.
        mask: (B, T) True at real positions; None counts all.
        kind: `mse` mean square; `nmse` squared error over squared teacher (each layer weighs the
            same, however large its channels); `l2` mean length; `cosine` mean of 1 - cos.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ"
        )
    mine, aim = _wide(student), _wide(teacher.detach())
    if mask is not None:
        mine, aim = mine[mask], aim[mask]
    if mine.numel() == 0:
        return mine.sum()
    match kind:
        case "mse":
            return (mine - aim).square().mean()
        case "nmse":
            scale = aim.square().sum().clamp_min(torch.finfo(aim.dtype).tiny)
            return (mine - aim).square().sum() / scale
        case "l2":
            lengths: Tensor = torch.linalg.vector_norm(mine - aim, dim=-1)
            return lengths.mean()
        case "cosine":
            return (1 - F.cosine_similarity(mine, aim, dim=-1)).mean()
    raise ValueError(f"kind must be one of {HIDDEN}, got {kind!r}")


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
    parts: Mapping[str, float]


def distillation_loss(
    student_hidden: Tensor,
    teacher_hidden: Tensor,
    student_head: Callable[[Tensor], Tensor],
    teacher_head: Callable[[Tensor], Tensor],
    targets: Tensor,
    *,
    weights: LossWeights,
    divergence: Divergence,
    layers: Sequence[tuple[Tensor, Tensor]] = (),
    pad_mask: Tensor | None = None,
    hidden_kind: str = "nmse",
    smoothing: float = 0.0,
    chunk: int = 1024,
    count: float | Tensor | None = None,
) -> Losses:
    """Weighted sum of cross entropy, divergence and hidden-state distance.

    Logits exist for `chunk` counted positions at a time and are recomputed in the backward
    pass, so memory does not grow with positions x vocabulary.

    Args:
        student_hidden: (B, T, D) after the final norm; likewise teacher_hidden (B, T, D').
        student_head: hidden (N, D) to logits (N, V); likewise teacher_head.
        targets: (B, T), `IGNORE` where a position does not count.
        layers: pairs (student, teacher) of (B, T, D) states compared by `hidden_kind`.
        pad_mask: (B, T) True at real positions, for `layers`.
        count: counted positions of the whole optimiser step, as in `reduce`.
    """
    mask = targets != IGNORE
    ids, mine, aim = targets[mask], student_hidden[mask], teacher_hidden[mask].detach()
    scale: float | Tensor = max(ids.numel(), 1) if count is None else count

    def piece(h_s: Tensor, h_t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        logits = student_head(h_s)
        ce = cross_entropy(logits, y, smoothing=smoothing).sum()
        if weights.divergence == 0:
            return ce, ce.new_zeros(())
        with torch.no_grad():
            wanted = teacher_head(h_t)
        return ce, divergence(logits, wanted).sum()

    wide = torch.promote_types(student_hidden.dtype, torch.float32)
    ce = student_hidden.new_zeros((), dtype=wide)
    kl = ce.clone()
    for start in range(0, ids.numel(), chunk):
        part = slice(start, start + chunk)
        one, two = checkpoint(piece, mine[part], aim[part], ids[part], use_reentrant=False)
        ce, kl = ce + one, kl + two
    ce, kl = ce / scale, kl / scale
    total = weights.ce * ce + weights.divergence * kl
    parts = {"ce": float(ce.detach()), divergence.kind: float(kl.detach())}
    if layers and weights.hidden:
        gaps = [hidden_distance(s, t, pad_mask, kind=hidden_kind) for s, t in layers]
        gap = torch.stack(gaps).mean()
        total = total + weights.hidden * gap
        parts[f"hidden_{hidden_kind}"] = float(gap.detach())
    return Losses(total, parts)


def _wide(value: Tensor) -> Tensor:
    return value.to(torch.promote_types(value.dtype, torch.float32))


def _log_probs(logits: Tensor, temperature: float) -> Tensor:
    return (_wide(logits) / temperature).log_softmax(-1)


def _kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    return (log_a.exp() * (log_a - log_b)).sum(-1)


def _mix(log_a: Tensor, log_b: Tensor, share: float) -> Tensor:
    """Log of share * a + (1 - share) * b."""
    if share == 0:
        return log_b
    return torch.logaddexp(log_a + math.log(share), log_b + math.log1p(-share))
