"""What a decoder remembers between calls, as values: a `LayerState` a layer, one `HybridState`.

A layer's `forward` leaves the state it is given as it was and returns a new one. Only a layer's
`step` may write into the given state, which is then used up: keep a `clone` to go back to it.
Knows nothing of weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor


def cache_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Dtype of cached keys and values: float32 on a CPU for half-precision models.

    Widening is exact, and attention of one half-precision query is slow on CPUs.
    """
    half = dtype in (torch.bfloat16, torch.float16)
    return torch.float32 if half and device.type == "cpu" else dtype


@dataclass(frozen=True, kw_only=True)
class KVState:
    """Cached keys and values of one attention layer.

    Attributes:
        k, v: (B, G, capacity, P); columns from `length` on are unused. Keys carry their rotation.
        length: columns in use.
        index: (B, capacity) ordinal of each column's token in its sequence, -1 where it is not to
            be seen (pads, earlier packed sequences); None means column j holds token j.
        seen: tokens given so far, pads included; exceeds `length` where old ones were let go.
    """

    tag: ClassVar[str] = "kv"

    k: Tensor
    v: Tensor
    length: int
    index: Tensor | None = None
    seen: int = 0

    @classmethod
    def alloc(
        cls,
        batch: int,
        kv_heads: int,
        head_dim: int,
        *,
        capacity: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "KVState":
        """An empty cache with room for `capacity` tokens."""
        shape = (batch, kv_heads, capacity, head_dim)
        k = torch.zeros(shape, dtype=dtype, device=device)
        return cls(k=k, v=torch.zeros_like(k), length=0)

    @property
    def batch(self) -> int:
        """Rows (B)."""
        return self.k.shape[0]

    @property
    def capacity(self) -> int:
        """Columns that fit without new memory."""
        return self.k.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes held, unused columns included."""
        extra = 0 if self.index is None else self.index.nbytes
        return self.k.nbytes + self.v.nbytes + extra

    def row_lengths(self) -> list[int] | None:
        """Tokens of each row without pads, where the state can tell."""
        return [int(length) for length in self.next_index().tolist()]

    def parts(self) -> tuple[dict[str, Tensor], int]:
        """Tensors in use by name, and how many columns: what a file keeps."""
        k, v, index = self.columns()
        return {"k": k, "v": v} | ({} if index is None else {"index": index}), self.length

    @classmethod
    def of_parts(cls, parts: Mapping[str, Tensor], length: int, seen: int) -> "KVState":
        """The inverse of `parts`."""
        k, v, index = parts["k"], parts["v"], parts.get("index")
        return cls(k=k, v=v, length=length, index=index, seen=seen)

    def columns(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys, values (B, G, length, P) and index (B, length) in use."""
        index = None if self.index is None else self.index[:, : self.length]
        return self.k[:, :, : self.length], self.v[:, :, : self.length], index

    def full_index(self) -> Tensor:
        """The index in use, spelled out: (B, length)."""
        if self.index is not None:
            return self.index[:, : self.length]
        return torch.arange(self.length, device=self.k.device).expand(self.batch, -1)

    def next_index(self) -> Tensor:
        """Ordinal the next real token of each row gets: (B,)."""
        if self.index is None or self.length == 0:
            return torch.full((self.batch,), self.length, device=self.k.device)
        return self.index[:, : self.length].amax(dim=1) + 1

    def reserve(self, capacity: int) -> "KVState":
        """A copy with room for `capacity` tokens, so that steps need no new memory."""
        if capacity < self.length:
            raise ValueError(f"capacity {capacity} is below the {self.length} tokens held")
        k = self.k.new_zeros(*self.k.shape[:2], capacity, self.k.shape[3])
        v = torch.zeros_like(k)
        k[:, :, : self.length] = self.k[:, :, : self.length]
        v[:, :, : self.length] = self.v[:, :, : self.length]
        index = None
        if self.index is not None:
            index = self.index.new_full((self.batch, capacity), -1)
            index[:, : self.length] = self.index[:, : self.length]
        return replace(self, k=k, v=v, index=index)

    def write(self, k: Tensor, v: Tensor, index: Tensor | None) -> "KVState":
        """Write new columns into the spare room and return the state that covers them.

        The only call that touches existing storage: this state stays readable, but of all its
        continuations only the last one written is valid.

        Args:
            k, v: (B, G, T, P).
            index: (B, T); given exactly if this state has an index.
        """
        end = self.length + k.shape[2]
        if end > self.capacity:
            raise ValueError(f"{end} tokens do not fit a capacity of {self.capacity}")
        if (index is None) != (self.index is None):
            raise ValueError("an index is written exactly where the cache has one")
        self.k[:, :, self.length : end] = k
        self.v[:, :, self.length : end] = v
        if index is not None and self.index is not None:
            self.index[:, self.length : end] = index
        return replace(self, length=end, seen=self.seen + k.shape[2])

    def select(self, rows: Tensor | Sequence[int]) -> "KVState":
        """The given rows, in the given order."""
        at = torch.as_tensor(rows, device=self.k.device)
        index = None if self.index is None else self.index[at]
        return replace(self, k=self.k[at], v=self.v[at], index=index)

    def repeat(self, times: int) -> "KVState":
        """Each row `times` times, copies side by side."""
        index = None if self.index is None else self.index.repeat_interleave(times, 0)
        k, v = self.k.repeat_interleave(times, 0), self.v.repeat_interleave(times, 0)
        return replace(self, k=k, v=v, index=index)

    def clone(self) -> "KVState":
        """A copy that shares no memory."""
        index = None if self.index is None else self.index.clone()
        return replace(self, k=self.k.clone(), v=self.v.clone(), index=index)

    def to(self, device: torch.device | str) -> "KVState":
        """The same on another device."""
        index = None if self.index is None else self.index.to(device)
        return replace(self, k=self.k.to(device), v=self.v.to(device), index=index)


@dataclass(frozen=True, kw_only=True)
class MambaState:
    """State of one recurrent mixer.

    Attributes:
        conv: (B, C, W - 1) last inputs of the convolution, oldest first, in the model's dtype.
        ssm: (B, H, P, N) float32 (float64 for a float64 model).
        seen: tokens given so far, pads included.
    """

    tag: ClassVar[str] = "mamba"

    conv: Tensor
    ssm: Tensor
    seen: int = 0

    @classmethod
    def alloc(
        cls,
        batch: int,
        *,
        channels: int,
        taps: int,
        size: tuple[int, int, int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "MambaState":
        """A state of zeros.

        Args:
            batch: B.
            channels: C of the convolution.
            taps: W.
            size: (H, P, N).
            dtype: the model's.
            device: where.
        """
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        return cls(
            conv=torch.zeros(batch, channels, taps - 1, dtype=dtype, device=device),
            ssm=torch.zeros(batch, *size, dtype=wide, device=device),
        )

    @property
    def batch(self) -> int:
        """Rows (B)."""
        return self.ssm.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.conv.nbytes + self.ssm.nbytes

    def row_lengths(self) -> list[int] | None:
        """A recurrent state cannot tell pads from tokens."""
        return None

    def parts(self) -> tuple[dict[str, Tensor], int]:
        """Tensors by name, and 0 columns: what a file keeps."""
        return {"conv": self.conv, "ssm": self.ssm}, 0

    @classmethod
    def of_parts(cls, parts: Mapping[str, Tensor], length: int, seen: int) -> "MambaState":
        """The inverse of `parts`."""
        del length
        return cls(conv=parts["conv"], ssm=parts["ssm"], seen=seen)

    def select(self, rows: Tensor | Sequence[int]) -> "MambaState":
        """The given rows, in the given order."""
        at = torch.as_tensor(rows, device=self.ssm.device)
        return replace(self, conv=self.conv[at], ssm=self.ssm[at])

    def repeat(self, times: int) -> "MambaState":
        """Each row `times` times, copies side by side."""
        conv, ssm = self.conv.repeat_interleave(times, 0), self.ssm.repeat_interleave(times, 0)
        return replace(self, conv=conv, ssm=ssm)

    def clone(self) -> "MambaState":
        """A copy that shares no memory."""
        return replace(self, conv=self.conv.clone(), ssm=self.ssm.clone())

    def reserve(self, capacity: int) -> "MambaState":
        """A copy; a recurrent state has the same size for any number of tokens."""
        del capacity
        return self.clone()

    def to(self, device: torch.device | str) -> "MambaState":
        """The same on another device."""
        return replace(self, conv=self.conv.to(device), ssm=self.ssm.to(device))


@dataclass(frozen=True, kw_only=True)
class PairState:
    """States of a layer that has both: near tokens in a cache, far ones in a recurrent state."""

    tag: ClassVar[str] = "pair"

    near: KVState
    far: MambaState

    @property
    def seen(self) -> int:
        """Tokens given so far, pads included."""
        return self.near.seen

    @property
    def batch(self) -> int:
        """Rows (B)."""
        return self.near.batch

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.near.nbytes + self.far.nbytes

    def row_lengths(self) -> list[int] | None:
        """Tokens of each row without pads."""
        return self.near.row_lengths()

    def parts(self) -> tuple[dict[str, Tensor], int]:
        """Tensors of both by name, and how many columns: what a file keeps."""
        near, length = self.near.parts()
        return near | self.far.parts()[0], length

    @classmethod
    def of_parts(cls, parts: Mapping[str, Tensor], length: int, seen: int) -> "PairState":
        """The inverse of `parts`."""
        near = KVState.of_parts(parts, length, seen)
        return cls(near=near, far=MambaState.of_parts(parts, length, seen))

    def select(self, rows: Tensor | Sequence[int]) -> "PairState":
        """The given rows, in the given order."""
        return PairState(near=self.near.select(rows), far=self.far.select(rows))

    def repeat(self, times: int) -> "PairState":
        """Each row `times` times, copies side by side."""
        return PairState(near=self.near.repeat(times), far=self.far.repeat(times))

    def clone(self) -> "PairState":
        """A copy that shares no memory."""
        return PairState(near=self.near.clone(), far=self.far.clone())

    def reserve(self, capacity: int) -> "PairState":
        """A copy; neither part grows."""
        del capacity
        return self.clone()

    def to(self, device: torch.device | str) -> "PairState":
        """The same on another device."""
        return PairState(near=self.near.to(device), far=self.far.to(device))


LayerState = KVState | MambaState | PairState
STATES: dict[str, type[LayerState]] = {s.tag: s for s in (KVState, MambaState, PairState)}


@dataclass(frozen=True, kw_only=True)
class HybridState:
    """States of all layers of a stack.

    Attributes:
        layers: one state a layer, in order.
        position: position that the next token has unless the caller says otherwise, one for all
            rows or (B,).
    """

    layers: tuple[LayerState, ...]
    position: int | Tensor = 0

    @property
    def batch(self) -> int:
        """Rows (B)."""
        return self.layers[0].batch

    @property
    def nbytes(self) -> int:
        """Bytes held by all layers."""
        return sum(layer.nbytes for layer in self.layers)

    def select(self, rows: Tensor | Sequence[int]) -> "HybridState":
        """The given rows, in the given order."""
        position = self.position
        if isinstance(position, Tensor):
            position = position[torch.as_tensor(rows, device=position.device)]
        layers = tuple(layer.select(rows) for layer in self.layers)
        return replace(self, layers=layers, position=position)

    def repeat(self, times: int) -> "HybridState":
        """Each row `times` times, copies side by side."""
        position = self.position
        if isinstance(position, Tensor):
            position = position.repeat_interleave(times, 0)
        layers = tuple(layer.repeat(times) for layer in self.layers)
        return replace(self, layers=layers, position=position)

    def clone(self) -> "HybridState":
        """A copy that shares no memory."""
        return replace(self, layers=tuple(layer.clone() for layer in self.layers))

    def reserve(self, capacity: int) -> "HybridState":
        """A copy whose caches have room for `capacity` tokens, ready for `step`."""
        return replace(self, layers=tuple(layer.reserve(capacity) for layer in self.layers))

    def to(self, device: torch.device | str) -> "HybridState":
        """The same on another device."""
        position = self.position.to(device) if isinstance(self.position, Tensor) else self.position
        layers = tuple(layer.to(device) for layer in self.layers)
        return replace(self, layers=layers, position=position)
