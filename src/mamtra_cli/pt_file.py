"""A `.pt` state dict as a file of tensors: read one at a time, memory-mapped, never running code.

The mapping is opened again after every `HOLD` bytes, and the pages that were read go with it: a
reader holds one window of the file and what it keeps itself. Knows names, shapes and bytes;
nothing of what a tensor means.
"""

import pickle
import stat
import warnings
import zipfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import torch

from mamtra_cli.errors import CheckpointError
from mamtra_cli.tensor_header import damaged
from mamtra_cli.tensors import HOLD, TensorInfo, copied, mappable

ZIP = b"PK\x03\x04"  # older files are one pickle, and cannot be mapped
LONGEST = 64 << 20  # bytes of the table of tensors
OLDEST = 8 << 30  # bytes of a file in the format before 2020


class PtFile:
    """The tensors of a state dict; the same calls as `TensorFile`.

    Args:
        path: the file.
        skip: names of entries that are not wanted.

    Raises:
        CheckpointError: the file is missing, truncated, holds code, or no tensors.
    """

    def __init__(self, path: Path, *, skip: Collection[str] = ()) -> None:
        self.path = path
        self.infos = {
            name: TensorInfo(shape=tuple(value.shape), dtype=value.dtype)
            for name, value in load_pt_weights(path).items()
            if name not in skip
        }
        if not self.infos:
            raise CheckpointError(f"`{path.name}` holds no tensors", "download the file again")

    def __contains__(self, name: object) -> bool:
        return name in self.infos

    def __iter__(self) -> Iterator[str]:
        return iter(self.infos)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor."""
        return {name: info.shape for name, info in self.infos.items()}

    def get(self, name: str, dtype: torch.dtype | None = torch.float32) -> torch.Tensor:
        """Read one tensor; see `stream`."""
        return next(self.stream([name], dtype))[1]

    def mapped(self, name: str, dtype: torch.dtype | None) -> torch.Tensor | None:
        """Map a large tensor that is stored in this type; `None` where it has to be read."""
        return load_pt_weights(self.path)[name] if mappable(self.infos[name], dtype) else None

    def stream(
        self, names: Iterable[str] | None = None, dtype: torch.dtype | None = torch.float32
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Read tensors one after the other; all of them by default. See `tensors.copied`.

        Args:
            names: which, in any order.
            dtype: type of floating tensors; `None` keeps the stored one.
        """
        table = load_pt_weights(self.path)
        held = 0
        for name in list(self.infos if names is None else names):
            if held >= HOLD:
                del table
                table, held = load_pt_weights(self.path), 0
            held += table[name].nbytes
            yield name, copied(table[name], dtype)


def check_archive(path: Path) -> None:
    """Refuse, before it is unfolded, an archive that would be larger in memory than on disk.

    Raises:
        CheckpointError: a member is packed, or the table of tensors is larger than any is.
        FileNotFoundError: there is no such file.
    """
    told = path.stat()
    if not stat.S_ISREG(told.st_mode):
        raise damaged(path, "it is no regular file")
    if not zipfile.is_zipfile(path):
        if told.st_size > OLDEST:
            raise damaged(path, "it is neither an archive of PyTorch nor an old, small file")
        return
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise damaged(path, f"`{member.filename[:60]}` in it is packed")
            if member.filename.endswith(".pkl") and member.file_size > LONGEST:
                raise damaged(path, f"its table of tensors has {member.file_size:,} bytes")


def load_pt(path: Path) -> object:
    """Read a `.pt` file of tensors and plain values, memory-mapped, never running code.

    Raises:
        CheckpointError: the file is missing, truncated, or holds code.
    """
    try:
        check_archive(path)
        with path.open("rb") as file:
            mmap = file.read(len(ZIP)) == ZIP
        with warnings.catch_warnings():
            # The restricted reader warns of what it is not sure of, and refuses what it cannot.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError as error:
        raise CheckpointError(f"`{path.name}` is missing from `{path.parent}`") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"`{path.name}` holds more than tensors, and was not opened: it could run code",
            "use the weights file as its authors published it, or a safetensors file",
        ) from error
    except CheckpointError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        # What the reader of a pickle meets in one that is made up is any error at all.
        raise damaged(path, "it is not a PyTorch weights file, or was cut off") from error


def load_pt_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a `.pt` state dict; see `load_pt`.

    Raises:
        CheckpointError: as `load_pt`, or it is no state dict.
    """
    data = load_pt(path)
    for key in ("model", "state_dict"):
        if isinstance(data, dict) and isinstance(data.get(key), dict):
            data = data[key]
    if not isinstance(data, dict):
        raise CheckpointError(f"`{path.name}` holds no table of tensors")
    return {str(name): value for name, value in data.items() if isinstance(value, torch.Tensor)}
