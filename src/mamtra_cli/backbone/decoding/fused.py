"""One decoded token through a hybrid stack, over fused weights and preallocated caches.

The same numbers as `HybridStack` by far fewer calls, which is what a token costs on a CPU: the
projections that read one input are one matrix, rotation is one table for all heads of a layer
(values are turned by nothing, attention's queries scaled on the way), keys and values are written
together, attention of the one query is two grouped matrix products in float32, and the update of a
recurrent state is made once for the heads that share keys and values. Knows nothing of sampling.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamtra_cli.backbone.decoding.caches import (
    AttentionCache,
    Cache,
    DecodeState,
    MixerCache,
    Window,
    WindowCache,
    open_state,
    with_room,
)
from mamtra_cli.backbone.decoding.places import Columns, Places
from mamtra_cli.backbone.hybrid import Block, HybridStack
from mamtra_cli.layers.attention import SelfAttention
from mamtra_cli.layers.mamba2 import Mamba2Mixer, feature_map
from mamtra_cli.layers.mlp import GeluMLP
from mamtra_cli.layers.native_mamba2 import NativeMamba2Layer
from mamtra_cli.layers.norm import RMSNorm
from mamtra_cli.layers.rotary import shape_table
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.state import HybridState
from mamtra_cli.ops.causal_conv import causal_conv_step
from mamtra_cli.ops.ssd import ssd_step

Linear = Callable[[Tensor], Tensor]
Pack = Callable[[Tensor, Tensor | None], Linear]
Turn = tuple[Tensor, Tensor | None, str]
"""Cosines and signed sines for every head of a layer, each (B, heads, P), and the rotary order."""


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
        self.up = _fuse(parts, pack, share)
        self.down = _fuse([mlp.down_proj], pack, share)

    def __call__(self, x: Tensor) -> Tensor:
        """Map x: (B, D) to (B, D)."""
        hidden = self.up(_norm(x, self.norm))
        if self.approximate:
            return x + self.down(F.gelu(hidden, approximate=self.approximate))
        gate, up = hidden.chunk(2, dim=-1)
        return x + self.down(F.silu(gate).mul_(up))


class FusedLayer:
    """What every kind of layer shares: norms, output projection, feed-forward."""

    def __init__(self, block: Block, parts: Sequence[nn.Linear], pack: Pack, share: bool) -> None:
        core = getattr(block, block.core_name)
        self.shape: MixerShape = core.shape
        self.norm_in = block.input_layernorm
        self.inputs = _fuse(parts, pack, share)
        self.output = _fuse([core.o_proj], pack, share)
        self.feed = None if block.mlp is None else FusedFeed(block, pack, share)
        self.dtype = core.o_proj.weight.dtype
        self.wide = torch.float64 if self.dtype == torch.float64 else torch.float32

    def window(self) -> Window | None:
        """Sinks and window where the layer has them."""
        return None

    def mix(self, joined: Tensor, cache: Cache, places: Places, turn: Turn) -> tuple[Tensor, Cache]:
        """From the fused projections (B, ...) to the input (B, H * P) of the output projection."""
        raise NotImplementedError

    def __call__(self, x: Tensor, cache: Cache, places: Places, turn: Turn) -> tuple[Tensor, Cache]:
        """Map x: (B, D) to (B, D); writes into `cache`."""
        mixed, cache = self.mix(self.inputs(_norm(x, self.norm_in)), cache, places, turn)
        x = x + self.output(mixed)
        return x if self.feed is None else self.feed(x), cache


class FusedAttention(FusedLayer):
    """Attention, full or over a window."""

    def __init__(self, block: Block, core: SelfAttention, pack: Pack, share: bool) -> None:
        super().__init__(block, [core.q_proj, core.k_proj, core.v_proj], pack, share)
        self.sinks, self.near = core.sinks, core.window

    def window(self) -> Window | None:
        """Sinks and window where the layer has them."""
        return None if self.near is None else (self.sinks, self.near)

    def mix(self, joined: Tensor, cache: Cache, places: Places, turn: Turn) -> tuple[Tensor, Cache]:
        """Attend from one token."""
        assert isinstance(cache, AttentionCache | WindowCache)
        batch, (heads, groups) = len(joined), (self.shape.n_heads, self.shape.n_kv_heads)
        turned = _turn(joined.view(batch, heads + 2 * groups, -1), turn)
        width = turned.shape[2]
        new = turned[:, heads:].view(batch, 2, groups, width).transpose(0, 1)
        new = new.reshape(2, batch * groups, width).to(cache.kv.dtype)
        window = cache.window if isinstance(cache, WindowCache) else None
        columns: Columns = places.columns(groups, window)
        # Slots beyond the last in use are not looked at.
        rows = cache.kv[:, : batch * groups]
        if isinstance(columns.new, int):
            rows[:, :, columns.new] = new
        else:
            rows[:, columns.rows, columns.new] = new
        # Batch and groups are one axis here: a three-way product has the least overhead.
        keys, values = rows[:, :, : columns.end].unbind()
        queries = turned[:, :heads].reshape(batch * groups, heads // groups, width)
        scores = torch.bmm(queries.to(keys.dtype), keys.transpose(1, 2))  # (B * G, H/G, L)
        if columns.hidden is not None:
            scores = scores.masked_fill(columns.hidden, -torch.inf)
        out = torch.bmm(torch.softmax(scores, dim=-1), values)
        return out.view(batch, -1).to(self.dtype), cache


class FusedMixer(FusedLayer):
    """The recurrent mixer."""

    def __init__(self, block: Block, core: Mamba2Mixer, pack: Pack, share: bool) -> None:
        config = core.config
        parts = [core.v_proj, core.k_proj, core.q_proj, core.dt_proj]
        if config.gate != "none":
            parts.append(core.gate_proj if config.gate == "full" else core.gate_down)
        super().__init__(block, parts, pack, share)
        self.config = config
        self.core = core
        shape = self.shape
        self.sizes = [shape.conv_channels, shape.n_heads]
        self.sizes += [part.out_features for part in parts[4:]]
        self.taps = [tap.detach().to(self.wide) for tap in core.conv.weight.unbind(dim=1)]
        self.bias = core.conv.bias.detach().to(self.wide)
        self.rates = -torch.exp(core.A_log.detach().to(self.wide))
        self.dt_bias = core.dt_bias.detach().to(self.wide)
        self.skip = None
        if core.D is not None:
            self.skip = core.D.detach().to(self.wide).view(shape.n_kv_heads, -1, 1)

    def mix(self, joined: Tensor, cache: Cache, places: Places, turn: Turn) -> tuple[Tensor, Cache]:
        """One step of convolution, recurrence, norm and gate."""
        del places
        assert isinstance(cache, MixerCache)
        config, shape = self.config, self.shape
        batch, heads, groups = len(joined), shape.n_heads, shape.n_kv_heads
        channels, dt, *gate = torch.split(joined, self.sizes, dim=-1)
        mixed = torch.addcmul(self.bias, channels.to(self.wide), self.taps[-1])
        for tap, past in zip(self.taps[:-1], cache.taps, strict=True):
            mixed = mixed.addcmul_(past.to(self.wide), tap)
        if config.act == "silu":
            mixed = F.silu(mixed)
        all_heads = mixed.to(self.dtype).view(batch, groups * 2 + heads, -1)
        if config.rope == "keep":
            all_heads = _turn(all_heads, turn)
        v = all_heads[:, :groups].to(self.wide)  # (B, G, P)
        mapped = feature_map(all_heads[:, groups:], config.feature_map).to(self.wide)
        k, q = mapped[:, :groups], mapped[:, groups:]

        size = F.softplus(dt.to(self.wide) + self.dt_bias)  # (B, H)
        ssm = cache.ssm[:batch].mul_(torch.exp(size * self.rates)[..., None, None])
        rows = F.pad(v, (0, 1), value=1.0) if config.normalise else v
        added = (rows[..., None] * k[:, :, None])[:, :, None]  # (B, G, 1, P, N)
        grouped = ssm.view(batch, groups, heads // groups, rows.shape[2], -1)
        if config.gain == "one":
            grouped.add_(added)
        else:
            grouped.addcmul_(added, size.view(batch, groups, -1, 1, 1))
        y = torch.bmm(ssm.flatten(0, 1), q.reshape(batch * heads, -1, 1))
        y = y.view(batch, groups, heads // groups, -1)
        if config.normalise:
            y, total = y[..., :-1], y[..., -1:]
            y = y / torch.where(total == 0, torch.ones_like(total), total)
        if self.skip is not None:
            y = torch.addcmul(y, v[:, :, None], self.skip)
        y = y.reshape(batch, -1).to(self.dtype)
        after = MixerCache(taps=(*cache.taps, channels)[1:], ssm=cache.ssm)
        return self._tail(y, gate), after

    def _tail(self, y: Tensor, gate: list[Tensor]) -> Tensor:
        config, core = self.config, self.core
        early = config.norm_order == "before_gate"
        if config.norm != "none" and early:
            y = _norm(y, core.norm)
        if gate:
            z = gate[0] if config.gate == "full" else core.gate_up(gate[0])
            y = y * (F.silu(z) if config.gate_kind == "silu" else torch.sigmoid(z).mul_(2.0))
        return _norm(y, core.norm) if config.norm != "none" and not early else y


class FusedNative(FusedLayer):
    """A published model's own Mamba-2 layer."""

    def __init__(self, block: Block, core: NativeMamba2Layer, pack: Pack, share: bool) -> None:
        super().__init__(block, [core.in_proj], pack, share)
        self.core = core
        self.rates = -torch.exp(core.A_log.detach().to(self.wide))
        self.skip, self.dt_bias = core.D.detach(), core.dt_bias.detach()

    def mix(self, joined: Tensor, cache: Cache, places: Places, turn: Turn) -> tuple[Tensor, Cache]:
        """One step of convolution, recurrence, gate and norm."""
        del places, turn
        assert isinstance(cache, MixerCache)
        gate, channels, dt = self.core.split(joined)
        taps = torch.stack(cache.taps, 2) if cache.taps else channels.new_zeros(*channels.shape, 0)
        conv = self.core.conv
        mixed, _ = causal_conv_step(channels, conv.weight, conv.bias, taps, "silu")
        x, keys, queries = self.core.maps(mixed)
        y, _ = ssd_step(
            cache.ssm[: len(joined)],
            x,
            dt,
            self.rates,
            keys,
            queries,
            D=self.skip,
            dt_bias=self.dt_bias,
            in_place=True,
        )
        after = MixerCache(taps=(*cache.taps, channels)[1:], ssm=cache.ssm)
        return self.core.tail(y.flatten(1), gate), after


