"""Many rows in one call draw what each would draw alone, bit for bit."""

import pytest
import torch
from torch import Tensor

from mamtra_cli.ops.draws import Frame, draw_frame, draw_frames
from mamtra_cli.ops.sampling import Sampling, sample_one

ROWS, BOOKS, WIDTH = 6, 2, 300
CASES = [
    pytest.param(Sampling(top_p=0.8, top_k=25, ras_window=10), id="published"),
    pytest.param(Sampling(top_p=0.9, ras_window=4, temperature=0.8), id="nucleus"),
    pytest.param(Sampling(), id="plain"),
    pytest.param(Sampling(top_k=5, min_p=0.1), id="top-k-and-min-p"),
    pytest.param(Sampling(top_k=1000, top_p=0.5), id="top-k-beyond"),
    pytest.param(Sampling(greedy=True), id="greedy"),
    pytest.param(Sampling(repetition_penalty=3.0, min_p=0.1), id="penalty"),
    pytest.param(Sampling(linear=0.5, conf=0.4), id="unified"),
]


def generators(seed: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 * seed + row) for row in range(ROWS)]


def scores(seed: int, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(ROWS, BOOKS, WIDTH, generator=generator) * scale
    made[:, :, 7] = -torch.inf
    return made.log_softmax(-1)


def histories(seed: int, logits: Tensor) -> list[list[Frame]]:
    """The most probable ids among others, so that repetitions are common."""
    generator = torch.Generator().manual_seed(seed)
    best = logits.topk(6, dim=-1).indices.mT  # (B, 6, K)
    order = torch.randperm(6, generator=generator).tolist()
    return [[tuple(row[i]) for i in order[: seed % 7]] for row in best.tolist()]


@pytest.mark.parametrize("options", CASES)
def test_rows_together_draw_what_they_draw_alone(options: Sampling) -> None:
    for seed in range(12):
        logits = scores(seed)
        past = histories(seed, logits)
        together = draw_frames(logits, options, past, generators(seed))
        alone = [
            draw_frame(row, options, before, generator)
            for row, before, generator in zip(logits, past, generators(seed), strict=True)
        ]
        assert together == alone


def test_generators_go_on_as_if_alone() -> None:
    options = Sampling(top_p=0.8, top_k=25, ras_window=10)
    together, alone = generators(1), generators(1)
    for seed in range(5):
        logits = scores(seed)
        past = histories(6, logits)
        draw_frames(logits, options, past, together)
        for row, before, generator in zip(logits, past, alone, strict=True):
            draw_frame(row, options, before, generator)
    left = [torch.rand(1, generator=generator) for generator in together]
    assert left == [torch.rand(1, generator=generator) for generator in alone]


@pytest.mark.parametrize("top_k", [3, 5])
def test_equal_probabilities_stay_in_order_of_id(top_k: int) -> None:
    options = Sampling(top_k=top_k, top_p=0.99)
    logits = torch.zeros(ROWS, 1, 40).index_fill(2, torch.tensor([31, 4, 18, 9, 2]), 3.0)
    for seed in range(10):
        together = draw_frames(logits, options, [()] * ROWS, generators(seed))
        alone = [
            (sample_one(row[0], options, generator=generator),)
            for row, generator in zip(logits, generators(seed), strict=True)
        ]
        assert together == alone


def test_a_frame_of_one_codebook_is_the_single_sampler() -> None:
    options = Sampling(top_p=0.8, top_k=25, ras_window=10)
    logits = scores(3)[:1, :1]
    history = [(5,), (6,), (5,)]
    generator, again = (torch.Generator().manual_seed(4) for _ in range(2))
    one = sample_one(logits[0, 0], options, [5, 6, 5], generator=again)
    assert draw_frames(logits, options, [history], [generator]) == [(one,)]
