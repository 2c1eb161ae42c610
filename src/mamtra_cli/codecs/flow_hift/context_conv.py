"""Layers over time that read a sequence in pieces as they read the whole.

Each sees a fixed number of frames to come and keeps the frames behind it that it needs again: its
context, a value. A piece is answered as far as the frames to come allow, so every cut of a
sequence gives the same numbers. Knows nothing of sound.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ContextConv(nn.Module):
    """A convolution that sees `ahead` frames to come; zeros stand before the first and after the
    last frame."""

    def __init__(self, inputs: int, outputs: int, kernel: int, ahead: int, groups: int = 1) -> None:
        super().__init__()
        self.past, self.ahead = kernel - 1 - ahead, ahead
        self.conv = nn.Conv1d(inputs, outputs, kernel, groups=groups)

    def forward(self, context: Tensor, x: Tensor, *, final: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Read more frames.

        Args:
            context: from `first_contexts` or an earlier call.
            x: (B, C, T) new frames.
            final: nothing follows.

        Returns:
            the new context, the n frames of input that can now be answered (B, C, n), and the
            answers (B, C', n).
        """
        x = torch.cat((context, x), dim=2)
        if final:
            x = F.pad(x, (0, self.ahead))
        n = x.shape[2] - self.past - self.ahead
        if n <= 0:
            return x, x[:, :, :0], x.new_zeros((x.shape[0], self.conv.out_channels, 0))
        return x[:, :, n:], x[:, :, self.past : self.past + n], self.conv(x)


class Block(nn.Module):
    """A depthwise convolution over time, then two layers over the channels of each frame."""

    def __init__(self, width: int, kernel: int, ahead: int, widening: int) -> None:
        super().__init__()
        self.mix = ContextConv(width, width, kernel, ahead, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, widening * width)
        self.down = nn.Linear(widening * width, width)

    def forward(self, context: Tensor, x: Tensor, *, final: bool) -> tuple[Tensor, Tensor]:
        """Read (B, C, T) more frames; give the new context and (B, C, n)."""
        context, x, mixed = self.mix(context, x, final=final)
        change = self.down(F.gelu(self.up(self.norm(mixed.transpose(1, 2)))))
        return context, x + change.transpose(1, 2)


def first_contexts(module: nn.Module, batch: int) -> tuple[Tensor, ...]:
    """Contexts of nothing for each `ContextConv` of a module, in the order they were made in."""
    return tuple(
        layer.conv.weight.new_zeros((batch, layer.conv.in_channels, layer.past))
        for layer in module.modules()
        if isinstance(layer, ContextConv)
    )


def with_neighbours(
    waiting: Tensor | None, x: Tensor, *, final: bool
) -> tuple[Tensor | None, Tensor]:
    """Frames between two others, the first and the last of a sequence beside themselves.

    Args:
        waiting: (B, C, 2 or fewer) what earlier calls left; `None` at first.
        x: (B, C, T) new frames.
        final: nothing follows.

    Returns:
        what is left, and (B, C, n + 2): n frames with a neighbour on either side.
    """
    if waiting is None:
        if x.shape[2] == 0:
            return None, x.new_zeros((*x.shape[:2], 2))
        waiting = x[:, :, :1]
    x = torch.cat((waiting, x), dim=2)
    if final:
        x = torch.cat((x, x[:, :, -1:]), dim=2)
    if x.shape[2] < 3:
        return x, x.new_zeros((*x.shape[:2], 2))
    return x[:, :, -2:], x
