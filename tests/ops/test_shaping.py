"""Penalty, unified transform and cut-offs against stored draws of the published sampler."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.ops.shaping import draw, penalised, shaped

RENAMED = {"repetition_penalty_window": "penalty_window"}


@pytest.fixture(scope="module")
def inputs(goldens: Path) -> dict[str, Tensor]:
    return load_file(goldens / "zonos/sampling_inputs.safetensors")


@pytest.fixture(scope="module")
def cases(goldens: Path) -> dict[str, Tensor]:
    stored: dict[str, Tensor] = {}
    for half in "ab":
        stored |= load_file(goldens / f"zonos/sampling_cases_{half}.safetensors")
    return stored


def options(params: dict[str, Any]) -> Sampling:
    """A stored case as ours: its top_p of 0 takes everything."""
    named = {RENAMED.get(name, name): value for name, value in params.items()}
    return Sampling(**{**named, "top_p": named["top_p"] or 1.0})


def test_probabilities_and_ids_are_the_published_ones(
    goldens: Path, inputs: dict[str, Tensor], cases: dict[str, Tensor]
) -> None:
    told = json.loads((goldens / "zonos/sampling.json").read_text("utf-8"))
    for case in told["cases"]:
        name, chosen = f"case{case['case']}", options({**told["defaults"], **case["params"]})
        history = inputs["generated_tokens"] if case["history"] else None
        probs = shaped(inputs["logits"], chosen, history)
        if chosen.temperature == 0.0:
            assert torch.equal(probs.argmax(-1, keepdim=True), cases[f"{name}.token"])
            continue
        torch.testing.assert_close(probs, cases[f"{name}.probs"], atol=1e-6, rtol=0)
        drawn = draw(probs, cases[f"{name}.exp_draw"])
        assert torch.equal(drawn[..., None], cases[f"{name}.token"])


def test_penalty_counts_every_occurrence_and_clamps_to_the_width(
    goldens: Path, inputs: dict[str, Tensor]
) -> None:
    told = json.loads((goldens / "zonos/sampling.json").read_text("utf-8"))["defaults"]
    window, by = told["repetition_penalty_window"], told["repetition_penalty"]
    logits, recent = inputs["logits"], inputs["generated_tokens"][..., -window:]
    assert torch.equal(penalised(logits, recent, by), inputs["penalised_logits_default"])
    narrow = penalised(logits[..., :-1], recent, by)
    assert torch.equal(narrow, inputs["penalised_logits_1025wide"])
    one = penalised(torch.tensor([1.0, -1.0, 9.0]), torch.tensor([0, 1, 0, 7]), 3.0)
    assert one.tolist() == pytest.approx([1 / 9, -3.0, 3.0])
    # A mask in the history is no end: scores are as wide as the ids.
    assert penalised(torch.ones(1026), torch.tensor([1025]), 3.0)[1024] == 1.0
