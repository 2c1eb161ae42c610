"""One decoded token through a hybrid stack, over fused weights and preallocated caches.

The same numbers as `HybridStack` by far fewer calls: q, k and v (of a mixer also its step sizes
and gate) are one matrix, so are the two inputs of the feed-forward; caches are written in place;
attention of the one query is two grouped matrix products in float32 on a CPU, where the fused
kernel is slow for one half-precision query. Knows nothing of sampling or of heads.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamtra_cli.backbone.decode_state import (
    AttentionCache,
    Cache,
    DecodeState,
    WindowCache,
    open_cache,
    ring_slot,
)
from mamtra_cli.backbone.hybrid import Block, HybridStack
from mamtra_cli.layers.attention import SelfAttention
from mamtra_cli.layers.mamba2 import Mamba2Mixer, feature_map
from mamtra_cli.layers.norm import RMSNorm, rms_norm
from mamtra_cli.layers.rotary import RopeTable, apply_rope, rope_table
from mamtra_cli.layers.state import HybridState, MambaState
from mamtra_cli.ops.causal_conv import causal_conv_step
from mamtra_cli.ops.ssd import ssd_step

Linear = Callable[[Tensor], Tensor]
Pack = Callable[[Tensor, Tensor | None], Linear]


def plain(weight: Tensor, bias: Tensor | None) -> Linear:
    """The matrix as it is. Another `Pack` may quantise it."""
    return partial(F.linear, weight=weight, bias=bias)


class FusedLayer:
    """The weights of one block, arranged for single tokens."""

    def __init__(self, block: Block, pack: Pack, share: bool) -> None:
        core = getattr(block, block.core_name)
        if not isinstance(core, SelfAttention | Mamba2Mixer):
            raise ValueError(f"no decode step for a {type(core).__name__}")
        self.core: SelfAttention | Mamba2Mixer = core
        self.norms = (block.input_layernorm, block.post_attention_layernorm)
        shape = core.shape
        if isinstance(core, SelfAttention):
            parts = [core.q_proj, core.k_proj, core.v_proj]
        else:
            parts = [core.v_proj, core.k_proj, core.q_proj, core.dt_proj]
            gate = core.config.gate
            if gate != "none":
                parts.append(core.gate_proj if gate == "full" else core.gate_down)
        self.sizes = [shape.conv_channels, *(part.out_features for part in parts[3:])]
        self.inputs = _fuse(parts, pack, share)
        self.output = pack(core.o_proj.weight.detach(), None)
        self.gate_up_ff = _fuse([block.mlp.gate_proj, block.mlp.up_proj], pack, share)
        self.down = pack(block.mlp.down_proj.weight.detach(), None)

    def __call__(self, x: Tensor, cache: Cache, rope: RopeTable | None) -> tuple[Tensor, Cache]:
        """Map x: (B, D) to (B, D); writes into `cache`."""
        first, second = self.norms
        joined = self.inputs(_norm(x, first))
        after: Cache
        if isinstance(self.core, Mamba2Mixer):
            assert isinstance(cache, MambaState)
            mixed, after = self._mix(self.core, joined, cache, rope)
        else:
            assert not isinstance(cache, MambaState)
            assert rope is not None
            mixed, after = self._attend(self.core, joined, cache, rope)
        x = x + self.output(mixed)
        gate, up = self.gate_up_ff(_norm(x, second)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up), after

    @staticmethod
    def _attend(
        core: SelfAttention, joined: Tensor, cache: AttentionCache | WindowCache, rope: RopeTable
    ) -> tuple[Tensor, Cache]:
        shape = core.shape
        batch, groups, width = len(joined), shape.n_kv_heads, shape.head_dim
        heads = joined.view(batch, 1, -1, width)
        turned = apply_rope(heads[:, :, : shape.n_heads + groups], rope)[:, 0]
        q, k = torch.split(turned, [shape.n_heads, groups], dim=1)
        v = heads[:, 0, shape.n_heads + groups :]
        hidden: Tensor | None
        after: AttentionCache | WindowCache
        if isinstance(cache, AttentionCache):
            if cache.length == cache.k.shape[2]:
                cache = cache.grown(2 * cache.length + 16)
            end = cache.length + 1
            cache.k[:, :, end - 1] = k
            cache.v[:, :, end - 1] = v
            keys, values = cache.k[:, :, :end], cache.v[:, :, :end]
            hidden = None if cache.hidden is None else cache.hidden[:, :end]
            after = replace(cache, length=end, seen=cache.seen + 1)
        else:
            window, sinks = cache.k.shape[2] - core.sinks, core.sinks
            slot = ring_slot(cache.next, sinks, window)
            rows = torch.arange(batch, device=k.device)
            cache.k[rows, :, slot] = k.to(cache.k.dtype)
            cache.v[rows, :, slot] = v.to(cache.v.dtype)
            cache.index[rows, slot] = cache.next
            keys, values, hidden = cache.k, cache.v, cache.index < 0
            after = replace(cache, next=cache.next + 1, seen=cache.seen + 1)
        queries = q.to(keys.dtype).view(batch, groups, -1, width) * width**-0.5
        scores = queries @ keys.transpose(-1, -2)  # (B, G, H/G, L)
        if hidden is not None:
            scores = scores.masked_fill(hidden[:, None, None], -torch.inf)
        out = torch.softmax(scores, dim=-1) @ values
        return out.view(batch, -1).to(joined.dtype), after

    def _mix(
        self, core: Mamba2Mixer, joined: Tensor, cache: MambaState, rope: RopeTable | None
    ) -> tuple[Tensor, MambaState]:
        shape, config = core.shape, core.config
        batch, width, repeats = len(joined), shape.head_dim, shape.n_heads // shape.n_kv_heads
        channels, dt, *gate = torch.split(joined, self.sizes, dim=-1)
        mixed, window = causal_conv_step(
            channels, core.conv.weight, core.conv.bias, cache.conv, config.act
        )
        cache.conv.copy_(window)
        v, kq = torch.split(mixed, [shape.kv_width, shape.kv_width + shape.q_width], dim=-1)
        heads = kq.view(batch, 1, -1, width)
        if config.rope == "keep":
            assert rope is not None
            heads = apply_rope(heads, rope)
        mapped = feature_map(heads[:, 0], config.feature_map)
        k, q = torch.split(mapped, [shape.n_kv_heads, shape.n_heads], dim=1)
        v = v.view(batch, -1, width).repeat_interleave(repeats, dim=1)
        y, _ = ssd_step(
            cache.ssm,
            F.pad(v, (0, 1), value=1.0) if config.normalise else v,
            dt,
            -torch.exp(core.A_log.to(cache.ssm.dtype)),
            k.repeat_interleave(repeats, dim=1),
            q,
            dt_bias=core.dt_bias,
            gain=1.0 if config.gain == "one" else None,
            in_place=True,
        )
        if config.normalise:
            y, total = y[..., :-1], y[..., -1:]
            y = y / torch.where(total == 0, torch.ones_like(total), total)
        if core.D is not None:
            y = y + core.D[:, None].to(y.dtype) * v
        y = y.flatten(1)
        early = config.norm_order == "before_gate"
        if config.norm != "none" and early:
            y = _norm(y, core.norm)
        if gate:
            z = gate[0] if config.gate == "full" else core.gate_up(gate[0])
            y = y * (F.silu(z) if config.gate_kind == "silu" else 2.0 * torch.sigmoid(z))
        if config.norm != "none" and not early:
            y = _norm(y, core.norm)
        return y, replace(cache, seen=cache.seen + 1)


class FusedStack:
    """A stack arranged for decoding.

    Args:
        stack: the network; its weights are copied as they are now.
        pack: how each matrix is held and applied.
        share: make the stack's own projections views of the fused matrices, so that the copy
            costs no memory and follows later updates in place. Needs the default `pack`.
    """

    def __init__(self, stack: HybridStack, *, pack: Pack = plain, share: bool = False) -> None:
        with torch.no_grad():
            self.layers = [FusedLayer(block, pack, share) for block in stack.blocks()]
        self.config = stack.config
        self.norm = stack.norm
        self._turns = any(
            isinstance(layer.core, SelfAttention) or layer.core.config.rope == "keep"
            for layer in self.layers
        )

    @torch.no_grad()
    def start(self, state: HybridState, capacity: int) -> DecodeState:
        """Copy what a prefill left into caches with room for `capacity` tokens in all."""
        if len(state.layers) != len(self.layers):
            raise ValueError(f"state of {len(state.layers)} layers for {len(self.layers)}")
        caches = tuple(
            open_cache(held, capacity, _window(layer.core))
            for layer, held in zip(self.layers, state.layers, strict=True)
        )
        position = torch.as_tensor(state.position, device=self.norm.weight.device)
        return DecodeState(caches=caches, position=position.expand(state.batch).clone())

    @torch.no_grad()
    def step(
        self, x: Tensor, state: DecodeState, positions: Tensor | None = None
    ) -> tuple[Tensor, DecodeState]:
        """Run one token of each row.

        Args:
            x: (B, D) embedded inputs.
            state: used up by this call.
            positions: (B,), integers or fractions; counted on if absent.

        Returns:
            (B, D) after the final norm, and the state after it.
        """
        if x.dim() != 2 or x.shape != (len(state.position), self.config.d_model):
            want = (len(state.position), self.config.d_model)
            raise ValueError(f"expected {want}, got {tuple(x.shape)}")
        at = state.position if positions is None else positions
        rope = None
        if self._turns:
            wide = torch.float64 if x.dtype == torch.float64 else torch.float32
            rope = rope_table(at[:, None], self.config.head_dim, self.config.rope_theta, wide)
        after = []
        for layer, cache in zip(self.layers, state.caches, strict=True):
            x, cache = layer(x, cache, rope)
            after.append(cache)
        return _norm(x, self.norm), DecodeState(caches=tuple(after), position=at + 1)


def _norm(x: Tensor, norm: RMSNorm) -> Tensor:
    return rms_norm(x, norm.weight, norm.eps, norm.groups)


def _fuse(parts: Sequence[nn.Linear], pack: Pack, share: bool) -> Linear:
    """One matrix for several that read the same input; missing biases become zeros."""
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


def _window(core: SelfAttention | Mamba2Mixer) -> tuple[int, int] | None:
    """Sinks and window of a sliding-window layer."""
    if isinstance(core, Mamba2Mixer) or core.window is None:
        return None
    return core.sinks, core.window
