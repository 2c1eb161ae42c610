"""Draws from scores that are tensors; see draws.py.

Knows no model and no stop rule: the caller masks ids it does not want and keeps the history.
`draw_frame` is the obvious twin, a row and a codebook at a time; `draw_frames` gives the same ids
for the same variates and does for all rows at once what costs time: softmax, ranking, running
sums. Which rule draws is said by `Sampling`: that of `sample_one`, or that of shaping.py where a
repetition penalty or the unified transform is asked for.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mamtra_cli.ops.draws import Frame, Variates, is_shaped, recent_books
from mamtra_cli.ops.sampling import Sampling, repeats
from mamtra_cli.ops.shaping import draw, shaped


def finite_rows(scores: Tensor) -> list[bool]:
    """See draws.py."""
    return [bool(sound) for sound in scores.amax(dim=-1).isfinite().flatten(1).all(dim=1).tolist()]


def barred(scores: Tensor, places: Sequence[tuple[int, int, int]]) -> Tensor:
    """See draws.py."""
    scores = scores.clone()
    scores[tuple(torch.tensor(places, device=scores.device).T)] = -torch.inf
    return scores


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


def _draw(probs: Tensor, variates: Variates) -> int:
    """Index drawn in proportion to probs: (n,), by argmax(p / e) with Exp(1) variates e."""
    return int((probs / torch.from_numpy(variates.exponential(len(probs)))).argmax())


def probabilities(logits: Tensor, options: Sampling) -> Tensor:
    """Softmax in float32 of logits over temperature: (..., V)."""
    wide = logits.float()
    if options.temperature not in (0.0, 1.0):
        wide = wide / options.temperature
    return torch.softmax(wide, dim=-1)


def sample_one(
    logits: Tensor,
    options: Sampling,
    history: Sequence[int] | Tensor,
    variates: Variates,
) -> int:
    """Draw one id, aware of repetitions where `options` ask for it.

    Randomness is used in this order: one draw over the candidates in descending order of
    probability; if that id is rejected, one draw over all ids.

    Args:
        logits: (V,), or log probabilities; -inf excludes an id.
        options: how to draw.
        history: ids emitted so far, oldest first.
        variates: of this row.
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
    chosen = int(ids[_draw(ranked, variates)])
    if options.ras_window == 0:
        return chosen
    if not repeats(chosen, [int(i) for i in history[-options.ras_window :]], options):
        return chosen
    return redraw(logits, chosen, options, variates)


def redraw(logits: Tensor, chosen: int, options: Sampling, variates: Variates) -> int:
    """Draw once more, from all ids but the chosen one; that one again if no other is possible.

    Args:
        logits: (V,), or log probabilities.
        chosen: the id that repeats.
        options: how to draw.
        variates: of this row.
    """
    masked = logits.float().clone()
    masked[chosen] = -torch.inf
    again = probabilities(masked, options)
    if not bool(torch.isfinite(again).all()):
        return chosen
    return _draw(again, variates)


def draw_frame(
    scores: Tensor, options: Sampling, history: Sequence[Frame], variates: Variates
) -> Frame:
    """Draw one id of each codebook of one row.

    Args:
        scores: (K, V) logits or log-probabilities; -inf excludes an id.
        options: how to draw.
        history: frames drawn so far, oldest first.
        variates: of this row.
    """
    if is_shaped(options):
        return _shaped_frames(scores[None], options, [history], [variates])[0]
    books = zip(scores.cpu(), recent_books(history, options, len(scores)), strict=True)
    return tuple(sample_one(row, options, past, variates) for row, past in books)


