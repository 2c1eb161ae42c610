"""A window with sinks beside a recurrent state, in one layer (W)."""

from typing import Any

import torch
from torch import Tensor, nn

from mamtra_cli.backbone.attention_weights import AttentionWeights
from mamtra_cli.backbone.decoding.layer import FusedLayer, Pack, Turns
from mamtra_cli.backbone.decoding.layer_caches import Cache, MixerCache, PairCache
from mamtra_cli.backbone.decoding.places import Places
from mamtra_cli.backbone.hybrid import Block
from mamtra_cli.backbone.kinds.attention import written
from mamtra_cli.backbone.kinds.mamba2 import FusedMixer, Mamba2
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.state import LayerState
from mamtra_cli.layers.window_state import WindowStateMixer
from mamtra_cli.ops.attention import attention_step


class FusedWindowState(FusedMixer):
    """Both, one token at a time."""

    def __init__(self, block: Block, pack: Pack, share: bool) -> None:
        super().__init__(block, pack, share)
        heads, groups = self.shape.n_heads, self.shape.n_kv_heads
        self.window = (self.config.sinks, self.config.window)
        self.near_heads = ((groups, 0.0), (groups, 1.0), (heads, self.shape.head_dim**-0.5))

    def cache(self, held: LayerState) -> Cache:
        """A ring, and taps with a state."""
        return PairCache.of(held, self.window)

    def mix(self, joined: Tensor, cache: Any, places: Places, turns: Turns) -> tuple[Tensor, Cache]:
        """Attend over the window, step the state, and put the two side by side."""
        batch, heads, groups = len(joined), self.shape.n_heads, self.shape.n_kv_heads
        channels = joined[:, : self.sizes[0]]
        turned = turns(channels.reshape(batch, 2 * groups + heads, -1), self.near_heads)
        new = torch.cat((turned[:, groups : 2 * groups], turned[:, :groups]), dim=1)
        keys, values, hidden = written(cache.near, new, places)
        queries = turned[:, 2 * groups :].reshape(batch * groups, heads // groups, -1)
        near = attention_step(queries.to(keys.dtype), keys, values, hidden)
        far, after = super().mix(joined, cache.far, places, turns)
        assert isinstance(after, MixerCache)
        both = torch.cat((near.view(batch, -1).to(self.dtype), far), dim=-1)
        return both, PairCache(near=cache.near, far=after)


class WindowState(Mamba2):
    """What Mamba-2 is in attention's shape, and a window of exact attention beside it."""

    def build(self, shape: MixerShape, mixer: MixerConfig) -> nn.Module:
        """Make the module."""
        return WindowStateMixer(shape, mixer)

    def fused(self, block: Block, pack: Pack, share: bool) -> FusedLayer:
        """Its step."""
        return FusedWindowState(block, pack, share)

    def turns(self, shape: MixerShape, mixer: MixerConfig) -> bool:
        """Where attention does: the window always."""
        del mixer
        return shape.rope != "none"

    def matrices(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """Those of Mamba-2, and the window's half of the output projection."""
        return super().matrices(shape, mixer) + shape.d_model * shape.q_width

    def visible(self, mixer: MixerConfig, length: int) -> int:
        """The window and the sinks."""
        return min(length, mixer.window + mixer.sinks)

    def transferred(
        self,
        weights: AttentionWeights,
        shape: MixerShape,
        mixer: MixerConfig,
        scale_keys: bool = False,
    ) -> dict[str, Tensor]:
        """Projections as they are; only the window is read at first."""
        del scale_keys
        out = super().transferred(weights, shape, mixer)
        near = out["o_proj.weight"]
        out["o_proj.weight"] = torch.cat((near, torch.zeros_like(near)), dim=1)
        return out


KIND = WindowState()
