"""One frame a row in one call: rows draw from generators of their own, as if each were alone.

`draw_frame` is the obvious twin, a row and a codebook at a time; `draw_frames` gives the same ids
for the same generators and does for all rows at once what costs time: softmax, ranking, running
sums. Which rule draws is said by `Sampling`: that of `sample_one`, or that of shaping.py where a
repetition penalty or the unified transform is asked for.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mamtra_cli.ops.sampling import Sampling, probabilities, redraw, repeats, sample_one
from mamtra_cli.ops.shaping import draw, shaped

Frame = tuple[int, ...]


def is_shaped(options: Sampling) -> bool:
    """Whether shaping.py draws: its cut-offs renormalise, those of `sample_one` do not."""
    return options.repetition_penalty != 1.0 or options.linear > 0.0


def draw_frame(
    scores: Tensor, options: Sampling, history: Sequence[Frame], generator: torch.Generator
) -> Frame:
    """Draw one id of each codebook of one row.

    Args:
        scores: (K, V) logits or log-probabilities; -inf excludes an id.
        options: how to draw.
        history: frames drawn so far, oldest first.
        generator: of this row, on the CPU.
    """
    if is_shaped(options):
        return _shaped_frames(scores[None], options, [history], [generator])[0]
    books = zip(scores.cpu(), _books(history, len(scores)), strict=True)
    return tuple(sample_one(row, options, past, generator=generator) for row, past in books)


def draw_frames(
    scores: Tensor,
    options: Sampling,
    histories: Sequence[Sequence[Frame]],
    generators: Sequence[torch.Generator],
) -> list[Frame]:
    """Draw one id of each codebook of each row.

    Args:
        scores: (B, K, V) logits or log-probabilities; -inf excludes an id.
        options: how to draw, the same for all rows.
        histories: frames that each row drew so far, oldest first.
        generators: one a row, on the CPU.
    """
    if is_shaped(options):
        return _shaped_frames(scores, options, histories, generators)
    if len(scores) == 1 and scores.device.type == "cpu":
        return [draw_frame(scores[0], options, histories[0], generators[0])]
    columns = [
        _draw_column(
            scores[:, book],
            options,
            [[frame[book] for frame in _recent(past, options)] for past in histories],
            generators,
        )
        for book in range(scores.shape[1])
    ]
    return list(zip(*columns, strict=True))


def _recent(history: Sequence[Frame], options: Sampling) -> Sequence[Frame]:
    return history[-options.ras_window :] if options.ras_window else ()


def _books(history: Sequence[Frame], books: int) -> list[tuple[int, ...]]:
    """The history of each codebook."""
    return [tuple(frame[book] for frame in history) for book in range(books)]


def _draw_column(
    scores: Tensor,
    options: Sampling,
    recent: Sequence[Sequence[int]],
    generators: Sequence[torch.Generator],
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
    variates = torch.full((len(ranked), longest), torch.inf)
    for row, (count, generator) in enumerate(zip(counts.tolist(), generators, strict=True)):
        variates[row, :count].exponential_(generator=generator)
    places = (ranked[:, :longest] / variates).argmax(dim=1, keepdim=True)
    chosen = ids.gather(1, places)[:, 0].tolist()
    if options.ras_window:
        for row, (index, past) in enumerate(zip(chosen, recent, strict=True)):
            if repeats(index, past, options):
                logits = scores[row].cpu()
                chosen[row] = redraw(logits, index, options, generator=generators[row])
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
    generators: Sequence[torch.Generator],
) -> list[Frame]:
    """Frames as shaping.py draws them: each row (K, V) variates from its generator."""
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
    variates = torch.empty(len(scores), books, width)
    for row, generator in enumerate(generators):
        variates[row].exponential_(generator=generator)
    drawn = draw(probs, variates.to(probs.device)).tolist()
    return [tuple(frame) for frame in drawn]
