"""Draws are the same from arrays as from tensors, and their random numbers are defined."""

import numpy as np
import pytest
import torch

from mamtra_cli.ops.draws import Variates, barred, draw_frames, finite_rows
from mamtra_cli.ops.sampling import Sampling

OPTIONS = [
    Sampling(),
    Sampling(temperature=0.2, top_p=0.8),
    Sampling(top_p=0.8, top_k=25, ras_window=10),
    Sampling(top_k=5, min_p=0.1, ras_window=4, ras_threshold=0.5),
    Sampling(greedy=True),
]


def test_variates_are_the_same_everywhere() -> None:
    assert Variates(7).exponential(3).tolist() == pytest.approx(
        [0.1368816, 1.2195421, 0.867268], rel=1e-5
    )


def test_what_a_draw_uses_does_not_move_the_next() -> None:
    few, many = Variates(3), Variates(3)
    few.exponential(2), many.exponential(2000)
    assert few.exponential(5).tolist() == many.exponential(5).tolist()
    assert Variates(4).exponential(5).tolist() != Variates(3).exponential(5).tolist()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_arrays_and_tensors_draw_the_same_ids(options: Sampling) -> None:
    rng = np.random.default_rng(0)
    for seed in range(60):
        scores = rng.normal(0, 3, (2, 2, 200)).astype(np.float32)
        scores[:, :, 7] = -np.inf
        past = [[(int(i), int(j)) for i, j in rng.integers(0, 200, (6, 2))] for _ in range(2)]
        past[0] += [tuple(row.argmax() for row in scores[0])] * 3
        drawn = [
            draw_frames(made, options, past, [Variates(seed), Variates(seed + 1)])
            for made in (scores, torch.from_numpy(scores))
        ]
        assert drawn[0] == drawn[1]


def test_unsound_rows_and_barred_ids_are_told_alike() -> None:
    scores = np.zeros((4, 2, 5), np.float32)
    scores[1, 0, 3] = np.nan
    scores[2, 1] = -np.inf
    for made in (scores, torch.from_numpy(scores)):
        assert finite_rows(made) == [True, False, False, True]
        closed = barred(made, [(0, 1, 2), (3, 0, 4)])
        assert closed[0, 1, 2] == closed[3, 0, 4] == -np.inf
        assert made[0, 1, 2] == 0.0
