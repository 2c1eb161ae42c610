"""A window with sinks beside a recurrent state, in one layer: near tokens exactly, far ones kept.

Both read the same queries, keys and values; the output projection reads the two side by side, so
that a closed-form fit weighs them. It starts as window attention alone. The state is that of
`Mamba2Mixer` and takes in every token, those of the window too.
The pairing follows LoLCATs (Zhang et al., arXiv 2410.10254), which sums the two under one
normaliser; two sets of output weights need no matching of scales.
"""

from typing import cast

import torch
from torch import Tensor, nn

from mamtra_cli.layers.attention import attend
from mamtra_cli.layers.mamba2 import Mamba2Mixer
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.rotary import RopeTable, apply_rope, shape_table
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.state import KVState, LayerState, PairState, cache_dtype
from mamtra_cli.layers.swa import bounded


class WindowStateMixer(Mamba2Mixer):
    """The mixer of one layer; arguments as in `Mamba2Mixer`, of which it is one with a window."""

    def __init__(self, shape: MixerShape, config: MixerConfig, *, checkpoint: bool = False) -> None:
        super().__init__(shape, config, checkpoint=checkpoint)
        self.o_proj = nn.Linear(2 * shape.q_width, shape.d_model, bias=shape.out_bias)

    def alloc(  # type: ignore[override]
        self,
        batch: int,
        *,
        capacity: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> PairState:
        """An empty window and a state of zeros for `batch` rows."""
        weight = self.q_proj.weight
        place = weight.device if device is None else torch.device(device)
        near = KVState.alloc(
            batch,
            self.shape.n_kv_heads,
            self.shape.head_dim,
            dtype=cache_dtype(place, weight.dtype if dtype is None else dtype),
            device=place,
        )
        return PairState(near=near, far=super().alloc(batch, dtype=dtype, device=device))

    def features(  # type: ignore[override]
        self,
        u: Tensor,
        state: LayerState | None = None,
        *,
        positions: Tensor | None = None,
        seq_idx: Tensor | None = None,
        pad_mask: Tensor | None = None,
        rope: RopeTable | None = None,
        in_place: bool = False,
    ) -> tuple[Tensor, PairState]:
        """What `o_proj` reads: the window's (B, T, H * P) and the state's side by side."""
        shape = self.shape
        fresh = state is None
        held = cast(
            PairState, self.alloc(len(u), dtype=u.dtype, device=u.device) if fresh else state
        )
        if rope is None and shape.rope != "none":
            if positions is None:
                positions = held.seen + torch.arange(u.shape[1], device=u.device)
            rope = shape_table(positions, shape, u.dtype)
        joined = self.joined(u)
        v, k, q = (
            torch.unflatten(part, -1, (-1, shape.head_dim))
            for part in torch.split(joined, [shape.kv_width, shape.kv_width, shape.q_width], -1)
        )
        if rope is not None:
            q, k = apply_rope(q, rope, shape.rope), apply_rope(k, rope, shape.rope)
        window, sinks = self.config.window, self.config.sinks
        near, after = attend(
            q,
            k,
            v,
            held.near,
            window=window,
            sinks=sinks,
            seq_idx=seq_idx,
            pad_mask=pad_mask,
            in_place=in_place,
        )
        far, state_after = self.read(
            joined, u, held.far, fresh, positions, seq_idx, pad_mask, rope, in_place
        )
        both = PairState(near=bounded(after, window, sinks), far=state_after)
        return torch.cat((near.flatten(2), far), dim=-1), both
