"""What recurrent layers share: starting decays, taps of their convolution, parameters kept wide."""

import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

HALF = (torch.bfloat16, torch.float16)


def inverse_softplus(y: Tensor) -> Tensor:
    """x with softplus(x) = y, for y > 0."""
    return y + torch.log(-torch.expm1(-y))


def slow_decay(n_heads: int) -> tuple[Tensor, Tensor]:
    """Starting `dt_bias` and `A_log`, each (H,): step 1, time constants 8 to 2048 tokens."""
    dt_bias = inverse_softplus(torch.ones(n_heads))
    return dt_bias, -torch.linspace(math.log(8.0), math.log(2048.0), n_heads)


def mamba_decay(n_heads: int) -> tuple[Tensor, Tensor]:
    """Starting `dt_bias` and `A_log`, each (H,), as in Mamba-2: dt 0.001 to 0.1, A 1 to 16."""
    low, high = math.log(1e-3), math.log(1e-1)
    dt = torch.exp(low + torch.rand(n_heads) * (high - low))
    return inverse_softplus(dt), torch.log(1.0 + 15.0 * torch.rand(n_heads))


class DepthwiseTaps(nn.Module):
    """Weights of the causal convolution: `weight` (C, W) and `bias` (C,); starts as identity."""

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        weight = torch.zeros(channels, taps)
        weight[:, -1] = 1.0
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(channels))


class WideRecurrence(nn.Module):
    """A module whose `A_log`, `dt_bias` and `D` stay in float32 when it is cast to half."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        names = [n for n in ("A_log", "dt_bias", "D") if getattr(self, n, None) is not None]
        before = {name: getattr(self, name).detach() for name in names}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name in names:
            parameter = getattr(self, name)
            if parameter.dtype in HALF:
                parameter.data = before[name].to(parameter.device, torch.float32)
        return self