class FusedStack:
    """A stack arranged for decoding. Its weights are those of the moment it is made.

    Args:
        stack: the network.
        pack: how each matrix is held and applied.
        share: make the stack's own projections views of the fused matrices, so that the
            arrangement costs no memory. Use with the default `pack`.
    """

    def __init__(self, stack: HybridStack, *, pack: Pack = plain, share: bool = False) -> None:
        with torch.no_grad():
            self.layers = [_layer(block, pack, share) for block in stack.blocks()]
        self.config = stack.config
        self.norm = stack.norm
        self.placed = stack.placed

    @torch.no_grad()
    def start(self, state: HybridState, capacity: int) -> DecodeState:
        """Copy what a prefill left into caches with room for `capacity` tokens a row."""
        if len(state.layers) != len(self.layers):
            raise ValueError(f"state of {len(state.layers)} layers for {len(self.layers)}")
        return open_state(state, [layer.window() for layer in self.layers], capacity)

    @torch.no_grad()
    def step(
        self, x: Tensor, state: DecodeState, positions: Tensor | None = None
    ) -> tuple[Tensor, DecodeState]:
        """Run one token of each row.

        Args:
            x: (B, D) embedded inputs; those of free slots may be anything.
            state: used up by this call.
            positions: (B,), integers or fractions; counted on if absent.

        Returns:
            (B, D) after the final norm, and the state after it.
        """
        if x.shape != (state.batch, self.config.d_model):
            want = (state.batch, self.config.d_model)
            raise ValueError(f"expected {want}, got {tuple(x.shape)}")
        at = state.position if positions is None else positions
        attention, mixer = self._turns(at, x)
        x = self.placed(x, at)
        state = with_room(state, max(state.lengths) + 1)
        places = Places(state.lengths, x.device)
        after = []
        for layer, cache in zip(self.layers, state.caches, strict=True):
            turn = mixer if isinstance(layer, FusedMixer) else attention
            x, cache = layer(x, cache, places, turn)
            after.append(cache)
        lengths = tuple(length + 1 if length else 0 for length in state.lengths)
        done = replace(state, caches=tuple(after), position=at + 1, lengths=lengths)
        return _norm(x, self.norm), done

    def _turns(self, at: Tensor, x: Tensor) -> tuple[Turn, Turn]:
        """Rotation of attention's heads [q; k; v], q scaled, and of a mixer's [v; k; q]."""
        config = self.config
        if config.rope == "none":
            scale = x.new_full((1, config.n_heads, 1), config.head_dim**-0.5)
            rest = x.new_ones(1, 2 * config.n_kv_heads, 1)
            return (torch.cat((scale, rest), 1), None, "none"), (rest[:, :1], None, "none")
        cos, sin = shape_table(at[:, None], config.shape, x.dtype)
        cos, sin = cos[:, 0], sin[:, 0]  # (B, 1, P / 2)
        if config.rope == "interleaved":
            cos = cos.repeat_interleave(2, -1)  # (B, 1, P)
            sin = torch.stack((-sin, sin), -1).flatten(-2)
        else:
            cos = torch.cat((cos, cos), -1)
            sin = torch.cat((-sin, sin), -1)
        scale = cos.new_full((1, config.n_heads, 1), config.head_dim**-0.5)
        k, v = cos.new_ones(1, config.n_kv_heads, 1), cos.new_zeros(1, config.n_kv_heads, 1)
        q = torch.ones_like(scale)
        attention = torch.cat((scale, k, v), 1)
        mixer = torch.cat((v, k, q), 1)
        # Where the factor of the rotation is 0, a head passes unturned.
        return (
            (cos * attention + (attention == 0), sin * attention, config.rope),
            (cos * mixer + (mixer == 0), sin * mixer, config.rope),
        )


