"""Frames of ids as a tensor, checked."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def frame_ids(
    frames: Iterable[Sequence[int]], *, codebooks: int, codes: int, device: torch.device
) -> Tensor:
    """Make frames of K ids (K, n) long.

    Raises:
        ValueError: a frame of another number of ids, or an id that is no code.
    """
    rows = [tuple(frame) for frame in frames]
    if not rows:
        return torch.zeros((codebooks, 0), dtype=torch.long, device=device)
    ids = torch.tensor(rows, dtype=torch.long)
    if ids.shape[1] != codebooks:
        raise ValueError(f"frames of {ids.shape[1]} ids, expected {codebooks}")
    if not (int(ids.min()) >= 0 and int(ids.max()) < codes):
        raise ValueError(f"ids must lie in 0..{codes - 1}: {ids.min()}..{ids.max()}")
    return ids.T.to(device)
