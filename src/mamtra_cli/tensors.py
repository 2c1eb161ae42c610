"""Files of tensors: a strict lazy reader, packed storage, strict loading into modules.

A matrix may be stored packed: int8 values under its name and one float16 scale a row (axis 0)
under `name.scale`. A file is read and written in windows of `HOLD` bytes, whatever its size. Knows
names, shapes and bytes; nothing of what a tensor means, nor of folders.

Format: safetensors (https://github.com/huggingface/safetensors); `.pt` files are in `pt_file.py`.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mamtra_cli.config import nearest
from mamtra_cli.errors import CheckpointError, UsageError
from mamtra_cli.tensor_header import damaged, read_header

SCALE = ".scale"
Storage = Literal["keep", "float32", "bfloat16", "float16", "int8"]
STORAGES: tuple[str, ...] = get_args(Storage)
HOLD = 64_000_000  # bytes read from a mapping before it is let go
MAP_FROM = 64_000_000  # bytes from which a table may stay in its file
SPOOL = 64_000_000  # bytes from which a file is written as its tensors come
STREAMED = 1_000_000  # bytes from which a tensor is then not kept back
HEADER = 1 << 19  # bytes left for the header of such a file; blanks may follow the JSON

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """Shape and stored type of a tensor; `packed` ones are int8 with a scale a row."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    packed: bool = False


