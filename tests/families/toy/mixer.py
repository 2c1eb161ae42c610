"""The smallest mixer: a running mean of the values. One file, and `register` in place of a line.

m_t = a m_(t-1) + (1 - a) v_t;  out = o(m_t)
"""

from typing import Any

import torch
from torch import Tensor, nn

from mamtra_cli.backbone.attention_weights import AttentionWeights
from mamtra_cli.backbone.kinds.base import Kind
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.state import MambaState

KEPT = 0.75


class RunningMean(nn.Module):
    """See `layers.mixers.Mixer`: values and output projection are the attention's."""

    def __init__(self, shape: MixerShape) -> None:
        super().__init__()
        self.shape = shape
        self.v_proj = nn.Linear(shape.d_model, shape.kv_width, bias=False)
        self.o_proj = nn.Linear(shape.q_width, shape.d_model, bias=False)

    def alloc(self, batch: int, *, capacity: int = 0, **where: Any) -> MambaState:
        """A mean of nothing."""
        size = (self.shape.n_kv_heads, self.shape.head_dim, 1)
        return MambaState.alloc(batch, channels=0, taps=1, size=size, **where)

    def forward(
        self,
        u: Tensor,
        state: MambaState | None = None,
        *,
        seq_idx: Tensor | None = None,
        pad_mask: Tensor | None = None,
        **unused: Any,
    ) -> tuple[Tensor, MambaState]:
        """u: (B, T, D) to (B, T, D), token by token."""
        state = state or self.alloc(len(u), dtype=u.dtype, device=u.device)
        values = self.v_proj(u).unflatten(-1, state.ssm.shape[1:])  # (B, T, G, P, 1)
        mean, means = state.ssm, []
        for t in range(u.shape[1]):
            if seq_idx is not None and t:
                mean = mean.where((seq_idx[:, t] == seq_idx[:, t - 1]).view(-1, 1, 1, 1), 0)
            after = KEPT * mean + (1 - KEPT) * values[:, t]
            if pad_mask is not None:
                after = after.where(pad_mask[:, t].view(-1, 1, 1, 1), mean)
            mean = after
            means.append(mean)
        groups = torch.stack(means, 1).repeat_interleave(self.shape.n_heads // mean.shape[1], 2)
        return self.o_proj(groups.flatten(2)), MambaState(conv=state.conv, ssm=mean)

    step = forward


class RunningMeans(Kind):
    """See `backbone.kinds.base.Kind`."""

    chosen = False

    def build(self, shape: MixerShape, mixer: MixerConfig) -> nn.Module:
        """Make the module."""
        return RunningMean(shape)

    def matrices(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """Values and output."""
        return shape.d_model * (shape.kv_width + shape.q_width)

    parameters = matrices

    def state_elements(self, shape: MixerShape, mixer: MixerConfig) -> tuple[int, int]:
        """The mean."""
        return shape.kv_width, 0

    def transferred(
        self,
        weights: AttentionWeights,
        shape: MixerShape,
        mixer: MixerConfig,
        scale_keys: bool = False,
    ) -> dict[str, Tensor]:
        """Values and output of the attention."""
        return {"v_proj.weight": weights.v.clone(), "o_proj.weight": weights.o.clone()}


KIND = RunningMeans()
