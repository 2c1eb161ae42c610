"""The recurrent mixer that stands in for attention: one class, every choice from `MixerConfig`.

In attention's words: values, keys and queries with the attention's own shared key/value heads, a
short convolution over them, then the Mamba-2 scan with values as x, keys as B, queries as C. Keys
and values stay shared through projection and convolution and are expanded after it, so weights of
an attention layer fit as they are. Knows nothing of where its weights come from.
Sources: Dao and Gu, arXiv 2405.21060; Wang et al., arXiv 2408.15237.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.norm import RMSNorm
from mamtra_cli.layers.recurrence import (
    HALF,
    DepthwiseTaps,
    WideRecurrence,
    mamba_decay,
    slow_decay,
)
from mamtra_cli.layers.rotary import RopeTable, apply_rope, shape_table
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.state import MambaState
from mamtra_cli.ops.causal_conv import causal_conv, causal_conv_step, segment_runs
from mamtra_cli.ops.ssd import ssd_scan, ssd_step


def feature_map(x: Tensor, kind: str) -> Tensor:
    """Map queries or keys (..., P) to (..., N).

    Args:
        x: (..., P).
        kind: `identity`; `softmax2`, softmax over [x, -x], N = 2P; `elu1`, elu(x) + 1.
    """
    if kind == "softmax2":
        wide = x.float() if x.dtype in HALF else x
        return torch.softmax(torch.cat((wide, -wide), dim=-1), dim=-1).to(x.dtype)
    if kind == "elu1":
        return F.elu(x) + 1.0
    return x


def normalised(y: Tensor) -> Tensor:
    """Read-out (..., P + 1) over the sum of its weights, which is its last channel."""
    y, total = y[..., :-1], y[..., -1:]
    return y / torch.where(total == 0, torch.ones_like(total), total)


def _per_head(values: Tensor, heads: int) -> Tensor:
    """Values (B, T, G, ...) of runs of heads, for each of them: (B, T, H, ...)."""
    repeats = heads // values.shape[2]
    return values if repeats == 1 else values.repeat_interleave(repeats, dim=2)


class Mamba2Mixer(WideRecurrence):
    """The mixer of one layer.

    `A_log`, `dt_bias` and `D` stay in float32 when the module is cast to half precision.

    Args:
        shape: sizes of the attention it stands in for.
        config: every choice.
        checkpoint: recompute the scan in the backward pass instead of storing it.
    """

    def __init__(self, shape: MixerShape, config: MixerConfig, *, checkpoint: bool = False) -> None:
        super().__init__()
        self.shape = shape
        self.config = config
        self.checkpoint = checkpoint
        bias = shape.qkv_bias and config.qkv_bias == "keep"
        width, heads = shape.d_model, shape.n_heads
        self.q_proj = nn.Linear(width, shape.q_width, bias=bias)
        self.k_proj = nn.Linear(width, shape.kv_width, bias=bias)
        self.v_proj = nn.Linear(width, shape.kv_width, bias=bias)
        self.states = states = config.states(heads, shape.n_kv_heads)
        self.dt_proj = nn.Linear(width, states, bias=False)
        if config.gate == "full":
            self.gate_proj = nn.Linear(width, shape.q_width, bias=config.gate_bias)
        elif isinstance(config.gate, int):
            self.gate_down = nn.Linear(width, config.gate, bias=False)
            self.gate_up = nn.Linear(config.gate, shape.q_width, bias=config.gate_bias)
        self.conv = DepthwiseTaps(shape.conv_channels, config.conv_kernel)
        self.dt_bias = nn.Parameter(torch.zeros(states))
        self.A_log = nn.Parameter(torch.zeros(states))
        if config.d_skip:
            self.D = nn.Parameter(torch.zeros(heads))
        else:
            self.register_parameter("D", None)
        if config.norm != "none":
            groups = heads if config.norm == "head" else 1
            self.norm = RMSNorm(shape.q_width, config.norm_eps, groups)
        self.o_proj = nn.Linear(shape.q_width, width, bias=shape.out_bias)
        self.reset_recurrence()

    @torch.no_grad()
    def reset_recurrence(self) -> None:
        """Set everything attention has no weights for to its starting value.

        Identity convolution, decays by `config.decay`, a gate of 1 where its kind allows, no skip,
        unit norm. Projections of q, k, v and o are left as they are.
        """
        self.conv.weight.zero_()
        self.conv.weight[:, -1] = 1.0
        self.conv.bias.zero_()
        start = slow_decay if self.config.decay == "slow" else mamba_decay
        dt_bias, a_log = start(self.states)
        self.dt_bias.copy_(dt_bias)
        self.A_log.copy_(a_log)
        if self.config.decay == "slow":
            self.dt_proj.weight.zero_()
        if self.D is not None:
            self.D.zero_()
        if self.config.norm != "none":
            self.norm.weight.fill_(1.0)
        if self.config.gate == "none":
            return
        last = self.gate_proj if self.config.gate == "full" else self.gate_up
        if self.config.gate_kind == "neutral" or self.config.gate_bias:
            last.weight.zero_()
        if last.bias is not None:
            # silu(1.2784645) = 1, and 2 * sigmoid(0) = 1.
            last.bias.fill_(1.2784645427610738 if self.config.gate_kind == "silu" else 0.0)

    def alloc(
        self,
        batch: int,
        *,
        capacity: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> MambaState:
        """A state of zeros for `batch` rows; `capacity` is ignored, the state does not grow."""
        del capacity
        weight = self.q_proj.weight
        dtype = weight.dtype if dtype is None else dtype
        width = self.shape.head_dim
        size = (self.states, self.config.value_width(width), self.config.state_width(width))
        return MambaState.alloc(
            batch,
            channels=self.shape.conv_channels,
            taps=self.config.conv_kernel,
            size=size,
            dtype=dtype,
            device=weight.device if device is None else device,
        )

    def forward(
        self,
        u: Tensor,
        state: MambaState | None = None,
        *,
        positions: Tensor | None = None,
        seq_idx: Tensor | None = None,
        pad_mask: Tensor | None = None,
        rope: RopeTable | None = None,
    ) -> tuple[Tensor, MambaState]:
        """Mix the new tokens into the state and read it.

        Args:
            u: (B, T, D).
            state: state before `u`, left as it is; zeros if absent.
            positions: (T,) or (B, T) for the rotation; they go on from `state` if absent.
            seq_idx: (B, T) packed sequences; state and convolution start anew at each change.
            pad_mask: (B, T) bool, True where real; pads at either end of a row leave no trace.
                Results at pads mean nothing.
            rope: table of these positions, if the caller has it already.

        Returns:
            (B, T, D) and the state after `u`.
        """
        y, after = self.features(
            u, state, positions=positions, seq_idx=seq_idx, pad_mask=pad_mask, rope=rope
        )
        return self.o_proj(y), after

    def step(
        self,
        u: Tensor,
        state: MambaState,
        *,
        positions: Tensor | None = None,
        rope: RopeTable | None = None,
    ) -> tuple[Tensor, MambaState]:
        """Like `forward`, without gradients; for one token the given state is overwritten.

        Args:
            u: (B, T, D).
            state: used up by this call.
            positions: as in `forward`.
            rope: as in `forward`.
        """
        y, after = self.features(u, state, positions=positions, rope=rope, in_place=True)
        return self.o_proj(y), after

    def features(
        self,
        u: Tensor,
        state: MambaState | None = None,
        *,
        positions: Tensor | None = None,
        seq_idx: Tensor | None = None,
        pad_mask: Tensor | None = None,
        rope: RopeTable | None = None,
        in_place: bool = False,
    ) -> tuple[Tensor, MambaState]:
        """What `o_proj` sees: (B, T, H * P), and the state; arguments as in `forward`."""
        fresh = state is None
        if state is None:
            state = self.alloc(len(u), dtype=u.dtype, device=u.device)
        return self.read(
            self.joined(u), u, state, fresh, positions, seq_idx, pad_mask, rope, in_place
        )

    def joined(self, u: Tensor) -> Tensor:
        """Values, keys and queries side by side: (B, T, C)."""
        return torch.cat((self.v_proj(u), self.k_proj(u), self.q_proj(u)), dim=-1)

    def read(
        self,
        joined: Tensor,
        u: Tensor,
        state: MambaState,
        fresh: bool,
        positions: Tensor | None,
        seq_idx: Tensor | None,
        pad_mask: Tensor | None,
        rope: RopeTable | None,
        in_place: bool,
    ) -> tuple[Tensor, MambaState]:
        """From the joined projections to the read-out, normed and gated; see `features`."""
        shape, config = self.shape, self.config
        batch, length, _ = joined.shape
        # 1. Convolution over [values; keys; queries].
        one = length == 1 and pad_mask is None
        if one:
            mixed, conv = causal_conv_step(
                joined[:, 0], self.conv.weight, self.conv.bias, state.conv, config.act
            )
            mixed = mixed[:, None]
        else:
            mixed, conv = causal_conv(
                joined,
                self.conv.weight,
                self.conv.bias,
                state=None if fresh else state.conv,
                seq_idx=seq_idx,
                pad_mask=pad_mask,
                activation=config.act,
            )
        heads = (batch, length, -1, shape.head_dim)
        v = mixed[..., : shape.kv_width].reshape(heads)  # (B, T, G, P)
        both = mixed[..., shape.kv_width :].reshape(heads)  # (B, T, G + H, P), keys first

        # 2. Positions, feature map, recurrence.
        if config.rope == "keep" and shape.rope != "none":
            if rope is None:
                if positions is None:
                    positions = state.seen + torch.arange(length, device=u.device)
                rope = shape_table(positions, shape, u.dtype)
            both = apply_rope(both, rope, shape.rope)
        both = feature_map(both, config.feature_map)  # (B, T, G + H, N)
        k, q = both[:, :, : shape.n_kv_heads], both[:, :, shape.n_kv_heads :]
        runs = None if seq_idx is None else segment_runs(seq_idx, pad_mask)
        if one:
            y, ssm = self.recur_step(u[:, 0], v[:, 0], k[:, 0], q[:, 0], state.ssm, in_place)
            y = y[:, None]
        else:
            y, ssm = self.recur(u, v, k, q, None if fresh else state.ssm, runs, pad_mask)
        y = normalised(y) if config.normalise else y
        if self.D is not None:
            y = y + self.D[:, None].to(y.dtype) * _per_head(v, shape.n_heads)
        after = MambaState(conv=conv, ssm=ssm, seen=state.seen + length)
        gate = []
        if config.gate != "none":
            gate = [(self.gate_proj if config.gate == "full" else self.gate_down)(u)]
        return self.tail(y.flatten(2), gate), after

    def steps(self, u: Tensor, dtype: torch.dtype, pad_mask: Tensor | None = None) -> Tensor:
        """Step sizes (..., R) after softplus; a pad has 0, which is decay 1."""
        dt = F.softplus(self.dt_proj(u).to(dtype) + self.dt_bias.to(dtype))
        return dt if pad_mask is None else dt * pad_mask[..., None].to(dtype)

    def recur(
        self,
        u: Tensor,
        v: Tensor,
        k: Tensor,
        q: Tensor,
        held: Tensor | None,
        runs: Tensor | None,
        pad_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The recurrence over a sequence.

        Args:
            u: (B, T, D), for what it decides.
            v: (B, T, G, P).
            k: (B, T, G, N).
            q: (B, T, H, N).
            held: (B, R, P, N) state before, R as `MixerConfig.states` says; zeros if absent.
            runs: (B, T) packed sequences.
            pad_mask: (B, T) bool, True where real.

        Returns:
            (B, T, H, P) and the state after, (B, R, P, N).
        """
        heads, config = self.shape.n_heads, self.config
        repeats = heads // self.states
        wide = torch.float64 if v.dtype == torch.float64 else torch.float32
        x = _per_head(v, heads)
        if config.normalise:
            x = F.pad(x, (0, 1), value=1.0)
        if pad_mask is not None:
            x = x * pad_mask[:, :, None, None].to(x.dtype)
        rates = -torch.exp(self.A_log.to(wide))
        # Heads that share a state run as if each had its own, and one of them is kept.
        y, ssm = ssd_scan(
            x,
            _per_head(self.steps(u, wide, pad_mask), heads),
            rates.repeat_interleave(repeats),
            _per_head(k, heads),
            q,
            dt_softplus=False,
            gain=1.0 if config.gain == "one" else None,
            initial_state=None if held is None else held.repeat_interleave(repeats, dim=1),
            seq_idx=runs,
            checkpoint=self.checkpoint and self.training,
        )
        return y, ssm[:, ::repeats].contiguous()

    def recur_step(
        self, u: Tensor, v: Tensor, k: Tensor, q: Tensor, held: Tensor, in_place: bool
    ) -> tuple[Tensor, Tensor]:
        """One token of `recur`; arguments without the time axis."""
        config, wide = self.config, held.dtype
        return ssd_step(
            held,
            F.pad(v, (0, 1), value=1.0) if config.normalise else v,
            self.steps(u, wide),
            -torch.exp(self.A_log.to(wide)),
            k,
            q,
            dt_softplus=False,
            gain=1.0 if config.gain == "one" else None,
            in_place=in_place,
        )

    def tail(
        self,
        y: Tensor,
        gate: Sequence[Tensor],
        normed: Callable[[Tensor, RMSNorm], Tensor] = lambda y, norm: norm(y),
    ) -> Tensor:
        """Norm and gate of the read-out, in the configured order.

        Args:
            y: (..., H * P).
            gate: what the first matrix of the gate makes of the layer's input, if there is a gate.
            normed: applies the norm.
        """
        config = self.config
        early = config.norm_order == "before_gate"
        if config.norm != "none" and early:
            y = normed(y, self.norm)
        if gate:
            z = gate[0] if config.gate == "full" else self.gate_up(gate[0])
            y = y * (F.silu(z) if config.gate_kind == "silu" else torch.sigmoid(z) * 2.0)
        return normed(y, self.norm) if config.norm != "none" and not early else y
