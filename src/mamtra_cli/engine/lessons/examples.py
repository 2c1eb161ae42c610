"""Pairs of text ids and speech tokens: from JSONL to padded batches.

A line is `{"text": "..."}` or `{"text_ids": [...]}` with `"tokens": [...]` and, if wanted,
`"id"`. No audio is needed: distillation learns from token streams, which a teacher can make for
any text. Batches hold examples of like length under a budget of padded positions, in an order
that depends on the seed and the epoch only. Nothing here knows a model; text is encoded by the
function given.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mamtra_cli.errors import DataError, TextError
from mamtra_cli.text.encoding import read_text

Encode = Callable[[str], Sequence[int]]

EXTRA_POSITIONS = 3  # sos, task and the end of speech
BISTREAM_SEED = 0x5EED  # keeps the draw of layouts apart from that of the order
POOL_BATCHES = 32  # examples are sorted by length inside pools of about this many batches


@dataclass(frozen=True, kw_only=True)
class Example:
    """One utterance: what is said and the speech tokens that say it."""

    id: str
    text_ids: tuple[int, ...]
    tokens: tuple[int, ...]

    @property
    def positions(self) -> int:
        """Positions that this example takes in the language model."""
        return len(self.text_ids) + len(self.tokens) + EXTRA_POSITIONS


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Examples padded on the right with 0.

    ids: B names; text_ids: (B, N) long; text_lengths: (B,) long; tokens: (B, T) long;
    token_lengths: (B,) long.
    indices: B places in the data, where they come from a source.
    bistream: B flags, which to lay out as text and speech in turns; none if empty.
    step: the update it belongs to.
    count: positions that the loss is a mean over, in all processes together; `None`: its own.
    blank: nothing counts, the rows only keep other processes company.
    own: the tokens are the student's own.
    """

    ids: tuple[str, ...]
    text_ids: Tensor
    text_lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    indices: tuple[int, ...] = ()
    bistream: tuple[bool, ...] = ()
    step: int = 0
    count: int | None = None
    blank: bool = False
    own: bool = False

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on another device."""
        return replace(
            self,
            text_ids=self.text_ids.to(device),
            text_lengths=self.text_lengths.to(device),
            tokens=self.tokens.to(device),
            token_lengths=self.token_lengths.to(device),
        )

    def share(self, rank: int, size: int) -> "Batch":
        """Rows `rank`, `rank + size`, ...: rows lie by length, so shares cost about the same.

        Where there are none, the first row comes back as a `blank` batch: engines that gather
        weights need every process in every pass.
        """
        if size == 1:
            return self
        rows = range(rank, len(self.ids), size)
        blank = not rows
        kept = list(rows) or [0]
        texts, tokens = self.text_lengths[kept], self.token_lengths[kept]
        return replace(
            self,
            ids=tuple(self.ids[i] for i in kept),
            text_ids=self.text_ids[kept, : int(texts.max())],
            text_lengths=texts,
            tokens=self.tokens[kept, : int(tokens.max())],
            token_lengths=tokens,
            indices=tuple(self.indices[i] for i in kept) if self.indices else (),
            bistream=tuple(self.bistream[i] for i in kept) if self.bistream else (),
            blank=blank,
        )


def pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Pad integer rows with 0 on the right; return ((B, T) long, (B,) long lengths)."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
    padded = torch.zeros(len(rows), int(lengths.max()) if len(rows) else 0, dtype=torch.long)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = torch.tensor(row, dtype=torch.long)
    return padded, lengths


def collate(examples: Sequence[Example]) -> Batch:
    """Put examples into one batch."""
    text_ids, text_lengths = pad([example.text_ids for example in examples])
    tokens, token_lengths = pad([example.tokens for example in examples])
    return Batch(
        ids=tuple(example.id for example in examples),
        text_ids=text_ids,
        text_lengths=text_lengths,
        tokens=tokens,
        token_lengths=token_lengths,
    )


def read_examples(
    path: Path, encode: Encode, *, speech_vocab: int, text_vocab: int
) -> list[Example]:
    """Read a JSONL file whole; the first bad line is named in the error.

    Args:
        path: the file.
        encode: text to ids, for lines that give `text`.
        speech_vocab, text_vocab: sizes that ids must stay below.
    """
    # A text may hold characters that only some programs end a line at.
    lines = read_text(path, absent=DataError, foreign=DataError).split("\n")
    examples = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"line {number} of `{path}`"
            example = parse_line(line, where, encode, default_id=str(number))
            _check_range(example.text_ids, text_vocab, "text id", where)
            _check_range(example.tokens, speech_vocab, "speech token", where)
            examples.append(example)
    if not examples:
        raise DataError(
            f"`{path}` holds no examples",
            hint='give one JSON object a line: {"text": "...", "tokens": [1, 2, 3]}',
        )
    return examples


def parse_line(line: str, where: str, encode: Encode, *, default_id: str) -> Example:
    """Read one JSONL line; `where` names it in errors."""
    try:
        record: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is not JSON: {error.msg}") from error
    if not isinstance(record, dict):
        raise DataError(f"{where} is not a JSON object")
    tokens = _integers(record.get("tokens"), "tokens", where)
    if "text_ids" in record:
        text_ids = _integers(record["text_ids"], "text_ids", where)
    elif isinstance(record.get("text"), str):
        try:
            text_ids = tuple(encode(record["text"]))
        except TextError as error:
            raise DataError(f"the text of {where} cannot be read: {error.message}") from error
    else:
        raise DataError(f"{where} has neither `text` nor `text_ids`")
    if not tokens or not text_ids:
        raise DataError(f"{where} has empty `{'text' if tokens else 'tokens'}`")
    return Example(id=str(record.get("id", default_id)), text_ids=text_ids, tokens=tokens)


def write_examples(path: Path, examples: Iterable[Example]) -> int:
    """Write examples as JSONL; return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for example in examples:
            record = {
                "id": example.id,
                "text_ids": list(example.text_ids),
                "tokens": list(example.tokens),
            }
            file.write(json.dumps(record) + "\n")
            count += 1
    return count


