"""What torch and numpy call by different names: for code that takes the arrays of either."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray


def joined(parts: Sequence[Any], axis: int = 0) -> Any:
    """Arrays one after the other along an axis; at least one."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts, axis)
    return import_module("torch").cat(list(parts), axis)


def like(array: NDArray[Any], other: Any) -> Any:
    """An array as what another one is, on its device."""
    if isinstance(other, np.ndarray):
        return array
    return import_module("torch").from_numpy(array).to(other.device)