def _layer(block: Block, pack: Pack, share: bool) -> FusedLayer:
    core = getattr(block, block.core_name)
    if isinstance(core, SelfAttention):
        return FusedAttention(block, core, pack, share)
    if isinstance(core, Mamba2Mixer):
        return FusedMixer(block, core, pack, share)
    if isinstance(core, NativeMamba2Layer):
        return FusedNative(block, core, pack, share)
    raise ValueError(f"no decode step for a {type(core).__name__}")


def _norm(x: Tensor, norm: RMSNorm | nn.LayerNorm) -> Tensor:
    """Norm of (B, C), in one call where there is one group."""
    if isinstance(norm, nn.LayerNorm):
        return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    if norm.groups == 1:
        return F.rms_norm(x, (x.shape[-1],), norm.weight, norm.eps)
    grouped = torch.unflatten(x, -1, (norm.groups, -1))
    return F.rms_norm(grouped, grouped.shape[-1:], None, norm.eps).flatten(-2) * norm.weight


def _turn(heads: Tensor, turn: Turn) -> Tensor:
    """Scale and rotate heads (B, H, P)."""
    cos, sin, order = turn
    wide = heads.to(cos.dtype)
    if sin is None:
        return (wide * cos).to(heads.dtype)
    if order == "interleaved":
        partner = torch.unflatten(wide, -1, (-1, 2)).flip(-1).flatten(-2)
    else:
        partner = wide.roll(wide.shape[2] // 2, -1)
    return torch.addcmul(wide * cos, partner, sin).to(heads.dtype)


def _fuse(parts: Sequence[nn.Linear], pack: Pack, share: bool) -> Linear:
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