class BatchOrder:
    """Which examples go together in which order: a function of (seed, epoch).

    Args:
        positions: positions of each example.
        budget: padded positions in a batch: examples times the longest of them.
        seed: of the order.
        packed: rows are laid one after the other, so that nothing is padded and lengths may mix:
            the budget is of real positions.
    """

    def __init__(
        self, positions: Sequence[int], *, budget: int, seed: int, packed: bool = False
    ) -> None:
        if not positions:
            raise ValueError("no examples to batch")
        longest = max(positions)
        if longest > budget:
            raise DataError(
                f"an example takes {longest} positions, more than the batch budget of {budget}",
                hint=f"set `--batch-tokens {longest}` or more, or leave out long examples",
            )
        self.positions = list(positions)
        self.budget = budget
        self.seed = seed
        self.packed = packed

    def epoch(self, number: int) -> list[list[int]]:
        """Return the batches of an epoch as lists of example indices."""
        generator = torch.Generator().manual_seed((self.seed << 20) + number)
        shuffled = torch.randperm(len(self.positions), generator=generator).tolist()
        if self.packed:
            return self._fill(shuffled)
        mean = sum(self.positions) / len(self.positions)
        pool = max(1, round(POOL_BATCHES * self.budget / mean))
        batches: list[list[int]] = []
        for start in range(0, len(shuffled), pool):
            batches.extend(self._pack(shuffled[start : start + pool]))
        order = torch.randperm(len(batches), generator=generator).tolist()
        return [batches[index] for index in order]

    def _pack(self, indices: list[int]) -> list[list[int]]:
        """Cut indices, sorted by length, into batches under the budget."""
        batches: list[list[int]] = []
        current: list[int] = []
        for index in sorted(indices, key=lambda index: (self.positions[index], index)):
            if current and (len(current) + 1) * self.positions[index] > self.budget:
                batches.append(current)
                current = []
            current.append(index)
        return [*batches, current] if current else batches

    def _fill(self, indices: list[int]) -> list[list[int]]:
        """Cut indices in the given order into batches whose positions add up to the budget."""
        batches: list[list[int]] = []
        room = 0
        for index in indices:
            if not batches or self.positions[index] > room:
                batches.append([])
                room = self.budget
            batches[-1].append(index)
            room -= self.positions[index]
        return batches


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where reading stands: the next batch is number `index` of `epoch`."""

    epoch: int = 0
    index: int = 0


class BatchSource:
    """An endless stream of batches that can be taken up again at any position.

    Args:
        examples: what to read.
        budget, seed, packed: as in `BatchOrder`.
        bistream: share of the examples laid out as text and speech in turns.
        settled: which ones do not change with the epoch (something is stored for each).
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        budget: int,
        seed: int,
        packed: bool = False,
        bistream: float = 0.0,
        settled: bool = False,
    ) -> None:
        self.examples = list(examples)
        self.order = BatchOrder(
            [example.positions for example in examples], budget=budget, seed=seed, packed=packed
        )
        self.bistream = bistream
        self.settled = settled

    def flags(self, epoch: int) -> list[bool]:
        """Which examples are laid out in turns in an epoch."""
        if not self.bistream:
            return [False] * len(self.examples)
        number = (self.order.seed << 20) + (0 if self.settled else epoch)
        generator = torch.Generator().manual_seed(number ^ BISTREAM_SEED)
        drawn = torch.rand(len(self.examples), generator=generator)
        return [bool(flag) for flag in drawn < self.bistream]

    def batches(self, start: Position | None = None) -> Iterator[tuple[Batch, Position]]:
        """Yield batches from `start` on, each with the position that follows it."""
        position = start or Position()
        while True:
            epoch = self.order.epoch(position.epoch)
            flags = self.flags(position.epoch)
            for index in range(position.index, len(epoch)):
                following = (
                    Position(epoch=position.epoch, index=index + 1)
                    if index + 1 < len(epoch)
                    else Position(epoch=position.epoch + 1)
                )
                rows = epoch[index]
                batch = collate([self.examples[i] for i in rows])
                turns = tuple(flags[i] for i in rows) if self.bistream else ()
                yield replace(batch, indices=tuple(rows), bistream=turns), following
            position = Position(epoch=position.epoch + 1)

    def epoch_length(self, number: int = 0) -> int:
        """Count the batches of an epoch."""
        return len(self.order.epoch(number))


def hold_out(
    examples: Sequence[Example], count: int, *, seed: int
) -> tuple[list[Example], list[Example]]:
    """Split into (training, held out): `count` examples chosen by the seed, at most a fifth."""
    count = min(count, len(examples) // 5)
    generator = torch.Generator().manual_seed(seed)
    chosen = set(torch.randperm(len(examples), generator=generator)[:count].tolist())
    kept = [example for index, example in enumerate(examples) if index not in chosen]
    return kept, [example for index, example in enumerate(examples) if index in chosen]


def _integers(value: object, key: str, where: str) -> tuple[int, ...]:
    """Return a list of integers, or say what is wrong with it."""
    good = isinstance(value, list) and all(type(item) is int for item in value)
    if not good:
        raise DataError(f"`{key}` in {where} is not a list of integers")
    assert isinstance(value, list)
    return tuple(value)


def _check_range(ids: Sequence[int], size: int, what: str, where: str) -> None:
    """Refuse ids outside 0..size-1."""
    for value in ids:
        if not 0 <= value < size:
            raise DataError(
                f"{what} {value} in {where} is outside 0..{size - 1}",
                hint="the file may be made for another model",
            )
