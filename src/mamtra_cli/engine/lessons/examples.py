"""Pairs of text ids and frames: from JSONL to batches.

A line is `{"text": "..."}` or `{"text_ids": [...]}` with `"tokens": [...]` and, if wanted,
`"id"`; where a frame has several ids, `tokens` is a list of such lists. No audio is needed:
distillation learns from token streams, which a teacher can make for any text. Batches hold
examples of like length under a budget of padded positions, in an order that depends on the seed
and the epoch only. Nothing here knows a model; text is encoded by the function given.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mamtra_cli.config import parse_json
from mamtra_cli.engine import seeds
from mamtra_cli.errors import DataError, TextError
from mamtra_cli.families.lessons import Example
from mamtra_cli.text.encoding import read_text

Encode = Callable[[str], Sequence[int]]

POOL_BATCHES = 32  # examples are sorted by length inside pools of about this many batches


def positions_of(example: Example) -> int:
    """Positions of an example where no model says better: text, frames, start, task and end."""
    return len(example.text_ids) + example.frames + 3


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Examples that go through a model together.

    examples: B of them.
    indices: B places in the data, where they come from a source.
    turns: B flags, which to lay out as text and speech in turns; none if empty.
    step: the update it belongs to.
    count: ids that the loss is a mean over, in all processes together; `None`: its own.
    blank: nothing counts, the rows only keep other processes company.
    own: the tokens are the student's own.
    """

    examples: tuple[Example, ...]
    indices: tuple[int, ...] = ()
    turns: tuple[bool, ...] = ()
    step: int = 0
    count: int | None = None
    blank: bool = False
    own: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        """Names of the examples."""
        return tuple(example.id for example in self.examples)

    @property
    def frames(self) -> int:
        """Frames of all rows; none of a batch that only keeps others company."""
        return 0 if self.blank else sum(example.frames for example in self.examples)

    @property
    def padded(self) -> int:
        """Text ids and frames, padded to the longest row's."""
        text = max(len(example.text_ids) for example in self.examples)
        return len(self.examples) * (text + max(example.frames for example in self.examples))

    def share(self, rank: int, size: int) -> "Batch":
        """Rows `rank`, `rank + size`, ...: rows lie by length, so shares cost about the same.

        Where there are none, the first row comes back as a `blank` batch: engines that gather
        weights need every process in every pass.
        """
        if size == 1:
            return self
        rows = list(range(rank, len(self.examples), size))
        kept = rows or [0]
        return replace(
            self,
            examples=tuple(self.examples[i] for i in kept),
            indices=tuple(self.indices[i] for i in kept) if self.indices else (),
            turns=tuple(self.turns[i] for i in kept) if self.turns else (),
            blank=not rows,
        )


def read_examples(
    path: Path,
    encode: Encode,
    *,
    speech_vocab: int,
    text_vocab: int,
    codebooks: int = 1,
    speaker_dim: int = 0,
) -> list[Example]:
    """Read a JSONL file whole; the first bad line is named in the error.

    Args:
        path: the file.
        encode: text to ids, for lines that give `text`.
        speech_vocab, text_vocab: sizes that ids must stay below.
        codebooks: ids of one frame.
        speaker_dim: numbers of a line's `speaker`, which may be left out; 0 reads none.
    """
    # A text may hold characters that only some programs end a line at.
    lines = read_text(path, absent=DataError, foreign=DataError).split("\n")
    examples = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"line {number} of `{path}`"
            example = parse_line(line, where, encode, default_id=str(number), codebooks=codebooks)
            _check_range(example.text_ids, text_vocab, "text id", where)
            _check_range(example.tokens, speech_vocab, "speech token", where)
            if speaker_dim and len(example.voice) not in (0, speaker_dim):
                raise DataError(f"`speaker` of {where} is not {speaker_dim} numbers")
            examples.append(example if speaker_dim else replace(example, voice=()))
    if not examples:
        raise DataError(
            f"`{path}` holds no examples",
            hint='give one JSON object a line: {"text": "...", "tokens": [1, 2, 3]}',
        )
    return examples


def parse_line(
    line: str, where: str, encode: Encode, *, default_id: str, codebooks: int = 1
) -> Example:
    """Read one JSONL line; `where` names it in errors."""
    try:
        record: Any = parse_json(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where} is not JSON: {error.msg}") from error
    if not isinstance(record, dict):
        raise DataError(f"{where} is not a JSON object")
    tokens = _frames(record.get("tokens"), codebooks, where)
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
    id = str(record.get("id", default_id))
    voice = record.get("speaker") or ()
    if not all(isinstance(number, int | float) for number in voice):
        raise DataError(f"`speaker` of {where} is no list of numbers")
    return Example(
        id=id,
        text_ids=text_ids,
        tokens=tokens,
        codebooks=codebooks,
        voice=tuple(float(number) for number in voice),
    )


def write_examples(path: Path, examples: Iterable[Example]) -> int:
    """Write examples as JSONL; return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for example in examples:
            record = {
                "id": example.id,
                "text_ids": list(example.text_ids),
                "tokens": framed(example.tokens, example.codebooks),
            }
            if example.voice:
                record["speaker"] = list(example.voice)
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
        size: positions of an example.
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
        size: Callable[[Example], int] = positions_of,
    ) -> None:
        self.examples = list(examples)
        self.order = BatchOrder(
            [size(example) for example in examples], budget=budget, seed=seed, packed=packed
        )
        self.bistream = bistream
        self.settled = settled

    def flags(self, epoch: int) -> list[bool]:
        """Which examples are laid out in turns in an epoch."""
        if not self.bistream:
            return [False] * len(self.examples)
        number = (self.order.seed << 20) + (0 if self.settled else epoch)
        generator = torch.Generator().manual_seed(number ^ seeds.TURNS)
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
                batch = Batch(
                    examples=tuple(self.examples[i] for i in rows),
                    indices=tuple(rows),
                    turns=tuple(flags[i] for i in rows) if self.bistream else (),
                )
                yield batch, following
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


def framed(tokens: Sequence[int], codebooks: int) -> list[int] | list[list[int]]:
    """Ids as they are written: a list, of frames where a frame has several."""
    if codebooks == 1:
        return list(tokens)
    starts = range(0, len(tokens), codebooks)
    return [list(tokens[start : start + codebooks]) for start in starts]


def _frames(value: object, codebooks: int, where: str) -> tuple[int, ...]:
    """Return the ids of some frames, one frame after the other."""
    if codebooks == 1:
        return _integers(value, "tokens", where)
    if not isinstance(value, list) or not all(
        isinstance(one, list) and len(one) == codebooks for one in value
    ):
        raise DataError(
            f"`tokens` in {where} is not a list of frames of {codebooks} ids",
            'such as {"text": "...", "tokens": [[1, 2, ...], ...]}',
        )
    return tuple(id for frame in value for id in _integers(frame, "tokens", where))


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
