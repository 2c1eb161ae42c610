"""Rows that join a running batch, leave it, read on and move: each decodes as if it were alone."""

import random
from dataclasses import dataclass, field

import pytest
import torch
from tests.backbone.decoding.test_fused import CASES, TINY, make, same
from torch import Tensor

from mamtra_cli.backbone.decoding.caches import (
    DecodeState,
    compact,
    finish,
    join,
    leave,
    row,
)
from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.backbone.decoding.layer_caches import AttentionCache, MixerCache
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.layers.mixer_config import PRESETS, MixerConfig

EXACT = 1e-12


@dataclass
class Line:
    """What one row reads, and what came out for every position from `first` on."""

    x: Tensor
    first: int
    read: int
    out: list[Tensor] = field(default_factory=list)


class Schedule:
    """Random joins, departures, longer reads, moves and steps of up to five rows."""

    def __init__(self, stack: HybridStack, seed: int) -> None:
        self.stack, self.fused = stack, FusedStack(stack)
        self.random = random.Random(seed)
        self.torch = torch.Generator().manual_seed(seed)
        self.state: DecodeState | None = None
        self.rows: dict[int, Line] = {}
        self.done: list[Line] = []

    def join(self) -> None:
        free = [slot for slot in range(5) if slot not in self.rows]
        slot = self.random.choice(free[:2]) if self.state else 0
        length = self.random.randint(1, 9)
        x = torch.randn(500, TINY.d_model, generator=self.torch, dtype=torch.float64)
        line = Line(x=x, first=length, read=length)
        held = self.stack(x[None, :length]).state
        if self.state is None:
            self.state = self.fused.start(held, room=length)
        else:
            self.state = join(self.state, held, [slot])
        self.rows[slot] = line

    def leave(self) -> None:
        assert self.state is not None
        slot = self.random.choice(list(self.rows))
        self.done.append(self.rows.pop(slot))
        self.state = leave(self.state, [slot]) if self.rows else None

    def read_on(self) -> None:
        assert self.state is not None
        slot = self.random.choice(list(self.rows))
        line, count = self.rows[slot], self.random.randint(1, 6)
        held = row(self.state, slot)
        out = self.stack(line.x[None, line.read : line.read + count], held)
        line.out += out.hidden[0].unbind()
        line.read += count
        self.state = join(leave(self.state, [slot]), out.state, [slot])

    def move(self) -> None:
        assert self.state is not None
        self.state, moves = compact(self.state)
        self.rows = {moves.get(slot, slot): line for slot, line in self.rows.items()}
        assert sorted(self.rows) == list(range(len(self.rows)))

    def step(self) -> None:
        assert self.state is not None
        x = torch.full((self.state.batch, TINY.d_model), 9.0, dtype=torch.float64)
        for slot, line in self.rows.items():
            x[slot] = line.x[line.read]
        hidden, self.state = self.fused.step(x, self.state)
        for slot, line in self.rows.items():
            line.out.append(hidden[slot])
            line.read += 1

    def run(self, moves: int) -> list[Line]:
        for _ in range(moves):
            able = [self.join] if len(self.rows) < 5 else [self.leave]
            if self.rows:
                able += [self.step] * 6 + [self.leave, self.read_on, self.move]
            self.random.choice(able)()
        return [*self.done, *self.rows.values()]


@torch.no_grad()
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("kinds", "mixer"),
    [
        CASES[0],
        CASES[3],
        *(
            pytest.param(k, PRESETS["mamba2-gqa"], id=k)
            for k in ("MMM", "SST", "TMS", "WGT", "NTN")
        ),
        pytest.param("WMG", PRESETS["kv-shared-state"], id="kv-state"),
    ],
)
def test_rows_of_any_schedule_decode_as_if_alone(kinds: str, mixer: MixerConfig, seed: int) -> None:
    stack = make(kinds, mixer)
    lines = Schedule(stack, seed).run(60)
    assert sum(len(line.out) for line in lines) > 60
    for line in lines:
        if line.out:
            alone = stack(line.x[None, : line.read]).hidden[0, line.first :]
            same(torch.stack(line.out), alone, EXACT)


def buffers(state: DecodeState) -> list[Tensor]:
    return [c.ssm if isinstance(c, MixerCache) else c.kv for c in state.caches]


def running(rows: int, kinds: str = "TMS") -> tuple[HybridStack, FusedStack, DecodeState]:
    stack = make(kinds, PRESETS["mamba2-gqa"])
    x = torch.randn(rows, 5, TINY.d_model, dtype=torch.float64)
    fused = FusedStack(stack)
    return stack, fused, fused.start(stack(x).state, room=7)


@torch.no_grad()
def test_leaving_copies_nothing_and_its_slot_is_used_again() -> None:
    stack, fused, state = running(4)
    before = [buffer.data_ptr() for buffer in buffers(state)]
    held = row(state, 3)
    others = [
        t.clone() for layer in held.layers for t in vars(layer).values() if torch.is_tensor(t)
    ]
    state = leave(state, [1])
    assert state.lengths == (5, 0, 5, 5)
    state = join(state, stack(torch.ones(1, 3, TINY.d_model, dtype=torch.float64)).state, [1])
    assert state.lengths == (5, 3, 5, 5)
    assert [buffer.data_ptr() for buffer in buffers(state)] == before
    after = [
        t for layer in row(state, 3).layers for t in vars(layer).values() if torch.is_tensor(t)
    ]
    assert all(torch.equal(a, b) for a, b in zip(others, after, strict=True))
    _, state = fused.step(torch.zeros(2, TINY.d_model, dtype=torch.float64), leave(state, [2, 3]))
    assert state.lengths == (6, 4)


@torch.no_grad()
def test_what_a_broken_row_left_does_not_reach_the_next_one() -> None:
    stack, fused, state = running(2)
    _, state = fused.step(torch.full((2, TINY.d_model), torch.nan, dtype=torch.float64), state)
    x = torch.randn(1, 4, TINY.d_model, dtype=torch.float64)
    state = join(leave(state, [0]), stack(x[:, :3]).state, [0])
    hidden, _ = fused.step(x[:, 3].expand(2, -1), state)
    same(hidden[:1], stack(x).hidden[:, 3], EXACT)
    assert bool(hidden[1].isnan().all())


@torch.no_grad()
def test_room_doubles_so_that_joins_rarely_copy() -> None:
    stack, _, state = running(1, "TM")
    slots, pointers = [state.slots], {buffers(state)[0].data_ptr()}
    for slot in range(1, 9):
        state = join(
            state, stack(torch.ones(1, 5, TINY.d_model, dtype=torch.float64)).state, [slot]
        )
        slots.append(state.slots)
        pointers.add(buffers(state)[0].data_ptr())
    assert slots == [1, 2, 4, 4, 8, 8, 8, 8, 16]
    first = state.caches[0]
    assert isinstance(first, AttentionCache)
    assert first.kv.shape[2] == state.capacity


@torch.no_grad()
def test_a_taken_slot_is_refused() -> None:
    _, _, state = running(2)
    with pytest.raises(ValueError, match="taken"):
        join(state, finish(running(1)[2]), [1])
