"""How many tokens each text id takes: the taught head, mean durations, or nothing."""

from dataclasses import replace

import pytest
import torch
from tests.tiny_model import tiny_config

from mamtra_cli.errors import UsageError
from mamtra_cli.families.cosyvoice2.alignment import looked_at, stretched, token_counts
from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.rows import decode_row
from mamtra_cli.families.cosyvoice2.sequences import to_sequence
from mamtra_cli.layers.rotary import apply_rope, shape_table

TEXT, TOKENS = [3, 1, 4, 1, 5], list(range(13))
TAUGHT = replace(tiny_config().lm, alignment=(2, 3))


def model(config: LMConfig) -> SpeechLM:
    torch.manual_seed(0)
    return SpeechLM(config).eval()


@torch.no_grad()
@pytest.mark.parametrize("prompt", [([], []), ([7, 8], [9, 10, 11, 12])], ids=["alone", "clip"])
def test_scores_are_those_of_the_taught_head(prompt: tuple[list[int], list[int]]) -> None:
    lm = model(TAUGHT)
    row = decode_row(TAUGHT, TEXT, *prompt)
    text = slice(1 + len(prompt[0]), 1 + len(prompt[0]) + len(TEXT))
    drawing = slice(len(row.ids) - 1, len(row.ids) - 1 + len(TOKENS))
    row.speech(TOKENS, len(prompt[1]))
    whole = to_sequence(TAUGHT, [row])
    out = lm.stack(lm.embed(whole), positions=whole.positions, capture=(2,))
    block = list(lm.stack.blocks())[2]
    u, attention = block.input_layernorm(out.captured[2]), block.core
    assert whole.positions is not None
    turn = shape_table(whole.positions, attention.shape, torch.float32)
    q = apply_rope(attention.q_proj(u).unflatten(-1, (4, 8)), turn)[0, :, 3]
    k = apply_rope(attention.k_proj(u).unflatten(-1, (2, 8)), turn)[0, :, 1]
    expected = (q @ k.T / 8**0.5)[drawing, text].log_softmax(-1)
    assert torch.allclose(looked_at(lm, TEXT, TOKENS, *prompt), expected, atol=1e-5)


def test_every_token_is_counted_once() -> None:
    counts = token_counts(model(TAUGHT), TEXT, TOKENS)
    assert counts is not None
    assert len(counts) == len(TEXT)
    assert sum(counts) == len(TOKENS)


def test_durations_stand_in_where_the_taught_layer_was_exchanged() -> None:
    student = replace(TAUGHT, kinds="TTMT")
    assert token_counts(model(student), TEXT, TOKENS) == tuple(stretched(student, TEXT, 13))
    assert stretched(replace(student, durations=(1.0, 3.0, 0.5)), [0, 1, 2, 0], 11) == [2, 6, 1, 2]


def test_a_model_that_knows_neither_tells_nothing() -> None:
    counted = replace(tiny_config().lm, positions="sequential", durations=())
    assert token_counts(model(counted), TEXT, TOKENS) is None


def test_a_head_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="layer and a head"):
        replace(TAUGHT, alignment=(2, 4))
