"""A hybrid stack and its output head in an ONNX Runtime session, over rows that come and go.

The graph (onnx_graph.py) reads and writes buffers that stay where they are: keys and values in
place, states of mixers from one buffer into the other and back. A row is a slot of these buffers
with a length of its own, so rows join and leave without touching the others. numpy and
onnxruntime only: nothing here imports torch.
"""

import json
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
FREQUENCIES = "frequencies"
"""Metadata of a graph: JSON of the rotary frequencies (P / 2), radians a position."""
WINDOW = "window"
"""Metadata of a graph: JSON of sinks and window of its sliding-window layers, if any."""
PAGED = 1 << 16  # bytes from which a buffer has pages of its own
IN_PLACE = ("k", "v")
"""Buffers whose next value is written over them; the others have two."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Account of the columns of sliding-window layers: R of them a row, sinks among them.

    Attributes:
        sinks: first tokens that stay visible for ever.
        near: tokens that a query sees, itself included.
    """

    sinks: int
    near: int

    @property
    def columns(self) -> int:
        """Columns kept of a row (R)."""
        return self.sinks + self.near

    def passed(
        self, ordinals: NDArray[np.int64], seen: NDArray[np.int64], count: int
    ) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
        """What `count` new tokens see, and what is kept after them.

        Args:
            ordinals: (B, R) of the tokens in the columns, -1 where empty.
            seen: (B,) tokens of each row before.
            count: new tokens (T).

        Returns:
            bias (B, 1, T, R + T), 0 where seen; (B, R) columns of these to keep; their ordinals.
        """
        new = seen[:, None] + np.arange(count)  # (B, T)
        every = np.concatenate((ordinals, new), axis=1)  # (B, R + T)
        behind = new[:, :, None] - every[:, None]
        real = (every >= 0)[:, None] & (behind >= 0)
        visible = real & ((every < self.sinks)[:, None] | (behind < self.near))
        kept = (every >= 0) & ((every < self.sinks) | (seen[:, None] + count - every < self.near))
        take = np.argsort(~kept, axis=1, kind="stable")[:, : self.columns]
        bias = np.where(visible, 0.0, -np.inf).astype(np.float32)[:, None]
        after = np.take_along_axis(np.where(kept, every, -1), take, axis=1)
        return bias, take, after


