"""A published model's own Mamba-2 layer, as its library builds it: nothing here replaces attention.

One projection gives gate, values with input and output maps, and step sizes; a short convolution
with SiLU runs over the middle part; the scan's read-out is gated and normed before it leaves.
Sources: Dao and Gu, arXiv 2405.21060, section 7; names after state-spaces/mamba (`Mamba2`), but
for `conv` (there `conv1d`, with a middle axis of 1) and `o_proj` (there `out_proj`).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.norm import RMSNorm
from mamtra_cli.layers.recurrence import HALF, DepthwiseTaps, WideRecurrence, mamba_decay
from mamtra_cli.layers.rotary import RopeTable
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.state import MambaState
from mamtra_cli.ops.causal_conv import causal_conv, causal_conv_step, segment_runs
from mamtra_cli.ops.ssd import ssd_scan, ssd_step


class NativeMamba2Layer(WideRecurrence):
    """The mixer of one native layer.

    `A_log`, `dt_bias` and `D` stay in float32 when the module is cast to half precision.

    Args:
        shape: its `native` sizes are used, and the model's width.
        config: unused; a native layer has no choices.
        checkpoint: recompute the scan in the backward pass instead of storing it.

    Raises:
        ValueError: the model has no such layers, or their sizes do not divide its width.
    """

    def __init__(self, shape: MixerShape, config: MixerConfig, *, checkpoint: bool = False) -> None:
        super().__init__()
        del config
        if shape.native is None:
            raise ValueError("the model states no sizes of native Mamba-2 layers")
        self.shape = shape
        self.native = native = shape.native
        self.checkpoint = checkpoint
        width = shape.d_model
        self.inner, self.heads = native.inner(width), native.heads(width)
        self.channels = native.conv_channels(width)
        self.in_proj = nn.Linear(width, native.projected(width), bias=False)
        self.conv = DepthwiseTaps(self.channels, native.conv_kernel)
        dt_bias, a_log = mamba_decay(self.heads)
        self.dt_bias = nn.Parameter(dt_bias)
        self.A_log = nn.Parameter(a_log)
        self.D = nn.Parameter(torch.ones(self.heads))
        self.norm = RMSNorm(self.inner, native.norm_eps)
        self.o_proj = nn.Linear(self.inner, width, bias=False)

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
        weight = self.in_proj.weight
        dtype = weight.dtype if dtype is None else dtype
        return MambaState.alloc(
            batch,
            channels=self.channels,
            taps=self.native.conv_kernel,
            size=(self.heads, self.native.head_dim, self.native.d_state),
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
        """Mix the new tokens into the state and read it; see `Mamba2Mixer.forward`."""
        return self._run(u, state, seq_idx, pad_mask, in_place=False)

    def step(
        self,
        u: Tensor,
        state: MambaState,
        *,
        positions: Tensor | None = None,
        rope: RopeTable | None = None,
    ) -> tuple[Tensor, MambaState]:
        """Like `forward`, without gradients; for one token the given state is overwritten."""
        return self._run(u, state, None, None, in_place=True)

    def split(self, joined: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gate (..., H P), what is convolved (..., C) and step sizes (..., H) of a projection."""
        gate, channels, dt = torch.split(joined, [self.inner, self.channels, self.heads], dim=-1)
        return gate, channels, dt

    def maps(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values (..., H, P), input and output maps (..., G, N) of convolved channels (..., C)."""
        groups = (self.native.groups, self.native.d_state)
        sizes = [self.inner, groups[0] * groups[1], groups[0] * groups[1]]
        x, keys, queries = torch.split(mixed, sizes, dim=-1)
        x = torch.unflatten(x, -1, (self.heads, -1))
        return x, torch.unflatten(keys, -1, groups), torch.unflatten(queries, -1, groups)

    def tail(
        self,
        y: Tensor,
        gate: Tensor,
        normed: Callable[[Tensor, RMSNorm], Tensor] = lambda y, norm: norm(y),
    ) -> Tensor:
        """Gate the read-out y: (..., H P), then norm it, in float32 at least."""
        wide = torch.promote_types(y.dtype, torch.float32) if y.dtype in HALF else y.dtype
        gated = y.to(wide) * F.silu(gate.to(wide))
        return normed(gated, self.norm).to(y.dtype)

    def _run(
        self,
        u: Tensor,
        state: MambaState | None,
        seq_idx: Tensor | None,
        pad_mask: Tensor | None,
        in_place: bool,
    ) -> tuple[Tensor, MambaState]:
        batch, length, _ = u.shape
        fresh = state is None
        if state is None:
            state = self.alloc(batch, dtype=u.dtype, device=u.device)
        # 1. Projection and convolution.
        gate, channels, dt = self.split(self.in_proj(u))
        wide = state.ssm.dtype
        rates = -torch.exp(self.A_log.to(wide))
        if length == 1 and pad_mask is None:
            mixed, conv = causal_conv_step(
                channels[:, 0], self.conv.weight, self.conv.bias, state.conv, "silu"
            )
            x, keys, queries = self.maps(mixed)
            y, ssm = ssd_step(
                state.ssm,
                x,
                dt[:, 0],
                rates,
                keys,
                queries,
                D=self.D,
                dt_bias=self.dt_bias,
                in_place=in_place,
            )
            y = y[:, None]
        else:
            mixed, conv = causal_conv(
                channels,
                self.conv.weight,
                self.conv.bias,
                state=None if fresh else state.conv,
                seq_idx=seq_idx,
                pad_mask=pad_mask,
                activation="silu",
            )
            x, keys, queries = self.maps(mixed)
            step = F.softplus(dt.to(wide) + self.dt_bias.to(wide))
            if pad_mask is not None:
                # A pad has step 0: the state stays as it is and takes nothing in.
                step = step * pad_mask[..., None].to(wide)
                x = x * pad_mask[:, :, None, None].to(x.dtype)
            y, ssm = ssd_scan(
                x,
                step,
                rates,
                keys,
                queries,
                D=self.D,
                dt_softplus=False,
                initial_state=None if fresh else state.ssm,
                seq_idx=None if seq_idx is None else segment_runs(seq_idx, pad_mask),
                checkpoint=self.checkpoint and self.training,
            )
        # 2. Gate, norm, output.
        after = MambaState(conv=conv, ssm=ssm, seen=state.seen + length)
        return self.o_proj(self.tail(y.flatten(2), gate)), after
