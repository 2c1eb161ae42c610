"""Where the weights of a module lie in a safetensors file, so that a graph can name their bytes.

A graph that does so is small and stores nothing twice; it belongs to the file by a mark, a hash of
its header and of its ends. Needs no torch to check one; tensors are told apart by their memory.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.errors import CheckpointError
from mamtra_cli.tensor_header import read_header

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "weights"
"""Metadata of a graph: the mark of the file whose bytes it names."""
SCALE = ".scale"
ENDS = 1 << 16  # bytes of the tensors at either end that are part of the mark


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """The bytes of a tensor: from `offset` of the file on; `scale` of one that is int8 rows."""

    name: str
    kind: str
    shape: tuple[int, ...]
    offset: int
    length: int
    scale: "StoredTensor | None" = None


def stored_tensors(path: Path) -> dict[str, StoredTensor]:
    """Every tensor of a file by its name, packed ones with their scales."""
    header = read_header(path)
    header.pop("__metadata__", None)
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    found = {
        name: StoredTensor(
            name=name,
            kind=entry["dtype"],
            shape=tuple(entry["shape"]),
            offset=start + entry["data_offsets"][0],
            length=entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in header.items()
    }
    for name, tensor in list(found.items()):
        scale = found.get(name + SCALE)
        if tensor.kind == "I8" and scale is not None:
            found[name] = StoredTensor(**{**vars(tensor), "scale": scale})
    return found


def mark(path: Path) -> str:
    """What tells a weights file from another: SHA-256 of its header and of its ends."""
    told = hashlib.sha256()
    with path.open("rb") as file:
        size = 8 + int.from_bytes(file.read(8), "little")
        file.seek(0)
        told.update(file.read(size + ENDS))
        file.seek(max(0, path.stat().st_size - ENDS))
        told.update(file.read())
    return told.hexdigest()


class StoredWeights:
    """The weights of a module that were read from a file.

    Args:
        path: the file; graphs name it as one beside them.
        module: its parameters are named as the tensors of the file.
    """

    def __init__(self, path: Path, module: "nn.Module") -> None:
        self.path = path
        self.mark = mark(path)
        stored = stored_tensors(path)
        self._by_memory = {
            value.data_ptr(): stored[name]
            for name, value in module.state_dict().items()
            if name in stored
        }

    def find(self, value: "Tensor") -> StoredTensor | None:
        """The stored tensor that a tensor is, whole and in order; None where it is none."""
        found = self._by_memory.get(value.data_ptr())
        same = found is not None and tuple(value.shape) == found.shape and value.is_contiguous()
        return found if same else None


class StoredTable:
    """Rows of a table that stays in its file; what is asked for is widened to float32.

    Args:
        path: a safetensors file.
        name: of the table (R, D), or of a vector (R,).
    """

    def __init__(self, path: Path, name: str) -> None:
        found = stored_tensors(path).get(name)
        if found is None or found.kind not in NUMPY or len(found.shape) not in (1, 2):
            raise CheckpointError(f"`{path.name}` holds no table `{name}`", "make the folder again")
        self.kind = found.kind
        self._rows = _mapped(path, found)
        self._scale = None if found.scale is None else _mapped(path, found.scale)

    def __getitem__(self, ids: "NDArray[np.int64] | slice") -> NDArray[np.float32]:
        rows = self._rows[ids]
        if self.kind == "BF16":
            rows = (rows.astype(np.uint32) << np.uint32(16)).view(np.float32)
        wide: NDArray[np.float32] = rows.astype(np.float32)
        if self._scale is not None:
            wide *= self._scale[ids].astype(np.float32)[:, None]
        return wide


NUMPY = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "i1"}


def _mapped(path: Path, tensor: StoredTensor) -> Any:
    return np.memmap(path, NUMPY[tensor.kind], "r", tensor.offset, tensor.shape)
