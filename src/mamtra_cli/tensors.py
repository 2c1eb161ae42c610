"""Files of tensors: a strict lazy reader, packed storage, strict loading into modules.

A matrix may be stored packed: int8 values under its name and one float16 scale a row (axis 0)
under `name.scale`. Knows names, shapes and bytes; nothing of what a tensor means, nor of folders.

Format: safetensors (https://github.com/huggingface/safetensors); `.pt` state dicts of teachers.
"""

import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors import SafetensorError, safe_open

from mamtra_cli.config import nearest
from mamtra_cli.errors import CheckpointError, UsageError
from mamtra_cli.tensor_header import damaged, read_header

SCALE = ".scale"
Storage = Literal["keep", "float32", "bfloat16", "float16", "int8"]
STORAGES: tuple[str, ...] = get_args(Storage)

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
        try:
            with safe_open(str(self.path), framework="pt") as file:
                for name in self.infos if names is None else names:
                    value = file.get_tensor(name)
                    if self.infos[name].packed:
                        value = unpack(value, file.get_tensor(name + SCALE))
                    if value.is_floating_point() and dtype is not None:
                        value = value.to(dtype)
                    yield name, value
        except (SafetensorError, OSError) as error:
            raise damaged(self.path, str(error)) from error

    def stored(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Read tensors as they are on disk: packed ones as values and scales."""
        with safe_open(str(self.path), framework="pt") as file:
            for name, info in self.infos.items():
                yield name, file.get_tensor(name)
                if info.packed:
                    yield name + SCALE, file.get_tensor(name + SCALE)


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
    module: torch.nn.Module, file: TensorFile, dtype: torch.dtype | None = torch.float32
) -> None:
    """Stream a part file into a module, strictly; what is on `meta` gets its first storage.

    Args:
        module: parameters and persistent buffers named as the tensors of the file.
        file: the part.
        dtype: type of floating tensors; None keeps the stored one.
    """
    target = module.state_dict(keep_vars=True)
    check_shapes(
        {name: tuple(value.shape) for name, value in target.items()}, file.shapes(), file.path.name
    )
    for name, value in file.stream(dtype=dtype):
        place, _, leaf = name.rpartition(".")
        owner, old = module.get_submodule(place), target[name]
        if isinstance(old, torch.nn.Parameter):
            new = torch.nn.Parameter(value, requires_grad=old.requires_grad)
            owner.register_parameter(leaf, new)
        else:
            owner.register_buffer(leaf, value)


def load_pt_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a `.pt` state dict, memory-mapped, never running code.

    Raises:
        CheckpointError: the file is missing, truncated, holds code, or is no state dict.
    """
    try:
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"`{path.name}` is missing from `{path.parent}`") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"`{path.name}` holds more than tensors, and was not opened: it could run code",
            "use the weights file as its authors published it, or a safetensors file",
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise damaged(path, "it is not a PyTorch weights file, or was cut off") from error
    for key in ("model", "state_dict"):
        if isinstance(data, dict) and isinstance(data.get(key), dict):
            data = data[key]
    if not isinstance(data, dict):
        raise CheckpointError(f"`{path.name}` holds no table of tensors")
    return {str(name): value for name, value in data.items() if isinstance(value, torch.Tensor)}
