"""The tokenizer is taught told codes: their own digits cost least, and what has none nothing."""

import sys
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "mini"))

from sizes import TOLD_TOKENIZER
from train_tokenizer import taught

from mamtra_cli.codecs.flow_hift.speech_tokenizer import codes_to_digits

CODES = torch.tensor([[3, 700, 1224, -1]])


def said(codes: torch.Tensor) -> tuple[torch.Tensor, ...]:
    digits = codes_to_digits(codes.clamp_min(0), TOLD_TOKENIZER.levels)
    return tuple(10.0 * F.one_hot(digits[..., i], n) for i, n in enumerate(TOLD_TOKENIZER.levels))


def test_the_told_codes_themselves_are_wholly_right_and_cost_least() -> None:
    found = taught(said(CODES), CODES)
    assert [float(found[name]) for name in ("phone", "pitch", "rest")] == [1.0, 1.0, 1.0]
    other = taught(said(CODES.roll(1, -1).clamp_min(0)), CODES)
    assert float(found["loss"]) < 0.5 < float(other["loss"])
    assert float(other["phone"]) < 1.0


def test_what_has_no_code_teaches_nothing() -> None:
    logits = tuple(part.requires_grad_() for part in said(CODES))
    taught(logits, CODES)["loss"].backward()
    for part in logits:
        assert part.grad is not None
        assert not part.grad[0, -1].any()
        assert part.grad[0, 0].any()
