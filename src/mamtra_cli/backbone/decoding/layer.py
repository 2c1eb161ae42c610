"""What decoding one token shares between kinds of layer: fused matrices, norms, rotation, feeding.

Projections that read one input are one matrix; rotation is one table for all heads of a layer, in
which values are turned by nothing and attention's queries scaled on the way.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamtra_cli.backbone.decoding.layer_caches import Cache, MixerCache
from mamtra_cli.backbone.decoding.places import Places
from mamtra_cli.backbone.hybrid import Block
from mamtra_cli.layers.mlp import GeluMLP
from mamtra_cli.layers.norm import RMSNorm
from mamtra_cli.layers.rotary import rope_frequencies
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.state import LayerState, MambaState
from mamtra_cli.ops.casts import cast

Linear = Callable[[Tensor], Tensor]
Pack = Callable[[Tensor, Tensor | None], Linear]


def plain(weight: Tensor, bias: Tensor | None) -> Linear:
    """The matrix as it is. Another `Pack` may quantise it."""
    return partial(F.linear, weight=weight, bias=bias)


class FusedFeed:
    """Norm and feed-forward of one block, and the sum with what it read."""

    def __init__(self, block: Block, pack: Pack, share: bool) -> None:
        mlp = block.mlp
        assert mlp is not None
        self.norm = block.post_attention_layernorm
        self.approximate = mlp.approximate if isinstance(mlp, GeluMLP) else ""
        parts = [mlp.up_proj] if isinstance(mlp, GeluMLP) else [mlp.gate_proj, mlp.up_proj]
        self.up = fuse(parts, pack, share)
        self.down = fuse([mlp.down_proj], pack, share)

    def __call__(self, x: Tensor) -> Tensor:
        """Map x: (B, D) to (B, D)."""
        hidden = self.up(normed(x, self.norm))
        if self.approximate:
            return x + self.down(F.gelu(hidden, approximate=self.approximate))
        gate, up = hidden.chunk(2, dim=-1)
        return x + self.down(F.silu(gate).mul_(up))


class FusedLayer:
    """What every kind of layer shares: norms, output projection, feed-forward.

    Args:
        block: the layer as the modules have it.
        parts: projections that read one input, in the order in which `mix` splits them.
        pack: how each matrix is held and applied.
        share: make the projections of `block` views of the fused matrix.
    """

    def __init__(self, block: Block, parts: Sequence[nn.Linear], pack: Pack, share: bool) -> None:
        core = getattr(block, block.core_name)
        self.shape: MixerShape = core.shape
        self.norm_in = block.input_layernorm
        self.inputs = fuse(parts, pack, share)
        self.output = fuse([core.o_proj], pack, share)
        self.feed = None if block.mlp is None else FusedFeed(block, pack, share)
        self.dtype = core.o_proj.weight.dtype
        self.wide = torch.float64 if self.dtype == torch.float64 else torch.float32

    def cache(self, held: LayerState) -> Cache:
        """A cache without slots, in the types of a state of this layer."""
        raise NotImplementedError

    def mix(
        self, joined: Tensor, cache: Any, places: Places, turns: "Turns"
    ) -> tuple[Tensor, Cache]:
        """From the fused projections (B, ...) to the input (B, H * P) of the output projection."""
        raise NotImplementedError

    def __call__(
        self, x: Tensor, cache: Cache, places: Places, turns: "Turns"
    ) -> tuple[Tensor, Cache]:
        """Map x: (B, D) to (B, D); writes into `cache`."""
        mixed, cache = self.mix(self.inputs(normed(x, self.norm_in)), cache, places, turns)
        x = x + self.output(mixed)
        return x if self.feed is None else self.feed(x), cache


class SteppedLayer(FusedLayer):
    """A recurrent layer whose kind states no step: its module's own is taken, nothing is fused.

    Args:
        block: a layer whose state is a `MambaState`.
        pack: of the feed-forward alone.
        share: as in `FusedLayer`.
    """

    def __init__(self, block: Block, pack: Pack, share: bool) -> None:
        self.norm_in, self.core = block.input_layernorm, block.core
        self.feed = None if block.mlp is None else FusedFeed(block, pack, share)

    def cache(self, held: LayerState) -> Cache:
        """Taps and state."""
        return MixerCache.of(held)

    def __call__(
        self, x: Tensor, cache: Cache, places: Places, turns: "Turns"
    ) -> tuple[Tensor, Cache]:
        """Map x: (B, D) to (B, D); writes into `cache`."""
        assert isinstance(cache, MixerCache)
        rows = len(x)
        conv = torch.stack(cache.taps, 2) if cache.taps else x.new_zeros(rows, 0, 0)
        state = MambaState(conv=conv, ssm=cache.ssm[:rows], seen=places.longest)
        u = normed(x, self.norm_in)[:, None]
        mixed, after = self.core.step(u, state, positions=turns.at[:, None])
        assert isinstance(after, MambaState)
        cache.ssm[:rows] = after.ssm
        x = x + mixed[:, 0]
        kept = MixerCache(taps=after.conv.unbind(2), ssm=cache.ssm)
        return x if self.feed is None else self.feed(x), kept


Heads = tuple[tuple[int, float], ...]
"""Runs of heads and what each is scaled by on being turned; 0 leaves a run as it is."""


class Rotation:
    """What the turning of heads needs of a stack, made once.

    Args:
        shape: of the stack.
        like: a tensor of the stack; gives dtype and device.
    """

    def __init__(self, shape: MixerShape, like: Tensor) -> None:
        self.order = shape.rope
        wide = torch.float64 if like.dtype == torch.float64 else torch.float32
        self._like = like.new_empty(0, dtype=wide)
        self._runs: dict[Heads, tuple[Tensor, Tensor]] = {}
        self.frequencies = self._like
        if shape.rope != "none":
            self.frequencies = rope_frequencies(
                shape.head_dim,
                shape.rope_theta,
                shape.rope_scaling,
                dtype=wide,
                device=like.device,
            )  # (P / 2)

    def factors(self, heads: Heads) -> tuple[Tensor, Tensor]:
        """What each head's turned part is scaled by, and its part that is not turned: (1, H, 1)."""
        if heads not in self._runs:
            still = 1.0 if self.order == "none" else 0.0
            runs = [self._like.new_full((1, count, 1), scale or still) for count, scale in heads]
            factors = torch.cat(runs, 1)
            self._runs[heads] = factors, (factors == 0).to(factors.dtype)
        return self._runs[heads]


