"""What torch and numpy call by different names: for code that takes the arrays of either."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np


def joined(parts: Sequence[Any]) -> Any:
    """Arrays one after the other along their first axis; at least one."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return import_module("torch").cat(list(parts))
