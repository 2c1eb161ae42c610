"""Sequences of text ids and speech tokens as padded tensors, with and without what they must
predict. What stands where is in rows.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.rows import (
    PAD,
    TEXT,
    Row,
    decode_row,
    is_aligned,
    text_positions,
)
from mamtra_cli.families.lessons import IGNORE


@dataclass(frozen=True, kw_only=True)
class LMSequence:
    """Sequences padded on the right.

    ids: (B, T) long, rows of the table named by `tables`: (B, T) long.
    positions: (B, T) float32, or `None` where they are counted from 0.
    lengths: (B,) long, real positions of each row.
    """

    ids: Tensor
    tables: Tensor
    positions: Tensor | None
    lengths: Tensor

    def to(self, device: torch.device | str) -> "LMSequence":
        """Return the sequence on another device."""
        return LMSequence(**_moved(self, device))


@dataclass(frozen=True, kw_only=True)
class LMBatch(LMSequence):
    """Sequences with their targets.

    targets: (B, T) long, the id each position must predict, `IGNORE` where none.
    """

    targets: Tensor

    def to(self, device: torch.device | str) -> "LMBatch":
        """Return the batch on another device."""
        return LMBatch(targets=self.targets.to(device), **_moved(self, device))


def _moved(sequence: LMSequence, device: torch.device | str) -> dict[str, Any]:
    moved = {name: getattr(sequence, name) for name in ("ids", "tables", "positions", "lengths")}
    return {name: t if t is None else t.to(device) for name, t in moved.items()}


def _unistream(config: LMConfig, text: Sequence[int], speech: Sequence[int]) -> Row:
    row = Row()
    row.start()
    row.add(TEXT, text, text_positions(config, text)[0])
    targets = [*speech, config.eos_id]
    row.task(0, targets[:1])
    row.speech(speech, 0, targets[1:])
    return row


def _bistream(config: LMConfig, text: Sequence[int], speech: Sequence[int]) -> Row:
    aligned = is_aligned(config)
    chunk, turn = config.text_chunk, config.speech_chunk
    positions = text_positions(config, text)[0]
    row = Row()
    row.start()
    spoken = 0
    for first in range(0, len(text) - chunk + 1, chunk):
        said = speech[spoken : spoken + turn]
        row.add(TEXT, text[first : first + chunk], positions[first : first + chunk])
        if aligned:
            row.task(spoken)
        # The last position before a turn predicts its first token: task id or text id.
        row.targets[-1] = said[0]
        row.speech(said, spoken, [*said[1:], config.fill_id])
        spoken += turn
    rest = len(text) - len(text) % chunk
    row.add(TEXT, text[rest:], positions[rest:])
    targets = [*speech[spoken:], config.eos_id]
    row.task(spoken, targets[:1])
    row.speech(speech[spoken:], spoken, targets[1:])
    return row


def can_interleave(config: LMConfig, text: int, speech: int) -> bool:
    """Whether `speech` tokens outlast `text` ids said in turns."""
    return speech * config.text_chunk > text * config.speech_chunk


def lay_out(
    config: LMConfig,
    text: Sequence[Sequence[int]],
    speech: Sequence[Sequence[int]],
    bistream: Sequence[bool] | None = None,
) -> LMBatch:
    """Teacher-forcing sequences of a list of utterances.

    Args:
        config: names chunk sizes, special ids and the kind of positions.
        text: text ids of each utterance.
        speech: its speech tokens.
        bistream: which to lay out in turns, where the speech is long enough (default none).
    """
    flags = [False] * len(text) if bistream is None else list(bistream)
    if not 0 < len(text) == len(speech) == len(flags):
        raise ValueError(
            f"text, speech and bistream differ in length or are empty: {len(text)}, "
            f"{len(speech)}, {len(flags)}"
        )
    rows = []
    for ids, tokens, turns in zip(text, speech, flags, strict=True):
        turns = turns and can_interleave(config, len(ids), len(tokens))
        rows.append((_bistream if turns else _unistream)(config, list(ids), list(tokens)))
    targets = [[IGNORE if id is None else id for id in row.targets] for row in rows]
    return LMBatch(targets=_padded(targets, IGNORE), **_tensors(config, rows))


def decode_sequence(
    config: LMConfig,
    text: Sequence[int],
    prompt_text: Sequence[int] = (),
    prompt_speech: Sequence[int] = (),
) -> LMSequence:
    """`decode_row` as tensors. B = 1."""
    return to_sequence(config, [decode_row(config, text, prompt_text, prompt_speech)])


def to_sequence(config: LMConfig, rows: Sequence[Row]) -> LMSequence:
    """Rows as padded tensors; their targets are left out."""
    return LMSequence(**_tensors(config, rows))


def concatenate(sequences: Sequence[LMSequence]) -> LMSequence:
    """Sequences of any length as the rows of one, padded on the right."""
    longest = max(sequence.ids.shape[1] for sequence in sequences)

    def rows(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([F.pad(tensor, (0, longest - tensor.shape[1])) for tensor in tensors])

    positions = [s.positions for s in sequences if s.positions is not None]
    if len(positions) not in (0, len(sequences)):
        raise ValueError("some sequences have positions and some have none")
    return LMSequence(
        ids=rows([sequence.ids for sequence in sequences]),
        tables=rows([sequence.tables for sequence in sequences]),
        positions=rows(positions) if positions else None,
        lengths=torch.cat([sequence.lengths for sequence in sequences]),
    )


def first(sequence: LMSequence, count: int) -> LMSequence:
    """The first `count` positions of unpadded sequences."""
    return _cut(sequence, slice(0, count))


def after(sequence: LMSequence, count: int) -> LMSequence:
    """What follows the first `count` positions of unpadded sequences."""
    return _cut(sequence, slice(count, None))


def _cut(sequence: LMSequence, part: slice) -> LMSequence:
    ids = sequence.ids[:, part]
    return LMSequence(
        ids=ids,
        tables=sequence.tables[:, part],
        positions=None if sequence.positions is None else sequence.positions[:, part],
        lengths=torch.full_like(sequence.lengths, ids.shape[1]),
    )


def _tensors(config: LMConfig, rows: Sequence[Row]) -> dict[str, Tensor]:
    positions = _padded([row.positions for row in rows], 0.0) if is_aligned(config) else None
    tensors = {
        "ids": _padded([row.ids for row in rows], 0),
        "tables": _padded([row.tables for row in rows], PAD),
        "positions": positions,
        "lengths": torch.tensor([len(row.ids) for row in rows]),
    }
    return tensors  # type: ignore[return-value]


def _padded(rows: Sequence[Sequence[float]], value: float) -> Tensor:
    longest = max(len(row) for row in rows)
    kind = torch.float32 if isinstance(value, float) else torch.long
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows], dtype=kind)