def draw_frames(
    scores: Tensor,
    options: Sampling,
    histories: Sequence[Sequence[Frame]],
    variates: Sequence[Variates],
) -> list[Frame]:
    """See draws.py."""
    if is_shaped(options):
        return _shaped_frames(scores, options, histories, variates)
    if len(scores) == 1 and scores.device.type == "cpu":
        return [draw_frame(scores[0], options, histories[0], variates[0])]
    pasts = [recent_books(history, options, scores.shape[1]) for history in histories]
    columns = [
        _draw_column(scores[:, book], options, [past[book] for past in pasts], variates)
        for book in range(scores.shape[1])
    ]
    return list(zip(*columns, strict=True))


def _draw_column(
    scores: Tensor,
    options: Sampling,
    recent: Sequence[Sequence[int]],
    variates: Sequence[Variates],
) -> list[int]:
    """`sample_one` for every row of scores (B, V)."""
    if options.greedy or options.temperature == 0.0:
        return [int(index) for index in scores.argmax(dim=-1).tolist()]
    ranked, ids = _rank(probabilities(scores, options), options.top_k)
    ranked, ids = ranked.cpu(), ids.cpu()
    counts = np.full(len(ranked), ranked.shape[1])
    if options.top_p < 1.0:
        taken = np.add.accumulate(ranked.numpy(), axis=1, dtype=np.float32)
        counts = 1 + np.count_nonzero(taken[:, :-1] < np.float32(options.top_p), axis=1)
    if options.min_p > 0.0:
        kept = (ranked >= options.min_p * ranked[:, :1]).sum(dim=1)
        counts = np.minimum(counts, kept.numpy())
    chosen: list[int] = []
    longest = int(counts.max())
    shares = torch.full((len(ranked), longest), torch.inf)
    for row, (count, one) in enumerate(zip(counts.tolist(), variates, strict=True)):
        shares[row, :count] = torch.from_numpy(one.exponential(count))
    places = (ranked[:, :longest] / shares).argmax(dim=1, keepdim=True)
    chosen = ids.gather(1, places)[:, 0].tolist()
    if options.ras_window:
        for row, (index, past) in enumerate(zip(chosen, recent, strict=True)):
            if repeats(index, past, options):
                logits = scores[row].cpu()
                chosen[row] = redraw(logits, index, options, variates[row])
    return chosen


def _rank(probs: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The `top_k` most probable of each row (B, V), equal ones in order of id; 0 ranks all."""
    if not 0 < top_k < probs.shape[1]:
        ranked, ids = torch.sort(probs, dim=1, descending=True, stable=True)
        return ranked, ids
    ranked, ids = probs.topk(top_k + 1, dim=1)
    if bool((ranked[:, -1] == ranked[:, -2]).any()):
        # Which of equal ids are among the first k, only a stable sort of all can tell.
        ranked, ids = torch.sort(probs, dim=1, descending=True, stable=True)
        return ranked[:, :top_k], ids[:, :top_k]
    ids, order = ids[:, :top_k].sort(dim=1)
    ranked, order = ranked.gather(1, order).sort(dim=1, descending=True, stable=True)
    return ranked, ids.gather(1, order)


def _shaped_frames(
    scores: Tensor,
    options: Sampling,
    histories: Sequence[Sequence[Frame]],
    variates: Sequence[Variates],
) -> list[Frame]:
    """Frames as shaping.py draws them: each row (K, V) variates of its own."""
    books, width = scores.shape[1:]
    pasts = [history[-options.penalty_window :] for history in histories]
    longest = max(len(past) for past in pasts)
    if all(len(past) == longest for past in pasts):
        past = torch.tensor(pasts, device=scores.device).view(len(pasts), longest, books).mT
        probs = shaped(scores, options, past if longest else None)
    else:
        rows = zip(scores, pasts, strict=True)
        probs = torch.stack(
            [
                shaped(
                    row, options, torch.tensor(past, device=row.device).view(-1, books).mT.long()
                )
                for row, past in rows
            ]
        )
    shares = np.stack([one.exponential(books * width) for one in variates])
    drawn = draw(probs, torch.from_numpy(shares).view_as(scores).to(probs.device)).tolist()
    return [tuple(frame) for frame in drawn]
