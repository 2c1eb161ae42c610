"""Lessons are laid out as the model reads at inference, with a prompt and without one."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "mini"))

from sizes import LM, TOKENIZER
from supervised_codes import LEVELS
from train_lm import LMTrainer, as_batch, lay_out, trained_lm

from mamtra_cli.families.cosyvoice2 import sequences
from mamtra_cli.families.cosyvoice2.rows import decode_row

CONFIG = replace(LM, durations=(2.0,) * LM.vocab_size)
PROMPT, TEXT = [5, 6], [7, 8, 9]
PROMPT_TOKENS, TOKENS = [11, 12, 13], [14, 15]


def test_a_sentence_alone_is_laid_out_as_in_distillation() -> None:
    ours = as_batch(CONFIG, [lay_out(CONFIG, [TEXT], [TOKENS])])
    theirs = sequences.lay_out(CONFIG, [TEXT], [TOKENS])
    for name, value in vars(theirs).items():
        assert torch.equal(getattr(ours, name), value), name


def test_after_a_prompt_every_token_and_the_end_is_predicted() -> None:
    row = lay_out(CONFIG, [PROMPT, TEXT], [PROMPT_TOKENS, TOKENS])
    read = decode_row(CONFIG, TEXT, PROMPT, PROMPT_TOKENS)
    known = len(read.ids)
    assert row.ids == [*read.ids, *TOKENS]
    assert row.positions[:known] == read.positions
    assert row.positions[known:] == [4.0, 5.0]
    told = [*PROMPT_TOKENS, *TOKENS, CONFIG.eos_id]
    assert row.targets == [None] * (len(row.ids) - len(told)) + told


def test_a_lesson_is_read_whichever_codes_it_learned(tmp_path: Path) -> None:
    small = replace(CONFIG, n_layers=1, alignment=())
    for levels in (TOKENIZER.levels, LEVELS):
        told = LMTrainer(small, 64, levels)
        torch.save({"model": told.state_dict()}, tmp_path / "lm.pt")
        read = trained_lm(tmp_path, small, 64)
        assert torch.equal(read.write.hot, told.write.hot)
        assert torch.equal(read.write.rows, told.write.rows)
