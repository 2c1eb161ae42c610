"""The language model as the token loop drives it: `families.script.TokenModel`.

A row that is guided has two inner rows, with the conditions and without; their scores are mixed
here. Each row is read by itself, so what it says does not depend on its company. `ZonosTokens`
steps the fused stack; `PlainTokens` the modules as they are, for a model under training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mamtra_cli.backbone.decoding import caches
from mamtra_cli.backbone.decoding.caches import DecodeState
from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.families.zonos.lm import ZonosLM, guided
from mamtra_cli.families.zonos.manner import Settings, values
from mamtra_cli.families.zonos.positions import positions
from mamtra_cli.families.zonos.script import Prompt, Reads
from mamtra_cli.layers.state import HybridState, KVState

ROOM = 256  # columns that caches have room for at first; they double
WARM_UPS = 3  # of the published CUDA graphs, each of which moves recurrent states on


def prefixes(lm: ZonosLM, prompt: Prompt) -> Tensor:
    """The conditions as the model hears them: (1, P, D), or (2, P, D) with the unsaid row last."""
    place = lm.prefix_conditioner.project.weight
    voice = None if prompt.voice is None else torch.tensor(prompt.voice)
    heard = values(lm.config, prompt.manner, prompt.ids, voice)
    heard = {
        name: None if value is None else value.to(place.device) for name, value in heard.items()
    }
    said: Tensor = lm.prefix_conditioner(heard)
    if prompt.manner.guidance == 1.0:
        return said
    return torch.cat((said, lm.prefix_conditioner.unsaid(heard)))


def read(lm: ZonosLM, reads: Reads) -> tuple[Tensor, HybridState]:
    """Read a prompt and its columns: (K, V) float32 scores, and the state of one or two rows."""
    prefix = prefixes(lm, reads.prompt)
    columns = torch.tensor(reads.columns, device=prefix.device)[None]
    x = torch.cat((prefix, lm.embed(columns).expand(len(prefix), -1, -1)), dim=1)
    prompt = reads.prompt
    places = positions(lm.config, prompt.ids, prompt.manner.speaking_rate, len(reads.columns))
    at = None if places is None else torch.tensor(places, device=x.device)
    out = lm.stack(x, positions=at)
    return mixed(lm, out.hidden[:, -1], reads.prompt.manner), out.state


def mixed(lm: ZonosLM, hidden: Tensor, manner: Settings) -> Tensor:
    """Scores (K, V) of the last vectors of one row: (1, D), or (2, D) where it is guided."""
    logits = lm.logits(hidden)
    without = logits[1] if len(logits) == 2 else None
    return biased(guided(logits[0], without, manner.guidance), manner, lm.config.eos_id)


def biased(scores: Tensor, manner: Settings, eos: int) -> Tensor:
    """Add the bias of the end to the scores (K, V) of codebook 0."""
    if manner.end_bias:
        scores[0, eos] += manner.end_bias
    return scores


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row outside: its inner rows, and whether its first frame is still to be read."""

    inner: tuple[int, ...]
    manner: Settings
    fresh: bool = True


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows by slot over inner rows of the fused stack."""

    state: DecodeState
    by_slot: Mapping[int, Row]


class ZonosTokens:
    """Rows over the fused stack.

    Args:
        lm: the model; its projections become views of the fused ones.
        frame_rate: of its codec.
    """

    def __init__(self, lm: ZonosLM, frame_rate: float) -> None:
        self.lm = lm
        self.codebooks = lm.config.codebooks
        self.frame_rate = frame_rate
        # Sharing gives the stack new parameters, which must not be of inference mode.
        with torch.inference_mode(False):
            self.stack = FusedStack(lm.stack, share=True)

    def read(
        self, reads: Sequence[Reads], rows: Rows | None, at: Sequence[int], held: Sequence[None]
    ) -> tuple[Tensor, Rows | None]:
        """Read prompts, one after the other."""
        del held  # texts are whole here, so no row is ever taken out
        scores = []
        for value, slot in zip(reads, at, strict=True):
            found, state = read(self.lm, value)
            scores.append(found)
            rows = self._joined(rows, state, slot, value)
        return torch.stack(scores), rows

    def _joined(self, rows: Rows | None, state: HybridState, slot: int, value: Reads) -> Rows:
        by_slot = {} if rows is None else dict(rows.by_slot)
        taken = {inner for row in by_slot.values() for inner in row.inner}
        free = [inner for inner in range(len(taken) + 2) if inner not in taken][: state.batch]
        if rows is None:
            opened = self.stack.start(state, min(value.room, ROOM))
        else:
            opened = caches.join(rows.state, state, free)
        by_slot[slot] = Row(inner=tuple(free), manner=value.prompt.manner)
        return Rows(state=opened, by_slot=by_slot)

    def step(self, columns: NDArray[np.int64], rows: Rows) -> tuple[Tensor, Rows]:
        """Read one column a row."""
        lm, device = self.lm, rows.state.position.device
        x = lm.embed(torch.as_tensor(columns).to(device)[:, None])[:, 0]  # (B, D)
        rows = self._absorbed(x, rows)
        source = torch.zeros(rows.state.batch, dtype=torch.long)
        for slot, row in rows.by_slot.items():
            source[list(row.inner)] = slot
        hidden, state = self.stack.step(x[source.to(device)], rows.state)
        logits = lm.logits(hidden).float()
        scores = logits.new_full((len(columns), self.codebooks, lm.config.width), -torch.inf)
        for slot, row in rows.by_slot.items():
            without = logits[row.inner[1]] if len(row.inner) == 2 else None
            found = guided(logits[row.inner[0]], without, row.manner.guidance)
            scores[slot] = biased(found, row.manner, lm.config.eos_id)
        by_slot = {slot: replace(row, fresh=False) for slot, row in rows.by_slot.items()}
        return scores, Rows(state=state, by_slot=by_slot)

    def park(self, rows: Rows, slot: int) -> tuple[Rows | None, None]:
        """Never asked for: texts are whole here."""
        raise ValueError("rows of this model are not taken out")

    def leave(self, rows: Rows, slots: Sequence[int]) -> Rows | None:
        """Free slots."""
        gone = [inner for slot in slots for inner in rows.by_slot[slot].inner]
        by_slot = {slot: row for slot, row in rows.by_slot.items() if slot not in slots}
        return Rows(state=caches.leave(rows.state, gone), by_slot=by_slot) if by_slot else None

    def compact(self, rows: Rows) -> tuple[Rows, Mapping[int, int]]:
        """Close the gaps, inside and outside."""
        state, moved = caches.compact(rows.state)
        kept = sorted(rows.by_slot)
        moves = {slot: number for number, slot in enumerate(kept) if slot != number}
        by_slot = {}
        for slot, row in rows.by_slot.items():
            inner = tuple(moved.get(each, each) for each in row.inner)
            by_slot[moves.get(slot, slot)] = replace(row, inner=inner)
        return Rows(state=state, by_slot=by_slot), moves

    def _absorbed(self, x: Tensor, rows: Rows) -> Rows:
        """Let fresh rows that ask for it take their first frame in as the published graphs do."""
        for slot, row in rows.by_slot.items():
            if not (row.fresh and row.manner.absorbed_first):
                continue
            state = rows.state
            for inner in row.inner:
                held = caches.row(state, inner).clone()
                held = absorbed(self.lm, x[slot][None, None], held)
                state = caches.join(caches.leave(state, [inner]), held, [inner])
            rows = replace(rows, state=state)
        return rows


def absorbed(lm: ZonosLM, x: Tensor, held: HybridState) -> HybridState:
    """A state after the warm-ups of the published graphs: recurrent layers saw x (B, 1, D) thrice.

    Keys and values of a warm-up are overwritten by the next one, so those of `held` stay.
    """
    for _ in range(WARM_UPS):
        after = lm.stack(x, held).state
        pairs = zip(held.layers, after.layers, strict=True)
        layers = tuple(old if isinstance(old, KVState) else new for old, new in pairs)
        held = replace(held, layers=layers)
    return held


class PlainTokens:
    """Rows over the modules as they are: nothing is rearranged; each row steps by itself.

    Args:
        lm: the model, which may be in training.
        frame_rate: of its codec.
    """

    def __init__(self, lm: ZonosLM, frame_rate: float) -> None:
        self.lm = lm
        self.codebooks = lm.config.codebooks
        self.frame_rate = frame_rate

    def read(
        self,
        reads: Sequence[Reads],
        rows: Mapping[int, tuple[HybridState, Settings]] | None,
        at: Sequence[int],
        held: Sequence[None],
    ) -> tuple[Tensor, Mapping[int, tuple[HybridState, Settings]]]:
        """Read prompts, one after the other."""
        del held
        scores, kept = [], dict(rows or {})
        for value, slot in zip(reads, at, strict=True):
            found, state = read(self.lm, value)
            scores.append(found)
            room = max(caches.row_lengths(state)) + value.room
            kept[slot] = (state.reserve(room), value.prompt.manner)
        return torch.stack(scores), kept

    def step(
        self, columns: NDArray[np.int64], rows: Mapping[int, tuple[HybridState, Settings]]
    ) -> tuple[Tensor, Mapping[int, tuple[HybridState, Settings]]]:
        """Read one column a row."""
        config = self.lm.config
        device = self.lm.prefix_conditioner.project.weight.device
        shape = (len(columns), self.codebooks, config.width)
        scores = torch.full(shape, -torch.inf, device=device)
        kept = {}
        for slot, (state, manner) in rows.items():
            x = self.lm.embed(torch.as_tensor(columns[slot]).to(device)[None, None])
            out = self.lm.stack.step(x.expand(state.batch, -1, -1), state)
            scores[slot] = mixed(self.lm, out.hidden[:, -1], manner)
            kept[slot] = (out.state, manner)
        return scores, kept

    def park(
        self, rows: Mapping[int, tuple[HybridState, Settings]], slot: int
    ) -> tuple[Mapping[int, tuple[HybridState, Settings]], None]:
        """Never asked for: texts are whole here."""
        raise ValueError("rows of this model are not taken out")

    def leave(
        self, rows: Mapping[int, tuple[HybridState, Settings]], slots: Sequence[int]
    ) -> Mapping[int, tuple[HybridState, Settings]]:
        """Free slots."""
        return {slot: row for slot, row in rows.items() if slot not in slots}

    def compact(
        self, rows: Mapping[int, tuple[HybridState, Settings]]
    ) -> tuple[Mapping[int, tuple[HybridState, Settings]], Mapping[int, int]]:
        """Number the rows anew."""
        moves = {slot: number for number, slot in enumerate(sorted(rows)) if slot != number}
        return {moves.get(slot, slot): row for slot, row in rows.items()}, moves
