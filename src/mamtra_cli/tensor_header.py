"""The header of a safetensors file, read and checked without torch.

Format: https://github.com/huggingface/safetensors: eight bytes of length, a JSON table of names to
type, shape and byte range, then the bytes.
"""

import stat
import struct
from pathlib import Path
from typing import Any

from mamtra_cli.config import parse_json, reason
from mamtra_cli.errors import CheckpointError

LONGEST = 16 << 20  # bytes of a header
AXES = 16
ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}


def damaged(path: Path, why: str) -> CheckpointError:
    """Return the error for a file that cannot be used."""
    return CheckpointError(f"`{path.name}` is damaged: {why}", "fetch or make the file again")


def read_header(path: Path) -> dict[str, Any]:
    """Read and check the header of a safetensors file: known types, no gaps, exact length."""
    try:
        told = path.stat()
        total = told.st_size
        if not stat.S_ISREG(told.st_mode):
            raise damaged(path, "it is no regular file")
        with path.open("rb") as file:
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
            if not 2 <= length <= min(total - 8, LONGEST):
                raise damaged(path, "it is not a safetensors file, or was cut off")
            header = parse_json(file.read(length))
    except FileNotFoundError as error:
        raise CheckpointError(f"`{path.name}` is missing from `{path.parent}`") from error
    except OSError as error:
        raise CheckpointError(f"cannot read `{path}`: {reason(error)}") from error
    except ValueError as error:
        raise damaged(path, "its header is not JSON") from error
    try:
        end = 0
        entries = {k: v for k, v in header.items() if k != "__metadata__"}
        facts = header.get("__metadata__") or {}
        if not all(isinstance(value, str) for value in facts.values()):
            raise damaged(path, "what it says of itself is no table of texts")
        for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
            start, stop = entry["data_offsets"]
            count = ITEM_BYTES[entry["dtype"]]
            if len(entry["shape"]) > AXES:
                raise damaged(path, f"`{name[:60]}` has {len(entry['shape'])} axes")
            for extent in entry["shape"]:
                if type(extent) is not int or extent < 0:
                    raise damaged(path, f"`{name[:60]}` has an axis of no length")
                count *= extent
            if start != end or stop - start != count:
                raise damaged(path, f"`{name[:60]}` does not lie where its shape says")
            end = stop
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, f"its header is not understood ({error})") from error
    if total != 8 + length + end:
        raise damaged(path, f"it has {total:,} bytes, its header promises {8 + length + end:,}")
    return dict(header)
