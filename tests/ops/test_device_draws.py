"""Draws on the device: the ids of the host's, and nothing read back."""

from dataclasses import replace

import pytest
import torch
from tests.pretended_cuda import pretended_cuda

from mamtra_cli.errors import UsageError
from mamtra_cli.ops.device_draws import DeviceDraws
from mamtra_cli.ops.draws import Frame, Variates, draw_frames
from mamtra_cli.ops.sampling import Sampling

WIDTH, ROWS, STEPS = 97, 3, 40
NUCLEUS = Sampling(top_p=0.8, top_k=25)
WAYS = {
    "all": Sampling(),
    "nucleus": NUCLEUS,
    "min-p": Sampling(min_p=0.1, temperature=0.7),
    "repetition-aware": replace(NUCLEUS, ras_window=10, ras_threshold=0.1),
    "greedy": Sampling(greedy=True),
}


def scores(step: int) -> torch.Tensor:
    """Few likely ids, so that they repeat."""
    drawn = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(step))
    drawn[:, :90] -= 4.0
    return drawn


@pytest.mark.parametrize("name", WAYS)
def test_ids_are_those_of_the_host(name: str) -> None:
    options = WAYS[name]
    variates = [Variates(seed) for seed in range(ROWS)]
    draws = DeviceDraws(
        options, [Variates(seed) for seed in range(ROWS)], WIDTH, 2 * STEPS, torch.device("cpu")
    )
    histories: list[list[Frame]] = [[] for _ in range(ROWS)]
    for step in range(STEPS):
        want = draw_frames(scores(step)[:, None], options, histories, variates)
        assert [(index,) for index in draws(scores(step)).tolist()] == want
        for history, frame in zip(histories, want, strict=True):
            history.append(frame)
    if options.ras_window:
        assert max(one.draws for one in variates) > STEPS


def test_nothing_is_read_back() -> None:
    with pretended_cuda() as cuda:
        where = torch.device("cuda", 0)
        variates = [Variates(seed) for seed in range(ROWS)]
        draws = DeviceDraws(WAYS["repetition-aware"], variates, WIDTH, 8, where)
        there = scores(0).to(where)
        before = cuda.reads
        assert draws(there).device == where
        assert cuda.reads == before


def test_what_only_the_host_draws_is_refused() -> None:
    with pytest.raises(UsageError, match="on the device"):
        DeviceDraws(Sampling(repetition_penalty=2.0), [], WIDTH, 1, torch.device("cpu"))
