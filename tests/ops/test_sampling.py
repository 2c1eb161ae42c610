"""Sampling: stored repetition-aware cases bit for bit, and what each option means."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mamtra_cli.errors import UsageError
from mamtra_cli.ops.sampling import Sampling, nucleus, sample, sample_one


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
        exps = {name: tensors[name][number] for name in ("exp_nucleus", "exp_full")}
        ranked, ids = nucleus(logp.softmax(dim=-1), options.top_p, options.top_k)
        assert len(ranked) == facts["nucleus_size"] == int(tensors["nucleus_size"][number])
        plain = Sampling(top_p=options.top_p, top_k=options.top_k)
        assert sample_one(logp, plain, history, **exps) == facts["first_choice"], facts["case"]
        assert facts["first_choice"] in ids.tolist()
        assert sample_one(logp, options, history, **exps) == facts["chosen"], facts["case"]


def test_draws_follow_multinomial_in_the_documented_order() -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(0))
    options = Sampling(top_p=0.8, top_k=25, ras_window=10)
    probs = logits.softmax(dim=-1)
    ranked, ids = nucleus(probs, 0.8, 25)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        first = int(ids[torch.multinomial(ranked, 1, replacement=True, generator=generator)])
        masked = logits.clone()
        masked[first] = -torch.inf
        second = int(
            torch.multinomial(masked.softmax(dim=-1), 1, replacement=True, generator=generator)
        )
        again = torch.Generator().manual_seed(seed)
        assert sample_one(logits, options, [first], generator=again) == second
        again = torch.Generator().manual_seed(seed)
        assert sample_one(logits, options, [first + 1], generator=again) == first


def test_repetition_outside_the_window_does_not_count() -> None:
    logits = torch.tensor([0.0, 9.0, 0.0])
    options = Sampling(top_k=1, ras_window=3)
    assert sample_one(logits, options, [1, 0, 0, 0]) == 1
    assert sample_one(logits, options, [0, 1, 0, 0]) != 1


def test_threshold_counts_repetitions() -> None:
    logits = torch.tensor([0.0, 9.0, 0.0])
    options = Sampling(top_k=1, ras_window=4, ras_threshold=0.5)
    assert sample_one(logits, options, [0, 0, 0, 1]) == 1
    assert sample_one(logits, options, [0, 1, 0, 1]) != 1


def test_only_possible_id_is_returned_though_repeated() -> None:
    logits = torch.tensor([-torch.inf, 1.0, -torch.inf])
    assert sample_one(logits, Sampling(top_k=1, ras_window=3), [1, 1]) == 1


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
    generator = torch.Generator().manual_seed(0)
    rows = logits.expand(1500, -1)
    return torch.bincount(
        sample(rows, options, generator=generator), minlength=logits.shape[0]
    ) / len(rows)


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
    assert torch.equal(sample(logits, options), logits.argmax(-1))
    assert sample_one(logits[2], options, [int(logits[2].argmax())]) == int(logits[2].argmax())


def test_rows_with_histories_are_drawn_each_by_its_own() -> None:
    logits = torch.tensor([[0.0, 9.0, -torch.inf], [9.0, 0.0, -torch.inf]])
    options = Sampling(top_k=1, ras_window=2)
    assert sample(logits, options, [[1], []]).tolist() == [0, 0]
    assert sample(logits, options).tolist() == [1, 0]
    with pytest.raises(ValueError, match="1 histories for 2 rows"):
        sample(logits, options, [[1]])


@pytest.mark.parametrize(
    "field",
    [{"temperature": -1.0}, {"top_p": 1.5}, {"top_k": -1}, {"min_p": 2.0}, {"ras_window": -1}],
    ids=lambda field: next(iter(field)),
)
def test_impossible_option_names_itself(field: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(field))):
        Sampling(**field)  # type: ignore[arg-type]
