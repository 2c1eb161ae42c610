"""Full attention (T): what models have of their own and converted layers replace."""

from typing import Any

from torch import Tensor, nn

from mamtra_cli.backbone.decoding.layer import FusedLayer, Pack, Turns
from mamtra_cli.backbone.decoding.layer_caches import AttentionCache, Cache, WindowCache, in_use
from mamtra_cli.backbone.decoding.places import Places
from mamtra_cli.backbone.hybrid import Block
from mamtra_cli.backbone.kinds.base import Kind, attention_matrices, attention_parameters
from mamtra_cli.layers.attention import SelfAttention
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.state import LayerState
from mamtra_cli.ops.attention import attention_step
from mamtra_cli.ops.casts import cast


class FusedAttention(FusedLayer):
    """Attention, full or over a window, one token at a time."""

    def __init__(self, block: Block, pack: Pack, share: bool) -> None:
        core: Any = block.core
        super().__init__(block, [core.q_proj, core.k_proj, core.v_proj], pack, share)
        self.window = None if core.window is None else (core.sinks, core.window)
        heads, groups = self.shape.n_heads, self.shape.n_kv_heads
        self.heads = ((heads, self.shape.head_dim**-0.5), (groups, 1.0), (groups, 0.0))

    def cache(self, held: LayerState) -> Cache:
        """A cache that grows, or a ring."""
        if self.window is None:
            return AttentionCache.of(held)
        return WindowCache.of(held, self.window)

    def mix(self, joined: Tensor, cache: Any, places: Places, turns: Turns) -> tuple[Tensor, Cache]:
        """Attend from one token."""
        batch, heads, groups = len(joined), self.shape.n_heads, self.shape.n_kv_heads
        turned = turns(joined.view(batch, heads + 2 * groups, -1), self.heads)
        keys, values, hidden = written(cache, turned[:, heads:], places)
        queries = turned[:, :heads].reshape(batch * groups, heads // groups, -1)
        out = attention_step(cast(queries, keys.dtype), keys, values, hidden)
        return cast(out.view(batch, -1), self.dtype), cache


def written(
    cache: AttentionCache | WindowCache, new: Tensor, places: Places
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Write one token's keys and values and give what it sees.

    Args:
        cache: written in place.
        new: (B, 2 G, P), keys first.
        places: of this step.

    Returns:
        Keys and values (B * G, L, P) in use, and which of them are hidden, (B * G, 1, L) or None.
    """
    batch, groups, width = len(new), cache.groups, new.shape[2]
    both = new.view(batch, 2, groups, width).transpose(0, 1)
    both = cast(both.reshape(2, batch * groups, width), cache.kv.dtype)
    columns = places.columns(groups, cache.window if isinstance(cache, WindowCache) else None)
    # Slots beyond the last in use are not looked at.
    rows = in_use(cache.kv, batch * groups, axis=1)
    if isinstance(columns.new, int):
        rows[:, :, columns.new] = both
    else:
        rows[:, columns.rows, columns.new] = both
    keys, values = rows[:, :, : columns.end].unbind()
    return keys, values, columns.hidden


class Attention(Kind):
    """Self-attention over all tokens so far."""

    chosen = False
    grows = True

    def build(self, shape: MixerShape, mixer: MixerConfig) -> nn.Module:
        """Make the module."""
        del mixer
        return SelfAttention(shape)

    def fused(self, block: Block, pack: Pack, share: bool) -> FusedLayer:
        """Its step."""
        return FusedAttention(block, pack, share)

    def matrices(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """q, k, v, o."""
        del mixer
        return attention_matrices(shape)

    def parameters(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """The same with their biases."""
        del mixer
        return attention_parameters(shape)

    def visible(self, mixer: MixerConfig, length: int) -> int:
        """All of them."""
        del mixer
        return length


KIND = Attention()