class TensorSource(Protocol):
    """A file of tensors under our names, whatever its format."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    def __contains__(self, name: object) -> bool: ...

    def __iter__(self) -> Iterator[str]: ...

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor."""
        ...

    def stream(
        self, names: Iterable[str] | None = None, dtype: torch.dtype | None = torch.float32
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Read tensors one after the other, all of them by default; see `copied`."""
        ...

    def mapped(self, name: str, dtype: torch.dtype | None) -> torch.Tensor | None:
        """Map a large tensor that is stored in this type; `None` where it has to be read."""
        ...


class TensorFile:
    """A safetensors file, checked on opening, whose tensors are read one at a time.

    Args:
        path: the file.

    Raises:
        CheckpointError: the file is missing, truncated or not safetensors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        header = read_header(path)
        self.metadata: dict[str, str] = header.pop("__metadata__", {})
        stored = {
            name: TensorInfo(shape=tuple(entry["shape"]), dtype=DTYPES[entry["dtype"]])
            for name, entry in header.items()
        }
        self.infos: dict[str, TensorInfo] = {}
        for name, info in stored.items():
            packed = info.dtype == torch.int8 and name + SCALE in stored
            if name.endswith(SCALE) and name.removesuffix(SCALE) in stored:
                owner = stored[name.removesuffix(SCALE)]
                if owner.dtype == torch.int8:
                    if info.shape != owner.shape[:1]:
                        raise CheckpointError(
                            f"`{path.name}` has {info.shape} scales for `{name}`, "
                            f"not {owner.shape[:1]}"
                        )
                    continue
            self.infos[name] = TensorInfo(shape=info.shape, dtype=info.dtype, packed=packed)

    def __contains__(self, name: object) -> bool:
        return name in self.infos

    def __iter__(self) -> Iterator[str]:
        return iter(self.infos)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor."""
        return {name: info.shape for name, info in self.infos.items()}

    def get(self, name: str, dtype: torch.dtype | None = torch.float32) -> torch.Tensor:
        """Read one tensor.

        Args:
            name: its name.
            dtype: type of a floating or packed tensor; None keeps the stored one (packed
                tensors come as float32).
        """
        return next(self.stream([name], dtype))[1]

    def stream(
        self, names: Iterable[str] | None = None, dtype: torch.dtype | None = torch.float32
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Read tensors one after the other, as `get` does; all of them by default."""
        for name, value, scale in self._read(list(self.infos if names is None else names)):
            if scale is not None:
                value = unpack(value, scale)
                yield name, value if dtype is None else value.to(dtype)
            else:
                yield name, copied(value, dtype)

    def stored(self, names: Iterable[str] | None = None) -> Iterator[tuple[str, torch.Tensor]]:
        """Read tensors as they are on disk: packed ones as values and scales."""
        for name, value, scale in self._read(list(self.infos if names is None else names)):
            yield name, copied(value, None)
            if scale is not None:
                yield name + SCALE, copied(scale, None)

    def mapped(self, name: str, dtype: torch.dtype | None) -> torch.Tensor | None:
        """Map a large tensor that is stored in this type; `None` where it has to be read."""
        info = self.infos[name]
        if not mappable(info, dtype):
            return None
        with safe_open(str(self.path), framework="pt") as file:
            value: torch.Tensor = file.get_tensor(name)
            return value

    def _read(self, names: list[str]) -> Iterator[tuple[str, torch.Tensor, torch.Tensor | None]]:
        """Values and scales in mapped memory, which is let go after every `HOLD` bytes."""
        done = 0
        try:
            while done < len(names):
                held = 0
                with safe_open(str(self.path), framework="pt") as file:
                    while done < len(names) and held < HOLD:
                        name = names[done]
                        value = file.get_tensor(name)
                        scale = file.get_tensor(name + SCALE) if self.infos[name].packed else None
                        held, done = held + value.nbytes, done + 1
                        yield name, value, scale
                        del value, scale
        except (SafetensorError, OSError) as error:
            raise damaged(self.path, str(error)) from error


def copied(value: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """Return a mapped tensor in memory of its own; floating ones in `dtype` unless `None`.

    One that is large and changes no type stays mapped: a copy beside it would double it.
    """
    kind = dtype if dtype is not None and value.is_floating_point() else value.dtype
    if kind == value.dtype and value.nbytes >= MAP_FROM:
        return value
    return value.to(kind, copy=True, memory_format=torch.contiguous_format)


def mappable(info: TensorInfo, dtype: torch.dtype | None) -> bool:
    """Whether a tensor may stay in its file: large, and stored in the type that is wanted."""
    size = info.dtype.itemsize
    for extent in info.shape:
        size *= extent
    return size >= MAP_FROM and not info.packed and dtype in (None, info.dtype)


def write_file(
    path: Path, entries: Iterable[tuple[str, torch.Tensor]], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file. A large one is written as its tensors come, none is kept.

    Args:
        path: the file.
        entries: names and tensors, on the CPU and contiguous.
        metadata: of the header.
    """
    first: dict[str, torch.Tensor] = {}
    rest = iter(entries)
    size = 0
    for name, value in rest:
        first[name] = value
        size += value.nbytes
        if size >= SPOOL:
            break
    else:
        owned = {
            name: value.clone() if value.untyped_storage().nbytes() != value.nbytes else value
            for name, value in first.items()
        }
        save_file(owned, str(path), metadata=dict(metadata))
        return
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    small: dict[str, torch.Tensor] = {}
    with path.open("wb") as file:
        file.seek(8 + HEADER)
        while first:
            name = next(iter(first))
            _append(file, header, name, first.pop(name), small)
        for name, value in rest:
            _append(file, header, name, value, small)
        # Wide items first: then every tensor begins at a multiple of its item's size.
        for name in sorted(small, key=lambda name: (-small[name].itemsize, name)):
            _append(file, header, name, small[name], None)
        text = json.dumps(header, separators=(",", ":")).encode()
        if len(text) > HEADER:
            raise ValueError(f"the header of {path.name} has {len(text)} bytes, more than {HEADER}")
        file.seek(0)
        file.write(HEADER.to_bytes(8, "little") + text.ljust(HEADER))


def _append(
    file: BinaryIO,
    header: dict[str, object],
    name: str,
    value: torch.Tensor,
    small: dict[str, torch.Tensor] | None,
) -> None:
    """Write a tensor at the end of a file, or keep it for later where it would break alignment."""
    if name in header or (small is not None and name in small):
        raise ValueError(f"tensor {name} is written twice")
    if small is not None and (value.nbytes < STREAMED or value.nbytes % 8):
        small[name] = value.clone()  # it may be a view of more than itself
        return
    start = file.tell() - 8 - HEADER
    file.write(value.reshape(-1).view(torch.uint8).numpy().data)
    kind = next(key for key, dtype in DTYPES.items() if dtype == value.dtype)
    offsets = [start, start + value.nbytes]
    header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": offsets}


def unpack(values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return int8 `values: (R, ...)` times `scale: (R,)` as float32."""
    shape = (-1,) + (1,) * (values.dim() - 1)
    return values.float() * scale.float().view(shape)


def pack(value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return `value: (R, ...)` as int8 and a float16 scale a row; error at most scale/2."""
    rows = value.float().flatten(1)
    exact = rows.abs().amax(1) / 127
    scale = exact.half()
    # Float16 rounds to nearest: a scale rounded down would clip the largest value of its row.
    low = scale.float() < exact
    scale = torch.where(low, torch.nextafter(scale, torch.full_like(scale, torch.inf)), scale)
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    quantised = (rows / scale.float()[:, None]).round().to(torch.int8)
    return quantised.view(value.shape), scale


def encode(name: str, value: torch.Tensor, storage: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield a tensor as it is stored. Vectors stay float32 in every reduced storage.

    Args:
        name: its name.
        value: any tensor; only floating ones change.
        storage: one of `STORAGES`; `keep` leaves the type alone.
    """
    value = value.detach().cpu().contiguous()
    if not value.is_floating_point() or storage == "keep":
        yield name, value
    elif storage == "float32" or value.dim() < 2:
        yield name, value.float()
    elif storage == "int8" and value[0].numel() >= 16 and bool(value.isfinite().all()):
        yield from zip((name, name + SCALE), pack(value), strict=True)
    elif storage == "bfloat16":
        yield name, value.bfloat16()
    else:
        half = value.half()
        yield name, half if bool(half.isfinite().all()) else value.float()


def check_storage(name: str) -> str:
    """Return the storage type, or fail with the nearest known one."""
    if name not in STORAGES:
        near = nearest(name, STORAGES)
        hint = f"did you mean `{near}`?" if near else f"one of: {', '.join(STORAGES)}"
        raise UsageError(f"unknown storage type `{name}`", hint)
    return name


def check_shapes(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Fail unless names and shapes agree; every kind of problem is told with its first five."""
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    wrong = [
        f"{name} {tuple(found[name])} not {tuple(shape)}"
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        for what, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", wrong),
        )
        if names
    ]
    if problems:
        raise CheckpointError(
            f"tensors of `{where}` do not fit the configuration; {'; '.join(problems)}",
            "the weights and the configuration belong to different models",
        )


def load_module(
    module: torch.nn.Module,
    file: TensorSource,
    dtype: torch.dtype | None = torch.float32,
    gathered: Collection[str] = (),
) -> None:
    """Stream a part file into a module, strictly; what is on `meta` gets its first storage.

    Args:
        module: parameters and persistent buffers named as the tensors of the file.
        file: the part.
        dtype: type of floating tensors; None keeps the stored one.
        gathered: tables of which few rows are ever read; a large one stays in its file, mapped.
    """
    target = module.state_dict(keep_vars=True)
    check_shapes(
        {name: tuple(value.shape) for name, value in target.items()}, file.shapes(), file.path.name
    )
    maps = {name: file.mapped(name, dtype) for name in target if name in gathered}
    kept = {name: value for name, value in maps.items() if value is not None}
    read = file.stream([name for name in target if name not in kept], dtype)
    for name, value in chain(kept.items(), read):
        place, _, leaf = name.rpartition(".")
        owner, old = module.get_submodule(place), target[name]
        if isinstance(old, torch.nn.Parameter):
            new = torch.nn.Parameter(value, requires_grad=old.requires_grad)
            owner.register_parameter(leaf, new)
        else:
            owner.register_buffer(leaf, value)
