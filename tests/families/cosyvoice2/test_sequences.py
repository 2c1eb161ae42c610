"""Layouts of text and speech: where positions stand and what they predict."""

import pytest
import torch

from mamtra_cli.errors import CheckpointError
from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.rows import PAD, SPECIAL, SPEECH, TEXT
from mamtra_cli.families.cosyvoice2.sequences import (
    IGNORE,
    concatenate,
    decode_sequence,
    lay_out,
)

COUNTED = LMConfig(speech_vocab=50)
ALIGNED = LMConfig(speech_vocab=50, positions="aligned", durations=(2.0, 1.0, 4.0))


def test_aligned_positions_put_text_and_speech_on_one_axis() -> None:
    batch = lay_out(ALIGNED, [[0, 2, 1]], [[7, 8]])
    assert batch.tables.tolist() == [[SPECIAL, TEXT, TEXT, TEXT, SPECIAL, SPEECH, SPEECH]]
    assert batch.positions is not None
    assert batch.positions.tolist() == [[-1.0, 1.0, 4.0, 6.5, 0.0, 1.0, 2.0]]
    assert batch.targets.tolist() == [[IGNORE, IGNORE, IGNORE, IGNORE, 7, 8, 50]]


def test_aligned_turns_start_with_the_task_at_the_current_token() -> None:
    text, speech = [0, 1, 2, 0, 1, 2], list(range(20))
    batch = lay_out(ALIGNED, [text], [speech], [True])
    assert batch.positions is not None
    task = [(i, p) for i, p in enumerate(batch.positions[0].tolist())
            if batch.tables[0, i] == SPECIAL]  # fmt: skip
    assert task == [(0, -1.0), (6, 0.0), (23, 15.0)]
    expected = [IGNORE] * 6 + speech[:15] + [52, IGNORE] + speech[15:] + [50]
    assert batch.targets[0].tolist() == expected
    speaking = batch.tables[0] == SPEECH
    assert batch.positions[0][speaking].tolist() == [float(j + 1) for j in range(20)]


def test_counted_turns_predict_from_the_last_text_id() -> None:
    batch = lay_out(COUNTED, [[1, 2, 3, 4, 5]], [list(range(16))], [True])
    assert batch.positions is None
    expected = [IGNORE] * 5 + list(range(15)) + [52] + [15, 50]
    assert batch.targets[0].tolist() == expected


def test_short_speech_is_never_laid_out_in_turns() -> None:
    turns = lay_out(COUNTED, [[1] * 5], [[2] * 15], [True])
    plain = lay_out(COUNTED, [[1] * 5], [[2] * 15])
    assert torch.equal(turns.tables, plain.tables)
    assert torch.equal(turns.targets, plain.targets)


def test_prompt_text_is_stretched_to_its_speech() -> None:
    sequence = decode_sequence(ALIGNED, [1, 0], prompt_text=[0, 0], prompt_speech=[9] * 8)
    assert sequence.positions is not None
    assert sequence.positions[0, :6].tolist() == [-1.0, 2.0, 6.0, 8.5, 10.0, 0.0]
    assert sequence.positions[0, 6:].tolist() == [float(j + 1) for j in range(8)]


def test_instruction_without_speech_comes_before_the_text() -> None:
    sequence = decode_sequence(ALIGNED, [1], prompt_text=[0])
    assert sequence.positions is not None
    assert sequence.positions.tolist() == [[-1.0, 1.0, 2.5, 0.0]]


def test_concatenated_rows_are_padded() -> None:
    rows = [decode_sequence(COUNTED, [1]), decode_sequence(COUNTED, [1, 2, 3], [4], [5])]
    together = concatenate(rows)
    assert together.lengths.tolist() == [3, 7]
    assert (together.tables[0, 3:] == PAD).all()
    with pytest.raises(ValueError, match="have none"):
        concatenate([rows[0], decode_sequence(ALIGNED, [1])])


@pytest.mark.parametrize(
    ("text", "speech", "flags"),
    [([], [], None), ([[1]], [], None), ([[1]], [[2]], [True, False])],
    ids=["empty", "no-speech", "flags"],
)
def test_lists_of_other_lengths_are_refused(
    text: list[list[int]], speech: list[list[int]], flags: list[bool] | None
) -> None:
    with pytest.raises(ValueError, match="differ in length"):
        lay_out(COUNTED, text, speech, flags)


def test_text_id_without_a_duration_is_named() -> None:
    with pytest.raises(CheckpointError, match="text id 7 has no duration"):
        lay_out(ALIGNED, [[7]], [[1]])
    with pytest.raises(ValueError, match="sequential or aligned"):
        lay_out(LMConfig(positions="other"), [[7]], [[1]])