@dataclass(frozen=True, kw_only=True)
class OnnxState:
    """What the slots hold; each call uses it up.

    Attributes:
        buffers: by input name, (slots, ...) float32, what the next call reads.
        spare: the same, what it writes; the same memory for keys and values.
        lengths: (slots,) tokens read of each row; 0 where the slot is free.
        positions: (slots,) of the next token of each row.
        ordinals: (slots, R) of the tokens in the columns of sliding windows, -1 where empty.
        rows: slots in use from the first on; free ones among them compute nothing of meaning.
    """

    buffers: Mapping[str, Array]
    spare: Mapping[str, Array]
    lengths: NDArray[np.int64]
    positions: NDArray[np.float64]
    ordinals: NDArray[np.int64]
    rows: int = 0
    bindings: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def slots(self) -> int:
        """Rows that there is room for."""
        return len(self.lengths)

    @property
    def capacity(self) -> int | None:
        """Tokens that a row has room for; `None` where no layer caches any."""
        return next((value.shape[2] for name, value in self.buffers.items() if _cached(name)), None)

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers."""
        both = {id(value): value.nbytes for value in (*self.buffers.values(), *self.spare.values())}
        return sum(both.values())


@dataclass(frozen=True, kw_only=True)
class OnnxRow:
    """One row outside of the buffers, with memory of its own.

    Attributes:
        held: by input name, what its slot held; keys and values up to its length.
        length: tokens read.
        position: of the next token.
        ordinals: (R,) as in `OnnxState`.
    """

    held: Mapping[str, Array]
    length: int
    position: float
    ordinals: NDArray[np.int64]


class OnnxStack:
    """A session and the buffers it runs over.

    Args:
        session: over a graph of `onnx_layers.build`.
    """

    def __init__(self, session: Any) -> None:
        self.session = session
        inputs = self.session.get_inputs()
        self.inputs = {value.name for value in inputs}
        self.shapes = {value.name: value.shape[1:] for value in inputs if "." in value.name}
        self.width = next(value.shape[2] for value in inputs if value.name == "x")
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.frequencies = np.array(json.loads(metadata[FREQUENCIES]), np.float32)
        self.window = Window(sinks=0, near=0)
        if WINDOW in metadata:
            sinks, near = json.loads(metadata[WINDOW])
            self.window = Window(sinks=sinks, near=near)
        self.vocabulary: int = self.session.get_outputs()[0].shape[2]

    def row_bytes(self, tokens: int) -> int:
        """Bytes of a slot with room for so many tokens; what is not cached has two buffers."""
        sizes = {"capacity": max(tokens, 1)}
        return sum(
            4 * prod(sizes.get(size, size) for size in shape) * (1 if _cached(name) else 2)
            for name, shape in self.shapes.items()
        )

    def alloc(self, slots: int = 1, capacity: int = 0) -> OnnxState:
        """Free slots with room for `capacity` tokens each."""
        buffers = self._empty(slots, max(capacity, 1))
        return OnnxState(
            buffers=buffers,
            spare={
                name: value if _cached(name) else _zeros(value.shape)
                for name, value in buffers.items()
            },
            lengths=np.zeros(slots, np.int64),
            positions=np.zeros(slots),
            ordinals=np.full((slots, self.window.columns), -1),
        )

    def grown(self, state: OnnxState, slots: int, capacity: int) -> OnnxState:
        """The same rows with room for at least so many slots, and tokens in each."""
        enough = state.capacity is None or state.capacity >= capacity
        if state.slots >= slots and enough:
            return state
        slots = max(slots, state.slots)
        larger = self.alloc(slots, max(capacity, state.capacity or 0))
        used = int(state.lengths.max(initial=0))  # what lies beyond was never written
        for name, value in state.buffers.items():
            place = larger.buffers[name]
            if _cached(name):
                place[: state.slots, :, :used] = value[:, :, :used]
            else:
                place[: state.slots] = value
        larger.lengths[: state.slots] = state.lengths
        larger.positions[: state.slots] = state.positions
        larger.ordinals[: state.slots] = state.ordinals
        return replace(larger, rows=state.rows)

    def read(
        self, x: Array, state: OnnxState, at: int, positions: NDArray[np.float64] | None = None
    ) -> tuple[Array, OnnxState]:
        """Read tokens of one row, going on from what its slot holds.

        Args:
            x: (T, D) embedded inputs.
            state: used up by this call.
            at: the slot.
            positions: (T,), integers or fractions; counted on if absent.

        Returns:
            (V,) scores after the last token, and the state after it.
        """
        count, one = len(x), slice(at, at + 1)
        held = int(state.lengths[at]) if at < state.slots else 0
        state = self._room(state, at + 1, held + count)
        if not held:
            # What a former row and the steps of others left in a free slot.
            state.positions[at], state.ordinals[at] = 0.0, -1
            for name, value in state.buffers.items():
                if not _cached(name):
                    value[at] = 0.0
        if positions is None:
            positions = state.positions[at] + np.arange(count)
        binding = self.session.io_binding()
        self._bind(binding, state.buffers, state.spare, one)
        self._feed(binding, x[None], positions[None], state, one)
        scores = self._run(binding)[0, -1]
        for name, value in state.spare.items():
            if not _cached(name):
                state.buffers[name][one] = value[one]
        state.lengths[at] += count
        state.positions[at] = positions[-1] + 1
        return scores, replace(state, rows=max(state.rows, at + 1))

    def step(
        self, x: Array, state: OnnxState, positions: NDArray[np.float64] | None = None
    ) -> tuple[Array, OnnxState]:
        """Run one token of every row in use.

        Args:
            x: (rows, D) embedded inputs.
            state: used up by this call.
            positions: (rows,), integers or fractions; counted on if absent.

        Returns:
            (rows, V) scores, and the state after it.
        """
        rows = state.rows
        if x.shape != (rows, self.width):
            raise ValueError(f"expected {(rows, self.width)}, got {x.shape}")
        if positions is None:
            positions = state.positions[:rows]
        longest = int(state.lengths[:rows].max()) + 1
        if state.capacity is not None and longest > state.capacity:
            state = self.grown(state, state.slots, 2 * longest + 16)
        binding = self._kept_binding(state)
        self._feed(binding, x[:, None], positions[:, None], state, slice(0, rows))
        scores = self._run(binding)[:, 0]
        used = state.lengths[:rows] > 0
        state.lengths[:rows] += used
        state.positions[:rows] = np.where(used, positions + 1, 0.0)
        after = replace(state, buffers=state.spare, spare=state.buffers, bindings=state.bindings)
        return scores, after

    def leave(self, state: OnnxState, slots: Sequence[int]) -> OnnxState:
        """Free slots; nothing moves."""
        state.lengths[list(slots)] = 0
        taken = np.flatnonzero(state.lengths)
        return replace(state, rows=int(taken[-1]) + 1 if len(taken) else 0)

    def taken(self, state: OnnxState, at: int) -> OnnxRow:
        """A copy of the row in a slot; the slot stays as it is."""
        length = int(state.lengths[at])
        return OnnxRow(
            held={
                name: (value[at, :, :length] if _cached(name) else value[at]).copy()
                for name, value in state.buffers.items()
            },
            length=length,
            position=float(state.positions[at]),
            ordinals=state.ordinals[at].copy(),
        )

    def put(self, state: OnnxState, at: int, row: OnnxRow) -> OnnxState:
        """A row back into a free slot."""
        state = self._room(state, at + 1, row.length + 1)
        for name, value in row.held.items():
            if _cached(name):
                state.buffers[name][at, :, : row.length] = value
            else:
                state.buffers[name][at] = value
        state.lengths[at], state.positions[at] = row.length, row.position
        state.ordinals[at] = row.ordinals
        return replace(state, rows=max(state.rows, at + 1))

    def moved(self, state: OnnxState, moves: Mapping[int, int]) -> OnnxState:
        """Rows copied from slots to others: {old: new}."""
        for old, new in moves.items():
            for value in state.buffers.values():
                value[new] = value[old]
            for account in (state.lengths, state.positions, state.ordinals):
                account[new] = account[old]
        return self.leave(state, list(moves))

    def _room(self, state: OnnxState, slots: int, tokens: int) -> OnnxState:
        """Room for a slot and its tokens, doubled where there is none."""
        if slots > state.slots:
            slots = max(slots, 2 * state.slots)
        capacity = state.capacity or 0
        if tokens > capacity:
            capacity = max(tokens, 2 * capacity)
        return self.grown(state, slots, capacity)

    def _empty(self, slots: int, capacity: int) -> dict[str, Array]:
        sizes = {"capacity": capacity}
        return {
            name: _zeros((slots, *(sizes.get(size, size) for size in shape)))
            for name, shape in self.shapes.items()
        }

    def _kept_binding(self, state: OnnxState) -> Any:
        """The binding of all rows in use for this order of the buffers."""
        first = next((value for name, value in state.buffers.items() if not _cached(name)), None)
        key = f"{state.rows}.{0 if first is None else first.ctypes.data}"
        if state.bindings.get("rows") != state.rows:
            state.bindings.clear()
            state.bindings["rows"] = state.rows
        if key not in state.bindings:
            binding = self.session.io_binding()
            self._bind(binding, state.buffers, state.spare, slice(0, state.rows))
            state.bindings[key] = binding
        return state.bindings[key]

    @staticmethod
    def _bind(
        binding: Any, buffers: Mapping[str, Array], spare: Mapping[str, Array], rows: slice
    ) -> None:
        """Bind the states; the values share the memory of the arrays."""
        from onnxruntime import OrtValue

        for name, value in buffers.items():
            given = OrtValue.ortvalue_from_numpy(value[rows])
            taken = given
            if not _cached(name):
                taken = OrtValue.ortvalue_from_numpy(spare[name][rows])
            binding.bind_ortvalue_input(name, given)
            binding.bind_ortvalue_output(f"{name}.next", taken)

    def _feed(
        self,
        binding: Any,
        x: Array,
        positions: NDArray[np.float64],
        state: OnnxState,
        rows: slice,
    ) -> None:
        """Bind what is new: x (B, T, D) at positions (B, T) for the given rows of a state."""
        batch, count, _ = x.shape
        angles = positions.astype(np.float32).reshape(-1, 1) * self.frequencies
        lengths = state.lengths[rows]
        past = lengths.astype(np.int32) + np.int32(count - 1)
        values: dict[str, Any] = {
            "x": np.ascontiguousarray(x, np.float32),
            "past": past,
            "total": np.array([past.max() + 1], np.int32),
            "cos": np.cos(angles),
            "sin": np.sin(angles),
            "places": np.arange(batch * count, dtype=np.int64).reshape(batch, count),
        }
        if self.window.columns:
            bias, take, after = self.window.passed(state.ordinals[rows], lengths, count)
            values |= {"window_bias": bias, "window_take": take}
            state.ordinals[rows] = after
        for name in self.inputs & values.keys():
            binding.bind_cpu_input(name, values[name])
        binding.bind_output("logits")

    def _run(self, binding: Any) -> Array:
        """Run, and return the scores (B, T, V)."""
        self.session.run_with_iobinding(binding)
        scores: Array = binding.get_outputs()[-1].numpy()
        return scores


def _zeros(shape: Sequence[int]) -> Array:
    """Zeros that take memory where they are written only, and give all of it back when they go."""
    size = 4 * prod(shape)
    if size < PAGED:
        return np.zeros(shape, np.float32)
    pages = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(pages, np.float32).reshape(shape)


def _cached(name: str) -> bool:
    """Whether a buffer holds keys or values, a column a token."""
    return name.split(".")[0] in IN_PLACE
