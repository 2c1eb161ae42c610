"""The training-only aligner: search against brute force, its loss, its prior."""

from itertools import combinations, pairwise

import pytest
import torch
from tests.families.mvc.language import language

from mamtra_cli.families.mvc.aligner import (
    Aligner,
    binarisation_loss,
    diagonal_prior,
    forward_sum_loss,
    monotonic_search,
)
from mamtra_cli.families.mvc.lessons import ConditionerBatch


def brute_force(scores: torch.Tensor, phones: int, frames: int) -> list[int]:
    """Frames of each phone on the best of all monotonic paths."""
    best, found = -torch.inf, []
    for cuts in combinations(range(1, frames), phones - 1):
        edges = [0, *cuts, frames]
        total = sum(
            float(scores[start:stop, phone].sum())
            for phone, (start, stop) in enumerate(pairwise(edges))
        )
        if total > best:
            best, found = total, [b - a for a, b in pairwise(edges)]
    return found


def test_search_equals_brute_force_on_rows_of_mixed_lengths() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(6, 9, 5, generator=generator).log_softmax(-1)
    phones, frames = torch.tensor([5, 3, 1, 4, 5, 2]), torch.tensor([9, 7, 4, 4, 8, 9])
    counts = monotonic_search(scores, phones, frames)
    for row in range(6):
        p, f = int(phones[row]), int(frames[row])
        assert counts[row, :p].tolist() == brute_force(scores[row, :f], p, f)
        assert counts[row, p:].sum() == 0


def test_prior_is_a_distribution_that_follows_the_diagonal() -> None:
    prior = diagonal_prior(torch.tensor([12, 8]), torch.tensor([4, 3]))
    torch.testing.assert_close(prior.exp()[0].sum(-1), torch.ones(12), rtol=0, atol=1e-5)
    assert prior[0].argmax(-1).tolist() == sorted(prior[0].argmax(-1).tolist())
    assert float(prior[1, :8, 3].max()) < -1e3
    assert float(prior[1, 8:].max()) < -1e3


def test_forward_sum_prefers_the_true_order() -> None:
    true = torch.full((1, 6, 3), -5.0)
    for frame in range(6):
        true[0, frame, frame // 2] = 0.0
    lengths = torch.tensor([3]), torch.tensor([6])
    assert forward_sum_loss(true, *lengths) < forward_sum_loss(true.flip(1), *lengths)
    counts = monotonic_search(true, *lengths)
    assert counts.tolist() == [[2, 2, 2]]
    assert binarisation_loss(true, counts) == pytest.approx(0.0)


def test_pads_do_not_move_the_scores_of_a_row() -> None:
    torch.manual_seed(0)
    aligner = Aligner(9, 6, width=16, heads=2).eval()
    ids, mel = torch.randint(0, 9, (2, 5)), torch.randn(2, 11, 6)
    mask = torch.arange(5) < torch.tensor([[5], [3]])
    real = torch.arange(11) < torch.tensor([[11], [7]])
    with torch.no_grad():
        mel = mel * real[..., None]
        both = aligner(ids, mask, mel, real)
        alone = aligner(ids[1:, :3], mask[1:, :3], mel[1:, :7], real[1:, :7])
    torch.testing.assert_close(both[1, :7, :3], alone[0], rtol=0, atol=1e-5)


def test_lengths_are_found_without_being_told() -> None:
    torch.manual_seed(0)
    aligner = Aligner(21, 10, width=32, heads=2)
    optimizer = torch.optim.AdamW(aligner.parameters(), lr=1e-2)

    def scored(batch: ConditionerBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        phones, frames = batch.mask.sum(1), batch.frames.sum(1)
        real = torch.arange(batch.mu.shape[1]) < frames[:, None]
        scores = aligner(batch.ids, batch.mask, batch.mu, real) + diagonal_prior(frames, phones)
        return torch.log_softmax(scores, dim=-1), phones, frames

    for step in range(80):
        optimizer.zero_grad()
        forward_sum_loss(*scored(language(12, step))).backward()
        optimizer.step()
    batch = language(32, 10_000)
    with torch.no_grad():
        counts = monotonic_search(*scored(batch))
    gaps = (counts - batch.frames).abs()[batch.mask]
    assert float((gaps <= 1).float().mean()) >= 0.95
    assert float((gaps == 0).float().mean()) >= 0.9
