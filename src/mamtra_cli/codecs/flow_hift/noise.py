"""The noise of the flow and of the source-filter vocoder over arrays: what torch draws for a seed.

torch fills normals of a seed from a Mersenne twister: 24 bits a uniform number, and of each sixteen
the first eight with the last eight by Box and Muller (1958). That is stated here once more, so that
a road without torch starts from the same noise, up to the last bits of a logarithm. Source of the
order: aten/src/ATen/native/cpu/DistributionTemplates.h of torch, `normal_fill`.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.codecs.flow_hift.config import LATER_FRAMES, NOISE_FRAMES

Array = NDArray[np.float32]
GROUP = 16  # normals that are made of as many uniform numbers


def uniforms(seeds: Iterable[int], count: int) -> Iterator[Array]:
    """The first uniform numbers (count,) in [0, 1) of each seed."""
    # To make a twister takes twenty times as long as to seed it again and draw a frame.
    twister = np.random.MT19937(0)
    state = np.random.RandomState(twister)
    for seed in seeds:
        state.seed(seed % 2**32)
        bits = twister.random_raw(count) & np.uint64(0xFFFFFF)
        yield bits.astype(np.float32) * np.float32(2.0**-24)


def normal(drawn: Array) -> Array:
    """Uniform numbers (..., n) to normals; n a multiple of sixteen."""
    groups = drawn.reshape(*drawn.shape[:-1], -1, GROUP)
    radius = np.sqrt(-2 * np.log(1 - groups[..., : GROUP // 2]))
    angle = np.float32(2 * np.pi) * groups[..., GROUP // 2 :]
    both = np.concatenate((radius * np.cos(angle), radius * np.sin(angle)), axis=-1)
    return both.reshape(drawn.shape)


def block_frames(index: int) -> int:
    """Frames of a block of the fixed noise, of which the first is the longest."""
    return LATER_FRAMES if index else NOISE_FRAMES


def spans(start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Where frames start..stop of the fixed noise lie: blocks, each with first and end in it."""
    while start < stop:
        index, first = 0, start
        if start >= NOISE_FRAMES:
            later, first = divmod(start - NOISE_FRAMES, LATER_FRAMES)
            index = later + 1
        end = min(block_frames(index), first + stop - start)
        yield index, first, end
        start += end - first


@lru_cache(maxsize=3)
def _block(index: int, bins: int) -> Array:
    """The uniform numbers (bins, frames) behind a block of the fixed noise."""
    frames = block_frames(index)
    return next(uniforms([index], bins * frames)).reshape(bins, frames)


def fixed_noise(start: int, stop: int, bins: int) -> Array:
    """Frames start..stop of `flow.fixed_noise`: (1, bins, stop - start)."""
    pieces = [np.zeros((bins, 0), np.float32)]
    for index, offset, end in spans(start, stop):
        # Rows of a block are wider than what is asked for: only its groups are made.
        flat = _block(index, bins).reshape(-1)
        first = np.arange(bins) * block_frames(index) + offset
        low = first // GROUP * GROUP
        width = (int((first - low).max()) + end - offset + GROUP - 1) // GROUP * GROUP
        places = np.minimum(low[:, None] + np.arange(width), len(flat) - 1)
        made = normal(flat[places])
        shift = (first - low)[:, None] + np.arange(end - offset)
        pieces.append(np.take_along_axis(made, shift, axis=1))
    return np.concatenate(pieces, axis=1)[None]


def frame_noise(seed: int, frames: range, size: int) -> Array:
    """Normals (size,) of each frame, one after the other; see `vocoder_stream.frame_noise`."""
    drawn = list(uniforms((seed * 1_000_003 + frame for frame in frames), size))
    return normal(np.stack(drawn)).reshape(-1) if drawn else np.zeros(0, np.float32)
