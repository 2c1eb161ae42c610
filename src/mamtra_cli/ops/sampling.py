"""From logits to ids: temperature, top-k, top-p, min-p, greedy, and repetition-aware sampling.

Knows no model and no stop rule: the caller masks ids it does not want and keeps the history.
Repetition-aware sampling is that of VALL-E 2 (arXiv 2406.05370) in the form of CosyVoice 2: draw
from the nucleus; if that id occurs often enough in the recent history, mask it and draw again from
the whole distribution.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mamtra_cli.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How ids are drawn; the defaults draw from the distribution as it is.

    Attributes:
        temperature: logits are divided by it; 0 is greedy.
        top_p: candidates are taken from the top until their sum reaches it; 1 takes all.
        top_k: most candidates taken; 0 takes all.
        min_p: least probability of a candidate, as a share of the most probable one's.
        ras_window: recent ids in which repetitions count; 0 turns repetition-awareness off.
        ras_threshold: share of the window from which on a repeated id is drawn again.
        repetition_penalty: recent ids are made less likely by it, once an occurrence; 1 is none.
        penalty_window: recent ids that it looks at.
        linear, conf, quad: of the unified transform (`ops.shaping`); a `linear` of 0 is none.
        greedy: always the most probable id.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    ras_window: int = 0
    ras_threshold: float = 0.1
    repetition_penalty: float = 1.0
    penalty_window: int = 2
    linear: float = 0.0
    conf: float = 0.0
    quad: float = 0.0
    greedy: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (
            ("temperature", 0.0, None),
            ("top_p", 0.0, 1.0),
            ("top_k", 0, None),
            ("min_p", 0.0, 1.0),
            ("ras_window", 0, None),
            ("ras_threshold", 0.0, 1.0),
            ("repetition_penalty", 1.0, None),
            ("penalty_window", 1, None),
            ("linear", 0.0, None),
        ):
            value = getattr(self, name)
            if not value >= low or (high is not None and value > high):
                span = f"from {low} to {high}" if high is not None else f"{low} or more"
                raise UsageError(f"`{name}` cannot be {value}", f"use {span}")


def nucleus(probs: Tensor, top_p: float, top_k: int = 0) -> tuple[Tensor, Tensor]:
    """Candidates of one distribution, most probable first.

    Ids are taken while the sum of those already taken is below `top_p` and fewer than `top_k` are
    taken, so the one that crosses `top_p` is in, and there is always one. The sum runs in float32
    one by one: another order of summation would move the border.

    Args:
        probs: (V,) float32.
        top_p: sum at which taking stops.
        top_k: most candidates; 0 for no bound.

    Returns:
        Their probabilities and ids, (n,) each; equal probabilities stay in order of id.
    """
    ranked, ids = torch.sort(probs, descending=True, stable=True)
    if top_k:
        ranked, ids = ranked[:top_k], ids[:top_k]
    if top_p < 1.0:
        taken = np.add.accumulate(ranked.detach().cpu().numpy(), dtype=np.float32)
        # Compared in float32, as the running sum is.
        count = 1 + int(np.count_nonzero(taken[:-1] < np.float32(top_p)))
        ranked, ids = ranked[:count], ids[:count]
    return ranked, ids


def _draw(probs: Tensor, exponentials: Tensor | None, generator: torch.Generator | None) -> int:
    """Index drawn in proportion to probs: (n,), by argmax(p / e) if Exp(1) variates are given."""
    if exponentials is not None:
        return int((probs / exponentials[: probs.shape[0]].to(probs)).argmax())
    return int(torch.multinomial(probs, 1, replacement=True, generator=generator))


def probabilities(logits: Tensor, options: Sampling) -> Tensor:
    """Softmax in float32 of logits over temperature: (..., V)."""
    wide = logits.float()
    if options.temperature not in (0.0, 1.0):
        wide = wide / options.temperature
    return torch.softmax(wide, dim=-1)


def sample_one(
    logits: Tensor,
    options: Sampling,
    history: Sequence[int] | Tensor = (),
    *,
    generator: torch.Generator | None = None,
    exp_nucleus: Tensor | None = None,
    exp_full: Tensor | None = None,
) -> int:
    """Draw one id, aware of repetitions where `options` ask for it.

    Randomness is used in this order: one draw over the candidates in descending order of
    probability; if that id is rejected, one draw over all ids.

    Args:
        logits: (V,), or log probabilities; -inf excludes an id.
        options: how to draw.
        history: ids emitted so far, oldest first.
        generator: source of randomness of `torch.multinomial`.
        exp_nucleus: Exp(1) variates of the first draw, at least one a candidate.
        exp_full: (V,) Exp(1) variates of the second draw.
    """
    if logits.dim() != 1:
        raise ValueError(f"logits of one row expected, got {tuple(logits.shape)}")
    if options.greedy or options.temperature == 0.0:
        return int(logits.argmax())
    probs = probabilities(logits, options)
    ranked, ids = nucleus(probs, options.top_p, options.top_k)
    if options.min_p > 0.0:
        kept = int((ranked >= options.min_p * ranked[0]).sum())
        ranked, ids = ranked[:kept], ids[:kept]
    chosen = int(ids[_draw(ranked, exp_nucleus, generator)])
    if options.ras_window == 0:
        return chosen
    if not repeats(chosen, [int(i) for i in history[-options.ras_window :]], options):
        return chosen
    return redraw(logits, chosen, options, generator=generator, exponentials=exp_full)


def repeats(chosen: int, recent: Sequence[int], options: Sampling) -> bool:
    """Whether an id occurs so often in the window that it is to be drawn again."""
    return recent.count(chosen) >= options.ras_window * options.ras_threshold


def redraw(
    logits: Tensor,
    chosen: int,
    options: Sampling,
    *,
    generator: torch.Generator | None = None,
    exponentials: Tensor | None = None,
) -> int:
    """Draw once more, from all ids but the chosen one; that one again if no other is possible.

    Args:
        logits: (V,), or log probabilities.
        chosen: the id that repeats.
        options: how to draw.
        generator: source of randomness of `torch.multinomial`.
        exponentials: (V,) Exp(1) variates in its place.
    """
    masked = logits.float().clone()
    masked[chosen] = -torch.inf
    again = probabilities(masked, options)
    if not bool(torch.isfinite(again).all()):
        return chosen
    return _draw(again, exponentials, generator)


def sample(
    logits: Tensor,
    options: Sampling,
    histories: Sequence[Sequence[int] | Tensor] | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw one id a row.

    Args:
        logits: (B, V).
        options: how to draw, the same for all rows.
        histories: ids emitted so far by each row; needed for repetition-awareness only.
        generator: source of randomness.

    Returns:
        (B,) int64 on the device of the logits.
    """
    if logits.dim() != 2:
        raise ValueError(f"logits (B, V) expected, got {tuple(logits.shape)}")
    if options.greedy or options.temperature == 0.0:
        return logits.argmax(dim=-1)
    if options.ras_window == 0 and options.top_p == 1.0:
        return _sample_rows(logits, options, generator)
    if histories is None:
        histories = [()] * logits.shape[0]
    if len(histories) != logits.shape[0]:
        raise ValueError(f"{len(histories)} histories for {logits.shape[0]} rows")
    drawn = [
        sample_one(row, options, history, generator=generator)
        for row, history in zip(logits, histories, strict=True)
    ]
    return torch.tensor(drawn, device=logits.device)


def _sample_rows(logits: Tensor, options: Sampling, generator: torch.Generator | None) -> Tensor:
    """All rows at once, where no running sum is asked for."""
    probs = probabilities(logits, options)
    ids = None
    if options.top_k and options.top_k < probs.shape[-1]:
        probs, ids = torch.sort(probs, dim=-1, descending=True, stable=True)
        probs, ids = probs[:, : options.top_k], ids[:, : options.top_k]
    if options.min_p > 0.0:
        least = options.min_p * probs.amax(dim=-1, keepdim=True)
        probs = torch.where(probs >= least, probs, 0.0)
    drawn = torch.multinomial(probs, 1, replacement=True, generator=generator)
    return (drawn if ids is None else ids.gather(1, drawn)).squeeze(1)
