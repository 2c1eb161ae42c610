"""Which frames see which: padding and chunk masks of the flow, cut into blocks of queries.

A chunk mask lets frame i see every frame before the end of its own chunk, so a chunk depends on
itself and the past only. Attention is computed block by block of queries; its scratch then grows
with block * length, never with length * length. Knows nothing of modules or scores.
Source: the masks of FunAudioLLM/CosyVoice (flow encoder and estimator), stated as formulas.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 256


def lengths_to_mask(lengths: Tensor, size: int) -> Tensor:
    """Mark real frames.

    Args:
        lengths: (B,) integers.
        size: T.

    Returns:
        (B, T) bool, True = real.
    """
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def query_blocks(length: int, chunk: int | None) -> Iterator[tuple[int, int, int]]:
    """Yield (start, stop, keys): queries start..stop need the first `keys` frames."""
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        keys = length if chunk is None else min(-(-stop // chunk) * chunk, length)
        yield start, stop, keys


def block_mask(
    start: int,
    stop: int,
    keys: int,
    chunk: int | None,
    pad_mask: Tensor | None,
    device: torch.device,
) -> Tensor | None:
    """Build the mask of one block of queries.

    Args:
        start, stop, keys: as `query_blocks` yields them.
        chunk: frames a chunk, `None` for no chunk mask.
        pad_mask: (B, T) bool, True = real, or `None`.
        device: where the mask lives.

    Returns:
        (B or 1, 1, stop-start, keys) bool, True = seen; `None` if everything is seen.
    """
    mask = None if pad_mask is None else pad_mask[:, None, None, :keys]
    if chunk is not None and start // chunk != (stop - 1) // chunk:
        limit = (torch.arange(start, stop, device=device) // chunk + 1) * chunk
        seen = (torch.arange(keys, device=device)[None, :] < limit[:, None])[None, None]
        mask = seen if mask is None else mask & seen
    return mask
