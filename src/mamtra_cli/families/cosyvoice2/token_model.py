"""The language model as the token loop drives it: `families.script.TokenModel`.

`FusedTokens` steps the fused stack over rows that come and go; `PlainTokens` the modules as they
are, for a model under training, whose rows start together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mamtra_cli.backbone.decoding.caches import DecodeState, compact, join, leave, row
from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.families.cosyvoice2.config import TOKENS_PER_SECOND
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.scripts import Reads
from mamtra_cli.families.cosyvoice2.sequences import after, to_sequence
from mamtra_cli.layers.state import HybridState

ROOM = 256  # tokens that caches have room for at first; they double


class FusedTokens:
    """Rows over the fused stack.

    Args:
        lm: the model; its projections become views of the fused ones.
    """

    codebooks = 1
    frame_rate = TOKENS_PER_SECOND

    def __init__(self, lm: SpeechLM) -> None:
        self.lm = lm
        # Sharing gives the stack new parameters, which must not be of inference mode.
        with torch.inference_mode(False):
            self.stack = FusedStack(lm.stack, share=True)

    def read(
        self,
        reads: Sequence[Reads],
        rows: DecodeState | None,
        at: Sequence[int],
        held: Sequence[HybridState | None],
    ) -> tuple[Tensor, DecodeState]:
        """Read prompts together, and what goes on from a state one by one."""
        scores: list[Tensor] = [torch.empty(0)] * len(reads)
        for places, fresh, state in _read(self.lm, reads, held):
            slots = [at[place] for place in places]
            if rows is None:
                room = max(min(reads[place].room, ROOM) for place in places)
                rows = self.stack.open(state, room)
            rows = join(rows, state, slots)
            for place, one in zip(places, fresh, strict=True):
                scores[place] = one
        assert rows is not None
        return torch.stack(scores)[:, None], rows

    def step(self, columns: NDArray[np.int64], rows: DecodeState) -> tuple[Tensor, DecodeState]:
        """Read one token a row."""
        lm = self.lm
        tokens = torch.as_tensor(columns)[:, 0].to(lm.speech_embedding.weight.device)
        hidden, rows = self.stack.step(lm.speech_embedding(tokens), rows)
        return torch.log_softmax(lm.llm_decoder(hidden).float(), dim=-1)[:, None], rows

    def park(self, rows: DecodeState, slot: int) -> tuple[DecodeState | None, HybridState]:
        """Take a row out."""
        held = row(rows, slot)
        # Where nobody stays behind, nobody writes over what it left.
        held = held.clone() if rows.live > 1 else held
        return self.leave(rows, [slot]), held

    def leave(self, rows: DecodeState, slots: Sequence[int]) -> DecodeState | None:
        """Free slots."""
        rows = leave(rows, slots)
        return rows if rows.batch else None

    def compact(self, rows: DecodeState) -> tuple[DecodeState, Mapping[int, int]]:
        """Close the gaps."""
        return compact(rows)


@dataclass(frozen=True, kw_only=True)
class PlainRows:
    """Rows of the modules' own state; `at` is the place in it of each slot, -1 where free."""

    state: HybridState
    at: tuple[int, ...]


class PlainTokens:
    """Rows over the modules as they are: nothing is rearranged, nothing copied.

    Args:
        lm: the model, which may be in training.
    """

    codebooks = 1
    frame_rate = TOKENS_PER_SECOND

    def __init__(self, lm: SpeechLM) -> None:
        self.lm = lm

    def read(
        self,
        reads: Sequence[Reads],
        rows: PlainRows | None,
        at: Sequence[int],
        held: Sequence[HybridState | None],
    ) -> tuple[Tensor, PlainRows]:
        """Read prompts; all rows start together."""
        if rows is not None or list(at) != list(range(len(at))) or any(held):
            raise ValueError("rows of a model under training start together")
        groups = list(_read(self.lm, reads, [None] * len(reads)))
        if len(groups) != 1:
            raise ValueError("a model under training reads whole prompts")
        _, scores, state = groups[0]
        return scores[:, None], PlainRows(state=state, at=tuple(at))

    def step(self, columns: NDArray[np.int64], rows: PlainRows) -> tuple[Tensor, PlainRows]:
        """Read one token a row."""
        device = self.lm.speech_embedding.weight.device
        tokens = torch.zeros(rows.state.batch, dtype=torch.long)
        used = [slot for slot in range(len(columns)) if rows.at[slot] >= 0]
        places = [rows.at[slot] for slot in used]
        tokens[places] = torch.as_tensor(columns)[used, 0]
        found, state = self.lm.step(tokens.to(device), rows.state)
        scores = found.new_zeros(len(columns), found.shape[1])
        scores[used] = found[places]
        return scores[:, None], replace(rows, state=state)

    def park(self, rows: PlainRows, slot: int) -> tuple[PlainRows, HybridState]:
        """Never asked for: texts are whole here."""
        raise ValueError("rows of a model under training are not taken out")

    def leave(self, rows: PlainRows, slots: Sequence[int]) -> PlainRows | None:
        """Free slots; once half are free, their states go too."""
        at = tuple(-1 if slot in slots else place for slot, place in enumerate(rows.at))
        used = [place for place in at if place >= 0]
        if not used:
            return None
        if 2 * len(used) > rows.state.batch:
            return replace(rows, at=at)
        places = {place: number for number, place in enumerate(used)}
        return PlainRows(
            state=rows.state.select(used), at=tuple(places.get(place, -1) for place in at)
        )

    def compact(self, rows: PlainRows) -> tuple[PlainRows, Mapping[int, int]]:
        """Number the rows anew; their memory stays."""
        used = [slot for slot, place in enumerate(rows.at) if place >= 0]
        moves = {slot: number for number, slot in enumerate(used) if slot != number}
        return replace(rows, at=tuple(rows.at[slot] for slot in used)), moves


def _read(
    lm: SpeechLM, reads: Sequence[Reads], held: Sequence[HybridState | None]
) -> list[tuple[list[int], Tensor, HybridState]]:
    """Places, log-probabilities (B, V) and states of rows that were read together."""
    device = lm.speech_embedding.weight.device
    starts = [
        value.after if state is None else (0, state)
        for value, state in zip(reads, held, strict=True)
    ]
    fresh = [place for place, start in enumerate(starts) if start is None]
    groups = []
    if fresh:
        sequence = to_sequence(lm.config, [reads[place].row for place in fresh])
        groups.append((fresh, *lm.extend(sequence.to(device))))
    for place, start in enumerate(starts):
        if start is not None:
            count, state = start
            rest = after(to_sequence(lm.config, [reads[place].row]), count)
            groups.append(([place], *lm.extend(rest.to(device), state.to(device))))
    return groups
