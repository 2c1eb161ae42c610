"""The tokenizer is taught told codes: what it says nearest to them costs least."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "mini"))

from sizes import TOKENIZER
from train_tokenizer import taught

from mamtra_cli.codecs.flow_hift.speech_tokenizer import codes_to_digits

CODES = torch.tensor([[3, 700, 1224, -1]])
HALVES = torch.tensor([(level - 1) / 2 for level in TOKENIZER.levels])


def said(codes: torch.Tensor) -> torch.Tensor:
    return codes_to_digits(codes.clamp_min(0), TOKENIZER.levels) / HALVES - 1


def test_the_told_codes_themselves_are_wholly_right_and_cost_least() -> None:
    found = taught(said(CODES), CODES)
    assert [float(found[name]) for name in ("phone", "pitch", "place")] == [1.0, 1.0, 1.0]
    other = taught(said(CODES.roll(1, -1).clamp_min(0)), CODES)
    assert float(found["loss"]) < 0.5 < float(other["loss"])
    assert float(other["phone"]) < 1.0


def test_what_has_no_code_teaches_nothing() -> None:
    bounded = said(CODES).requires_grad_()
    taught(bounded, CODES)["loss"].backward()
    assert bounded.grad is not None
    assert not bounded.grad[0, -1].any()
