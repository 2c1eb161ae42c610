"""Sliding-window attention: exact inside a window and on the first tokens, constant memory.

The cache never holds more than `sinks + window - 1` tokens between calls. Sinks: Xiao et al.,
arXiv 2309.17453, here with the positions of the tokens left as they are.
"""

import torch

from mamtra_cli.layers.attention import SelfAttention
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.state import KVState


class SlidingWindowAttention(SelfAttention):
    """Self-attention over a window and sinks, with a bounded cache.

    Args:
        shape: sizes.
        config: `window` and `sinks` are used.
    """

    def __init__(self, shape: MixerShape, config: MixerConfig) -> None:
        super().__init__(shape, window=config.window, sinks=config.sinks)

    def _bounded(self, state: KVState) -> KVState:
        assert self.window is not None
        return bounded(state, self.window, self.sinks)


def bounded(state: KVState, window: int, sinks: int) -> KVState:
    """The state without what no later token can see."""
    room = sinks + window - 1
    if state.length <= room:
        return state
    keys, values, _ = state.columns()
    index = state.full_index()
    newest = index.amax(dim=1, keepdim=True)
    wanted = (index >= 0) & ((index < sinks) | (newest + 1 - index < window))
    order = torch.argsort(~wanted, dim=1, stable=True)[:, :room]  # (B, room)
    at = order[:, None, :, None].expand(-1, keys.shape[1], -1, keys.shape[3])
    return KVState(
        k=keys.gather(2, at),
        v=values.gather(2, at),
        length=order.shape[1],
        index=torch.where(wanted, index, -1).gather(1, order),
        seen=state.seen,
    )
