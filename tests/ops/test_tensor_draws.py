"""Draws from tensors: stored repetition-aware cases bit for bit, what each option means, and many
rows in one call that draw what each would draw alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from mamtra_cli.ops.draws import Frame, Variates
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.ops.tensor_draws import draw_frame, draw_frames, nucleus, sample_one

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


class Stored:
    """Stored variates, one draw after the other."""

    def __init__(self, draws: list[NDArray[np.float32]]) -> None:
        self.draws = list(draws)

    def exponential(self, count: int) -> NDArray[np.float32]:
        return self.draws.pop(0)[:count]


def variates(seed: int) -> list[Variates]:
    return [Variates(100 * seed + row) for row in range(ROWS)]


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
        together = draw_frames(logits, options, past, variates(seed))
        alone = [
            draw_frame(row, options, before, one)
            for row, before, one in zip(logits, past, variates(seed), strict=True)
        ]
        assert together == alone


def test_variates_go_on_as_if_alone() -> None:
    options = Sampling(top_p=0.8, top_k=25, ras_window=10)
    together, alone = variates(1), variates(1)
    for seed in range(5):
        logits = scores(seed)
        past = histories(6, logits)
        draw_frames(logits, options, past, together)
        for row, before, one in zip(logits, past, alone, strict=True):
            draw_frame(row, options, before, one)
    assert [one.draws for one in together] == [one.draws for one in alone]


@pytest.mark.parametrize("top_k", [3, 5])
def test_equal_probabilities_stay_in_order_of_id(top_k: int) -> None:
    options = Sampling(top_k=top_k, top_p=0.99)
    logits = torch.zeros(ROWS, 1, 40).index_fill(2, torch.tensor([31, 4, 18, 9, 2]), 3.0)
    for seed in range(10):
        together = draw_frames(logits, options, [()] * ROWS, variates(seed))
        alone = [
            (sample_one(row[0], options, (), one),)
            for row, one in zip(logits, variates(seed), strict=True)
        ]
        assert together == alone


def test_a_frame_of_one_codebook_is_the_single_sampler() -> None:
    options = Sampling(top_p=0.8, top_k=25, ras_window=10)
    logits = scores(3)[:1, :1]
    history = [(5,), (6,), (5,)]
    one = sample_one(logits[0, 0], options, [5, 6, 5], Variates(4))
    assert draw_frames(logits, options, [history], [Variates(4)]) == [(one,)]


def test_ras_equals_every_stored_case(goldens: Path) -> None:
    meta = json.loads((goldens / "cosyvoice2" / "ras_sampling.json").read_text())
    data = load_file(goldens / "cosyvoice2" / "ras_sampling.safetensors")
    tensors = {name.split("/")[-1]: value for name, value in data.items()}
    options = Sampling(
        top_p=meta["top_p"],
        top_k=meta["top_k"],
        ras_window=meta["win_size"],
        ras_threshold=meta["tau_r"],
    )
    for number, facts in enumerate(meta["cases"]):
        logp = tensors["logits"][number].log_softmax(dim=-1)
        if facts["ignore_eos"]:
            logp[meta["eos"]] = -torch.inf
        history = tensors["history"][number]
        history = history[history >= 0]
        assert len(history) == facts["history_len"]
        exps = [tensors[name][number].numpy() for name in ("exp_nucleus", "exp_full")]
        ranked, ids = nucleus(logp.softmax(dim=-1), options.top_p, options.top_k)
        assert len(ranked) == facts["nucleus_size"] == int(tensors["nucleus_size"][number])
        plain = Sampling(top_p=options.top_p, top_k=options.top_k)
        first = sample_one(logp, plain, history, Stored(exps))  # type: ignore[arg-type]
        assert first == facts["first_choice"], facts["case"]
        assert facts["first_choice"] in ids.tolist()
        chosen = sample_one(logp, options, history, Stored(exps))  # type: ignore[arg-type]
        assert chosen == facts["chosen"], facts["case"]


def test_what_repeats_is_drawn_again_by_the_next_draw() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0))
    options = Sampling(top_p=0.8, top_k=25, ras_window=10)
    ranked, ids = nucleus(logits.softmax(dim=-1), 0.8, 25)
    for seed in range(20):
        variates = Variates(seed)
        first = int(ids[(ranked / torch.from_numpy(variates.exponential(len(ranked)))).argmax()])
        masked = logits.clone()
        masked[first] = -torch.inf
        again = masked.softmax(dim=-1)
        second = int((again / torch.from_numpy(variates.exponential(50))).argmax())
        assert sample_one(logits, options, [first], Variates(seed)) == second
        assert sample_one(logits, options, [first + 1], Variates(seed)) == first


def test_repetition_outside_the_window_does_not_count() -> None:
    logits = torch.tensor([0.0, 9.0, 0.0])
    options = Sampling(top_k=1, ras_window=3)
    assert sample_one(logits, options, [1, 0, 0, 0], Variates(0)) == 1
    assert sample_one(logits, options, [0, 1, 0, 0], Variates(0)) != 1


def test_threshold_counts_repetitions() -> None:
    logits = torch.tensor([0.0, 9.0, 0.0])
    options = Sampling(top_k=1, ras_window=4, ras_threshold=0.5)
    assert sample_one(logits, options, [0, 0, 0, 1], Variates(0)) == 1
    assert sample_one(logits, options, [0, 1, 0, 1], Variates(0)) != 1


def test_only_possible_id_is_returned_though_repeated() -> None:
    logits = torch.tensor([-torch.inf, 1.0, -torch.inf])
    assert sample_one(logits, Sampling(top_k=1, ras_window=3), [1, 1], Variates(0)) == 1


@pytest.mark.parametrize(
    ("top_p", "top_k", "size"),
    [(0.5, 0, 1), (0.51, 0, 2), (1.0, 0, 4), (0.99, 2, 2), (0.0, 0, 1), (1.0, 3, 3)],
    ids=str,
)
def test_nucleus_takes_the_id_that_crosses_the_sum(top_p: float, top_k: int, size: int) -> None:
    ranked, ids = nucleus(torch.tensor([0.125, 0.5, 0.25, 0.125]), top_p, top_k)
    assert ids.tolist() == [1, 2, 0, 3][:size]
    assert ranked.tolist() == [0.5, 0.25, 0.125, 0.125][:size]


def frequencies(logits: Tensor, options: Sampling) -> Tensor:
    rows = logits.expand(1500, 1, -1)
    drawn = draw_frames(rows, options, [()] * 1500, [Variates(row) for row in range(1500)])
    return torch.bincount(torch.tensor(drawn)[:, 0], minlength=logits.shape[0]) / len(rows)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (Sampling(), [0, 1, 2, 3]),
        (Sampling(top_k=2), [0, 2]),
        (Sampling(min_p=0.4), [0, 2]),
        (Sampling(top_p=0.6), [0, 2]),
        (Sampling(temperature=0.5), [0, 1, 2, 3]),
        (Sampling(temperature=0.5, top_k=3, min_p=0.05), [0, 2, 3]),
    ],
    ids=["all", "top-k", "min-p", "top-p", "temperature", "together"],
)
def test_sample_draws_in_proportion_among_the_kept(options: Sampling, kept: list[int]) -> None:
    logits = torch.tensor([0.5, 0.05, 0.3, 0.15]).log()
    want = torch.zeros(4)
    want[kept] = (logits[kept] / options.temperature).softmax(dim=-1)
    assert (frequencies(logits, options) - want).abs().max() < 0.05


@pytest.mark.parametrize("options", [Sampling(greedy=True), Sampling(temperature=0.0)], ids=str)
def test_greedy_takes_the_most_probable(options: Sampling) -> None:
    logits = torch.randn(5, 30)
    drawn = draw_frames(logits[:, None], options, [()] * 5, [Variates(0)] * 5)
    assert [frame[0] for frame in drawn] == logits.argmax(-1).tolist()
    assert sample_one(logits[2], options, [int(logits[2].argmax())], Variates(0)) == int(
        logits[2].argmax()
    )
