"""Training losses: cross entropy, divergences of teacher and student, hidden-state distances.

Each loss gives one value a position; `head_loss.py` averages over all that count in an optimiser
step, so padding and sequence length never change a weight. p is the teacher, q the student. Knows
tensors only: no models, no data, no schedule. Formulas: DistiLLM (arXiv 2402.03898) for the skew
forms, generalised JS of GKD (arXiv 2306.13649). Logits must be finite. All values are computed in
float32 or wider, whatever the input type.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mamtra_cli.families.lessons import IGNORE

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

    def from_stored(self, student_logits: Tensor, stored: "Stored") -> Tensor:
        """The same from what a cache holds of the teacher: k tokens and the rest as one outcome.

        With k = V it is the divergence itself; otherwise never more than it, for merging outcomes
        can only bring two distributions closer.

        Args:
            student_logits: (..., V).
            stored: taken at this divergence's temperature.

        Returns:
            (...).
        """
        log_q = _log_probs(student_logits, self.temperature)
        log_p = _wide(stored.log_p)
        kept = log_q.gather(-1, stored.ids)
        if stored.ids.shape[-1] < log_q.shape[-1]:
            others = log_q.scatter(-1, stored.ids, -math.inf).logsumexp(-1, keepdim=True)
            kept = torch.cat((kept, others), -1)
            log_p = torch.cat((log_p, _wide(stored.rest)[..., None]), -1)
        value = replace(self, top_k=log_p.shape[-1])._value(log_p.log_softmax(-1), kept)
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


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What is kept of a teacher's distribution at some positions.

    ids: (..., k) long; log_p: (..., k) their log probabilities, any float type;
    rest: (...) log probability of all others together.
    """

    ids: Tensor
    log_p: Tensor
    rest: Tensor

    def __getitem__(self, part: slice) -> "Stored":
        return Stored(ids=self.ids[part], log_p=self.log_p[part], rest=self.rest[part])


@dataclass(frozen=True, kw_only=True)
class Blend:
    """`share` of one divergence and the rest of another."""

    first: Divergence
    second: Divergence
    share: float

    @property
    def kind(self) -> str:
        """Name of the part it makes."""
        return f"{self.first.kind}_and_{self.second.kind}"

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """As `Divergence`."""
        one = self.first(student_logits, teacher_logits)
        return self.share * one + (1 - self.share) * self.second(student_logits, teacher_logits)

    def from_stored(self, student_logits: Tensor, stored: Stored) -> Tensor:
        """As `Divergence.from_stored`."""
        one = self.first.from_stored(student_logits, stored)
        two = self.second.from_stored(student_logits, stored)
        return self.share * one + (1 - self.share) * two


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


def hidden_distance(
    student: Tensor,
    teacher: Tensor,
    mask: Tensor | None = None,
    *,
    kind: str = "nmse",
    total: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Distance of hidden states over the real positions, text included.

    Args:
        student: (B, T, D).
        teacher: (B, T, D); gradients do not flow into it.
        mask: (B, T) True at real positions; None counts all.
        kind: `mse` mean square; `nmse` squared error over squared teacher (each layer weighs the
            same, however large its channels); `l2` mean length; `cosine` mean of 1 - cos.
        total: adds a denominator up over all parts of a batch; the distances of the parts then
            add up to that of the whole.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} differ"
        )
    mine, aim = _wide(student), _wide(teacher.detach())
    if mask is not None:
        mine, aim = mine[mask], aim[mask]
    if kind not in HIDDEN:
        raise ValueError(f"kind must be one of {HIDDEN}, got {kind!r}")
    if total is not None:
        return _part_of_distance(mine, aim, kind, total)
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
    return (1 - F.cosine_similarity(mine, aim, dim=-1)).mean()


def _part_of_distance(
    mine: Tensor, aim: Tensor, kind: str, total: Callable[[Tensor], Tensor]
) -> Tensor:
    """Numerator of some rows (N, D) over the denominator of all."""
    if kind in ("mse", "nmse"):
        above = (mine - aim).square().sum()
        below = aim.square().sum() if kind == "nmse" else aim.new_tensor(float(aim.numel()))
    else:
        rows = (
            torch.linalg.vector_norm(mine - aim, dim=-1)
            if kind == "l2"
            else 1 - F.cosine_similarity(mine, aim, dim=-1)
        )
        above, below = rows.sum(), aim.new_tensor(float(len(aim)))
    return above / total(below).clamp_min(torch.finfo(aim.dtype).tiny)


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
