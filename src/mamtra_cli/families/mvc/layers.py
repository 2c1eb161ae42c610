"""Layers of the conditioning stack: adaptive norms, gated fusion, recurrences in both directions.

Every layer maps a window of tokens and says what it carries to the next window: the first
`commit` tokens are final, those after them are a look-ahead that is heard once more. The branch
that runs from the end starts anew at the right end of each window, so a look-ahead of L tokens
serves any depth. Knows no phones and no mel.
Source: MambaVoiceCloning, arXiv 2604.00292, equations 2 to 6.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.families.mvc.config import ConditionerConfig
from mamtra_cli.families.mvc.recurrences import recurrence, side_by_side
from mamtra_cli.layers.state import MambaState

Modulation = tuple[Tensor, Tensor]
"""Scale and shift of a norm, each (B, 1, D)."""


@dataclass(frozen=True, kw_only=True)
class LayerCarry:
    """What a layer hands to its next window.

    Attributes:
        forward: state of the branch that runs from the start.
        left: (B, local_taps // 2, D) inputs of the centred convolution, or `None`.
    """

    forward: MambaState
    left: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.forward.nbytes + (0 if self.left is None else self.left.nbytes)


def reversed_rows(x: Tensor, mask: Tensor | None) -> Tensor:
    """Turn each row around within its real length; pads stay where they are.

    x: (B, T, D); mask: (B, T) bool, True where real, pads on the right.
    """
    if mask is None:
        return x.flip(1)
    places = torch.arange(x.shape[1], device=x.device)
    lengths = mask.sum(dim=1, keepdim=True)
    at = torch.where(mask, lengths - 1 - places, places)
    return x.gather(1, at[..., None].expand_as(x))


class AdaptiveNorm(nn.Module):
    """(1 + gamma(e)) * LayerNorm(x) + beta(e); plain where the style does not modulate.

    Starts plain: gamma and beta are zero.
    """

    def __init__(self, width: int, style_width: int, adaptive: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=not adaptive)
        self.modulation: nn.Linear | None = None
        if adaptive:
            self.modulation = nn.Linear(style_width, 2 * width)
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def of(self, style: Tensor) -> Modulation | None:
        """What a style (B, E) makes of this norm; computed once an utterance."""
        if self.modulation is None:
            return None
        gamma, beta = self.modulation(style)[:, None].chunk(2, dim=-1)
        return 1.0 + gamma, beta

    def forward(self, x: Tensor, modulation: Modulation | None) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        y: Tensor = self.norm(x)
        if modulation is None:
            return y
        return modulation[0] * y + modulation[1]


class Fusion(nn.Module):
    """Two directions (B, T, D) each to one: weighed by a gate in (0, 1), or joined as they are."""

    def __init__(self, width: int, gated: bool) -> None:
        super().__init__()
        self.out = nn.Linear(2 * width, width, bias=False)
        self.gate: nn.Linear | None = None
        if gated:
            self.gate = nn.Linear(2 * width, 2 * width)
            nn.init.ones_(self.gate.bias)  # open at the start

    def openness(self, both: Tensor) -> Tensor:
        """The gate (B, T, 2 D) of both directions, joined."""
        assert self.gate is not None
        return torch.sigmoid(self.gate(both))

    def forward(self, ahead: Tensor, back: Tensor) -> Tensor:
        """(B, T, D) twice to (B, T, D)."""
        both = torch.cat((ahead, back), dim=-1)
        if self.gate is not None:
            both = self.openness(both) * both
        y: Tensor = self.out(both)
        return y


class BidirectionalLayer(nn.Module):
    """Norm, a recurrence from either end, their fusion, and a residual.

    Args:
        config: sizes and fusion.
        gated: weigh the directions by a gate.
        local: add a centred depthwise convolution (the rhythm encoder's).
    """

    def __init__(self, config: ConditionerConfig, *, gated: bool, local: bool) -> None:
        super().__init__()
        self.norm = AdaptiveNorm(config.width, config.style_width, config.adaptive)
        self.ahead = recurrence(config)
        self.back = recurrence(config) if config.backward else None
        self.fusion = Fusion(config.width, gated)
        self.local: nn.Conv1d | None = None
        if local:
            self.local = nn.Conv1d(
                config.width, config.width, config.local_taps, groups=config.width
            )

    def forward(
        self,
        x: Tensor,
        modulation: Modulation | None,
        carry: LayerCarry | None = None,
        *,
        commit: int | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, LayerCarry]:
        """Map a window.

        Args:
            x: (B, T, D).
            modulation: of this layer's norm.
            carry: what the window before left; `None` at the start.
            commit: tokens that are final; all of them if absent.
            mask: (B, T) bool, True where real; pads stand on the right.

        Returns:
            (B, T, D), and what the window after this one starts from.
        """
        commit = x.shape[1] if commit is None else commit
        u = self.norm(x, modulation)
        if mask is not None:
            u = u * mask[..., None]
        before = None if carry is None else carry.forward
        if self.back is None:
            (ahead,), state = side_by_side([self.ahead], [u], before, commit=commit, mask=mask)
            back = torch.zeros_like(ahead)
        else:
            (ahead, turned), state = side_by_side(
                [self.ahead, self.back],
                [u, reversed_rows(u, mask)],
                before,
                commit=commit,
                mask=mask,
            )
            back = reversed_rows(turned, mask)
        y = x + self.fusion(ahead, back)
        left = None
        if self.local is not None:
            reach = self.local.kernel_size[0] // 2
            beyond = u.new_zeros(len(u), reach, u.shape[2])
            past = beyond if carry is None or carry.left is None else carry.left
            joined = torch.cat((past, u, beyond), dim=1)
            y = y + self.local(joined.transpose(1, 2)).transpose(1, 2)
            left = joined[:, commit : commit + reach].clone()
        return y, LayerCarry(forward=state, left=left)


class CausalLayer(nn.Module):
    """Norm, a recurrence from the start, and a residual.

    Runs over frames: chunk by chunk or at once gives the same.
    """

    def __init__(self, config: ConditionerConfig) -> None:
        super().__init__()
        self.norm = AdaptiveNorm(config.width, config.style_width, config.adaptive)
        self.ahead = recurrence(config)

    def forward(
        self,
        x: Tensor,
        modulation: Modulation | None,
        state: MambaState | None = None,
        *,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, MambaState]:
        """Map frames (B, F, D) and hand on the state after them."""
        u = self.norm(x, modulation)
        if mask is not None:
            u = u * mask[..., None]
        (y,), after = side_by_side([self.ahead], [u], state, mask=mask)
        return x + y, after


def smooth_l1(found: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
    """Mean Huber loss over what is real; found, wanted: (B, T, ...); mask: (B, T)."""
    loss = F.smooth_l1_loss(found, wanted, reduction="none")
    weight = mask.to(loss.dtype).view(*mask.shape, *(1,) * (loss.dim() - 2)).expand_as(loss)
    return (loss * weight).sum() / weight.sum().clamp(min=1.0)
