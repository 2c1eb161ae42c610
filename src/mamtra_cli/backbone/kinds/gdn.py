"""The gated delta rule in attention's shape (G): a state that overwrites."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamtra_cli.backbone.decoding.layer import FusedLayer, Pack
from mamtra_cli.backbone.hybrid import Block
from mamtra_cli.backbone.kinds.mamba2 import FusedMixer, Mamba2, states
from mamtra_cli.layers.gdn import GatedDeltaMixer, unit
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.ops.delta import delta_step


class FusedDelta(FusedMixer):
    """The mixer, one token at a time; its strength is read beside the step sizes."""

    @staticmethod
    def rates_of(core: Any) -> list[nn.Linear]:
        """Projections of what the recurrence needs beside keys, values and queries."""
        return [core.dt_proj, core.beta_proj]

    def recur(self, ssm: Tensor, x: Tensor, dt: Tensor, k: Tensor, q: Tensor) -> Tensor:
        """Update a state (B, R, P, N) in place and read it: (B, H, P)."""
        count = ssm.shape[1]
        size, strength = torch.split(dt.to(self.wide), [count, count], dim=-1)
        decay = F.softplus(size + self.dt_bias) * self.rates
        repeats = count // x.shape[1]
        y, _ = delta_step(
            ssm,
            x.repeat_interleave(repeats, dim=1),
            decay,
            torch.sigmoid(strength),
            unit(k).repeat_interleave(repeats, dim=1),
            unit(q),
            in_place=True,
        )
        if self.skip is None:
            return y
        added: Tensor = self.skip[:, None] * x.repeat_interleave(y.shape[1] // x.shape[1], dim=1)
        return y + added


class GatedDelta(Mamba2):
    """Attention's projections around the gated delta rule."""

    def build(self, shape: MixerShape, mixer: MixerConfig) -> nn.Module:
        """Make the module."""
        return GatedDeltaMixer(shape, mixer)

    def fused(self, block: Block, pack: Pack, share: bool) -> FusedLayer:
        """Its step."""
        return FusedDelta(block, pack, share)

    def matrices(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """Those of Mamba-2, and the strength."""
        return super().matrices(shape, mixer) + shape.d_model * states(shape, mixer)

    def parameters(self, shape: MixerShape, mixer: MixerConfig) -> int:
        """Those of Mamba-2, and the bias of the strength."""
        return super().parameters(shape, mixer) + states(shape, mixer)

    def scan_flops(self, shape: MixerShape, mixer: MixerConfig, chunk: int | None = None) -> int:
        """Those of Mamba-2, and what the state held under a key; chunks also solve a system."""
        rows, width = mixer.value_width(shape.head_dim), mixer.state_width(shape.head_dim)
        count = states(shape, mixer)
        more = 2 * count * rows * width
        if chunk is not None:
            more += chunk * count * (3 * width + rows)
        return super().scan_flops(shape, mixer, chunk) + more


KIND = GatedDelta()
