"""A batch of examples as the sequences that teacher and student both read.

Padded rows as they are, or packed: several utterances one after the other in a row, each with its
own number, so that attention and recurrent states start anew and counted positions restart. What
a sequence looks like inside is the family's business (`lm_batch`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mamtra_cli.engine.lessons.examples import Batch
from mamtra_cli.engine.training.losses import IGNORE
from mamtra_cli.families.cosyvoice2 import sequences as lm_batch
from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.lm import SpeechLM

ROW = 1024  # positions of a packed row, or those of the longest utterance


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Sequences on a model's device.

    sequence: ids, tables and positions.
    targets: (B, T) long, `losses.IGNORE` where nothing is predicted.
    real: (B, T) bool, False at padding and in rows that do not count.
    seq_idx: (B, T) numbers of packed utterances; `None` where each has a row of its own.
    rows: for each utterance, its row and the slice of it.
    """

    sequence: lm_batch.LMBatch
    targets: Tensor
    real: Tensor
    seq_idx: Tensor | None
    rows: Sequence[tuple[int, slice]]

    @property
    def reading(self) -> dict[str, Tensor | None]:
        """Arguments of the stack. Padding on the right cannot be seen by what is before it."""
        found: dict[str, Tensor | None] = {"positions": self.sequence.positions}
        if self.seq_idx is not None:
            found |= {"seq_idx": self.seq_idx, "pad_mask": self.sequence.tables != lm_batch.PAD}
        return found


def lay_out(batch: Batch, lm: SpeechLM, *, packed: bool = False) -> Layout:
    """A batch as teacher-forcing sequences on a model's device."""
    laid = lm_batch.lay_out_padded(
        lm.config,
        batch.text_ids,
        batch.text_lengths,
        batch.tokens,
        batch.token_lengths,
        batch.bistream or None,
    )
    seq_idx = None
    rows = [(i, slice(0, length)) for i, length in enumerate(laid.lengths.tolist())]
    if packed:
        laid, seq_idx, rows = pack(laid)
    device = lm.speech_embedding.weight.device
    laid = laid.to(device)
    real = laid.tables != lm_batch.PAD
    targets = laid.targets.masked_fill(laid.targets == lm_batch.IGNORE, IGNORE)
    if batch.blank:
        real, targets = torch.zeros_like(real), torch.full_like(targets, IGNORE)
    return Layout(
        sequence=laid,
        targets=targets,
        real=real,
        seq_idx=None if seq_idx is None else seq_idx.to(device),
        rows=rows,
    )


def pack(laid: lm_batch.LMBatch) -> tuple[lm_batch.LMBatch, Tensor, list[tuple[int, slice]]]:
    """Lay utterances one after the other, the longest first, each where it still fits."""
    lengths = laid.lengths.tolist()
    capacity = max(*lengths, ROW)
    rooms: list[int] = []
    counts: list[int] = []
    places: dict[int, tuple[int, slice, int]] = {}
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        size = lengths[index]
        row = next((r for r, room in enumerate(rooms) if room >= size), len(rooms))
        if row == len(rooms):
            rooms.append(capacity)
            counts.append(0)
        start = capacity - rooms[row]
        places[index] = (row, slice(start, start + size), counts[row])
        rooms[row] -= size
        counts[row] += 1
    width = capacity - min(rooms)
    shape = (len(rooms), width)
    ids = laid.ids.new_zeros(shape)
    tables = laid.tables.new_full(shape, lm_batch.PAD)
    targets = laid.targets.new_full(shape, lm_batch.IGNORE)
    seq_idx = laid.ids.new_zeros(shape)
    positions = None if laid.positions is None else laid.positions.new_zeros(shape)
    for index, (row, part, number) in places.items():
        size = lengths[index]
        ids[row, part] = laid.ids[index, :size]
        tables[row, part] = laid.tables[index, :size]
        targets[row, part] = laid.targets[index, :size]
        seq_idx[row, part.start :] = number
        if positions is not None and laid.positions is not None:
            positions[row, part] = laid.positions[index, :size]
    packed = replace(
        laid,
        ids=ids,
        tables=tables,
        targets=targets,
        positions=positions,
        lengths=torch.tensor([capacity - room for room in rooms]),
    )
    rows = [places[index][:2] for index in range(len(lengths))]
    return packed, seq_idx, rows


def count_targets(batch: Batch, config: LMConfig) -> int:
    """Positions of a batch that predict something: speech, its end, and turns of bistream."""
    if batch.blank:
        return 0
    count = int(batch.token_lengths.sum()) + len(batch.ids)
    pairs = zip(batch.text_lengths.tolist(), batch.token_lengths.tolist(), strict=True)
    for turns, (text, speech) in zip(batch.bistream, pairs, strict=False):
        if turns and lm_batch.can_interleave(config, text, speech):
            count += text // config.text_chunk
    return count
