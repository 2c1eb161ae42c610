"""The gated delta rule in attention's shape: like `Mamba2Mixer`, but the state overwrites.

Keys and queries have unit length after the feature map, and a learned strength says how much of
what the state held under a key gives way to the new value. Starts with a small strength, so that
at first it nearly adds, as linear attention does.
Source: Yang et al., arXiv 2412.06464; the place in a converted layer is that of `Mamba2Mixer`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamtra_cli.layers.mamba2 import Mamba2Mixer
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.ops.delta import delta_scan, delta_step

STRENGTH = 0.1
"""Starting share of what is overwritten."""
LEAST = 1e-6
"""Length below which a key is not stretched to 1."""


class GatedDeltaMixer(Mamba2Mixer):
    """The mixer of one layer; arguments as in `Mamba2Mixer`. `gain` plays no part."""

    def __init__(self, shape: MixerShape, config: MixerConfig, *, checkpoint: bool = False) -> None:
        super().__init__(shape, config, checkpoint=checkpoint)
        self.beta_proj = nn.Linear(shape.d_model, self.states)
        self.reset_strength()

    @torch.no_grad()
    def reset_strength(self) -> None:
        """Set the strength to its starting value, whatever the input."""
        self.beta_proj.weight.zero_()
        self.beta_proj.bias.fill_(math.log(STRENGTH / (1 - STRENGTH)))

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
        """The recurrence over a sequence; see `Mamba2Mixer.recur`."""
        repeats = self.states // self.shape.n_kv_heads
        wide = torch.float64 if v.dtype == torch.float64 else torch.float32
        beta = torch.sigmoid(self.beta_proj(u).to(wide))
        if pad_mask is not None:
            beta = beta * pad_mask[..., None].to(wide)
            # What stands at a pad may be anything, even not finite.
            k, q = (x.masked_fill(~pad_mask[:, :, None, None], 0.0) for x in (k, q))
            v = v.masked_fill(~pad_mask[:, :, None, None], 0.0)
        return delta_scan(
            v.repeat_interleave(repeats, dim=2),
            -self.steps(u, wide, pad_mask) * torch.exp(self.A_log.to(wide)),
            beta,
            unit(k).repeat_interleave(repeats, dim=2),
            unit(q),
            initial_state=held,
            seq_idx=runs,
            checkpoint=self.checkpoint and self.training,
        )

    def recur_step(
        self, u: Tensor, v: Tensor, k: Tensor, q: Tensor, held: Tensor, in_place: bool
    ) -> tuple[Tensor, Tensor]:
        """One token of `recur`."""
        repeats = self.states // self.shape.n_kv_heads
        return delta_step(
            held,
            v.repeat_interleave(repeats, dim=1),
            -self.steps(u, held.dtype) * torch.exp(self.A_log.to(held.dtype)),
            torch.sigmoid(self.beta_proj(u).to(held.dtype)),
            unit(k).repeat_interleave(repeats, dim=1),
            unit(q),
            in_place=in_place,
        )


def unit(x: Tensor) -> Tensor:
    """Vectors (..., N) of length 1, in float32 at least."""
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=-1, eps=LEAST)