class Turns:
    """Rotation of one token's heads, made once a step for all layers with the same heads.

    Args:
        at: (B,) positions.
        rotation: of the stack.
    """

    def __init__(self, at: Tensor, rotation: Rotation) -> None:
        self.at, self.rotation = at, rotation
        self._table: tuple[Tensor, Tensor] | None = None
        self._made: dict[Heads, tuple[Tensor, Tensor]] = {}

    def __call__(self, values: Tensor, heads: Heads) -> Tensor:
        """Turn and scale heads (B, H, P)."""
        rotation = self.rotation
        wide = cast(values, rotation.frequencies.dtype)
        if rotation.order == "none":
            return cast(wide * rotation.factors(heads)[0], values.dtype)
        if heads not in self._made:
            factors, still = rotation.factors(heads)
            cos, sin = self._tables()
            self._made[heads] = (cos * factors + still, sin * factors)
        cos, sin = self._made[heads]
        if rotation.order == "interleaved":
            partner = torch.unflatten(wide, -1, (-1, 2)).flip(-1).flatten(-2)
        else:
            partner = wide.roll(wide.shape[2] // 2, -1)
        return cast(torch.addcmul(wide * cos, partner, sin), values.dtype)

    def _tables(self) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines of every channel, each (B, 1, P)."""
        if self._table is None:
            rotation = self.rotation
            angles = self.at[:, None, None].to(rotation.frequencies.dtype) * rotation.frequencies
            cos, sin = angles.cos(), angles.sin()  # (B, 1, P / 2)
            if rotation.order == "interleaved":
                signed = torch.stack((-sin, sin), -1).flatten(-2)
                self._table = cos.repeat_interleave(2, -1), signed
            else:
                self._table = torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)
        return self._table


def normed(x: Tensor, norm: RMSNorm | nn.LayerNorm) -> Tensor:
    """Norm of (B, C), in one call where there is one group."""
    if isinstance(norm, nn.LayerNorm):
        return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    if norm.groups == 1:
        return torch.rms_norm(x, (x.shape[-1],), cast(norm.weight, x.dtype), norm.eps)
    grouped = torch.unflatten(x, -1, (norm.groups, -1))
    return F.rms_norm(grouped, grouped.shape[-1:], None, norm.eps).flatten(-2) * norm.weight


def fuse(parts: Sequence[nn.Linear], pack: Pack, share: bool) -> Linear:
    """One matrix for several that read the same input; missing biases become zeros."""
    if len(parts) == 1:
        only = parts[0]
        return pack(only.weight.detach(), None if only.bias is None else only.bias.detach())
    weight = torch.cat([part.weight.detach() for part in parts])
    bias = None
    if any(part.bias is not None for part in parts):
        zeros = [weight.new_zeros(part.out_features) for part in parts]
        pairs = zip(parts, zeros, strict=True)
        bias = torch.cat(
            [zero if part.bias is None else part.bias.detach() for part, zero in pairs]
        )
    if share:
        start = 0
        for part in parts:
            stop = start + part.out_features
            part.weight.data = weight[start:stop]
            if part.bias is not None and bias is not None:
                part.bias.data = bias[start:stop]
            start = stop
    return pack(weight, bias)
