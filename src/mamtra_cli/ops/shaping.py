"""What is done to scores before one is drawn: repetition penalty, the unified transform, cut-offs.

All functions take any leading axes, keep the order of ids and are exact in float32; `shaped` runs
them in the one order that is defined. Knows no model. Sources: Keskar et al., arXiv 1909.05858
(penalty, here once for each occurrence); the unified sampler of Zyphra/Zonos, zonos/sampling.py;
min-p, arXiv 2407.01082.
"""

import torch
from torch import Tensor

from mamtra_cli.ops.sampling import Sampling

SMALLEST = 1e-20


def penalised(logits: Tensor, history: Tensor, penalty: float) -> Tensor:
    """Make ids of the history less likely, each by `penalty` to the power of its occurrences.

    Args:
        logits: (..., V); positive ones are divided, others multiplied.
        history: (..., W) long, clamped to V - 1.
        penalty: 1 changes nothing.
    """
    width = logits.shape[-1]
    times = torch.zeros_like(logits).scatter_add(
        -1, history.clamp(max=width - 1), torch.ones_like(history, dtype=logits.dtype)
    )
    factor = torch.pow(penalty, times)
    return torch.where(logits <= 0, logits * factor, logits / factor)


def unified(probs: Tensor, linear: float, conf: float, quad: float) -> Tensor:
    """Sharpen by confidence: softmax(l (linear + H conf) - quad l^2), l = log p, H the entropy.

    Args:
        probs: (..., V) float32.
        linear, conf, quad: weights; (1, 0, 0) changes nothing.
    """
    logs = probs.clamp(min=SMALLEST).log()
    entropy = -(probs * logs).sum(-1, keepdim=True)
    return torch.softmax(logs * (linear + entropy * conf) - logs.square() * quad, dim=-1)


def cut(probs: Tensor, top_p: float, top_k: int, min_p: float) -> Tensor:
    """Drop the improbable and renormalise, by each limit in turn.

    Args:
        probs: (..., V).
        top_p: ids before which more than this mass stands are dropped; 1 drops none.
        top_k: ids below the k-th are dropped, ties stay; 0 drops none.
        min_p: ids below this share of the most probable are dropped; 0 drops none.
    """
    if top_p < 1.0:
        ranked, order = probs.sort(dim=-1, descending=True)
        ranked = ranked.masked_fill(ranked.cumsum(-1) - ranked > top_p, 0.0)
        probs = _whole(torch.zeros_like(probs).scatter(-1, order, ranked))
    if 0 < top_k < probs.shape[-1]:
        least = probs.topk(top_k, dim=-1).values[..., -1:]
        probs = _whole(probs.masked_fill(probs < least, 0.0))
    if min_p > 0.0:
        least = min_p * probs.amax(-1, keepdim=True)
        probs = _whole(probs.masked_fill(probs < least, 0.0))
    return probs


def _whole(probs: Tensor) -> Tensor:
    return probs / probs.sum(-1, keepdim=True)


def shaped(logits: Tensor, options: Sampling, history: Tensor | None = None) -> Tensor:
    """Probabilities that ids are drawn with; the most probable alone where greedy.

    Order: penalty, temperature, unified transform, top-p, top-k, min-p.

    Args:
        logits: (..., V); -inf excludes an id.
        options: how to draw.
        history: (..., W) recent ids, or None for none; only the last `penalty_window` count.

    Returns:
        (..., V) float32, each row of sum 1.
    """
    wide = logits.float()
    if options.repetition_penalty != 1.0 and history is not None and history.shape[-1]:
        recent = history[..., -options.penalty_window :]
        wide = penalised(wide, recent, options.repetition_penalty)
    if options.greedy or options.temperature == 0.0:
        best = wide.argmax(-1, keepdim=True)
        return torch.zeros_like(wide).scatter(-1, best, 1.0)
    probs = torch.softmax(wide / options.temperature, dim=-1)
    if options.linear > 0.0:
        probs = unified(probs, options.linear, options.conf, options.quad)
    return cut(probs, options.top_p, options.top_k, options.min_p)


def draw(probs: Tensor, exponentials: Tensor) -> Tensor:
    """Ids drawn in proportion, the argmax of p / q.

    Args:
        probs: (..., V).
        exponentials: (..., V) Exp(1) variates q.

    Returns:
        (...) long.
    """
    return (probs / exponentials).argmax(-1)
