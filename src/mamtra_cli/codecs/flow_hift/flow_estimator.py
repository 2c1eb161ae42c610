"""The UNet of the flow: velocity of the mel at one point of the path from noise to speech.

One resolution level of causal convolutions and transformer blocks. Knows tensors of one solver
step; nothing of tokens, solvers or guidance. Attribute names give the published state-dict keys.
Source: the causal conditional decoder of FunAudioLLM/CosyVoice and the blocks of
shivammehta25/Matcha-TTS, rewritten from their formulas.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from mamtra_cli.codecs.flow_hift.chunk_mask import block_mask, query_blocks
from mamtra_cli.codecs.flow_hift.config import FlowEstimatorConfig
from mamtra_cli.codecs.flow_hift.past import NOTHING, Past

TIME_SCALE = 1000.0


def time_sinusoid(t: Tensor, width: int) -> Tensor:
    """Encode times in [0, 1].

    Args:
        t: (B,).
        width: even number of features.

    Returns:
        (B, width) float32: sines, then cosines.
    """
    half = width // 2
    rates = torch.exp(
        torch.arange(half, device=t.device, dtype=torch.float32) * -(math.log(10000.0) / (half - 1))
    )
    angles = TIME_SCALE * t.float()[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


class _Mish(torch.autograd.Function):
    """Mish whose backward pass is made of vectorised operations; torch's CPU one is not."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.mish(x)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        # tanh(softplus(x)) = n / (n + 2) with n = e^x (e^x + 2); beyond 20 it is 1.
        e = x.float().clamp(max=20.0).exp()
        n = e * (e + 2.0)
        tanh = n / (n + 2.0)
        slope = tanh + x * (1.0 - tanh * tanh) * (e / (e + 1.0))
        product: Tensor = grad * slope
        return product.to(grad.dtype)


def mish(x: Tensor) -> Tensor:
    """x * tanh(softplus(x)), any shape."""
    y: Tensor = _Mish.apply(x)  # type: ignore[no-untyped-call]
    return y


class TimeMLP(nn.Module):
    """Two linear maps with SiLU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, hidden)
        self.linear_2 = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width) to (B, hidden)."""
        y: Tensor = self.linear_2(F.silu(self.linear_1(x)))
        return y


class CausalConv1d(nn.Conv1d):
    """A kernel-3 convolution that sees two frames back and none ahead."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3)

    def forward(self, x: Tensor, past: Past = NOTHING) -> Tensor:
        """(B, C, T) to (B, C', T)."""
        return super().forward(past.convolved(x, 2))


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


class ConvBlock(nn.Module):
    """Causal convolution, LayerNorm over channels, Mish."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = nn.ModuleDict(
            {"0": CausalConv1d(in_channels, out_channels), "2": nn.LayerNorm(out_channels)}
        )

    def forward(self, x: Tensor, mask: Tensor | None, past: Past = NOTHING) -> Tensor:
        """(B, C, T) to (B, C', T); mask (B, 1, T) or `None`."""
        h = self.block["0"](_masked(x, mask), past)
        h = self.block["2"](h.transpose(1, 2)).transpose(1, 2)
        return _masked(mish(h), mask)


class ResnetBlock(nn.Module):
    """Two conv blocks with the time between them, and a 1x1 residual."""

    def __init__(self, in_channels: int, out_channels: int, time_width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(time_width, out_channels))
        self.block1 = ConvBlock(in_channels, out_channels)
        self.block2 = ConvBlock(out_channels, out_channels)
        self.res_conv = nn.Conv1d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, mask: Tensor | None, time: Tensor, past: Past = NOTHING) -> Tensor:
        """(B, C, T) to (B, C', T); time (B, time_width)."""
        h = self.block1(x, mask, past) + self.mlp(time)[:, :, None]
        y: Tensor = self.block2(h, mask, past) + self.res_conv(_masked(x, mask))
        return y


class Attention(nn.Module):
    """Multi-head self-attention whose inner width need not be the outer one."""

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * head_dim
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_k = nn.Linear(width, inner, bias=False)
        self.to_v = nn.Linear(width, inner, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(inner, width)])

    def forward(
        self, x: Tensor, pad_mask: Tensor | None, chunk: int | None, past: Past = NOTHING
    ) -> Tensor:
        """(B, T, C) to (B, T, C), block by block of queries; pad_mask (B, T) bool or `None`."""
        seen, before = past.attended(x), past.frames
        q, k, v = (
            f(h).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for f, h in ((self.to_q, x), (self.to_k, seen), (self.to_v, seen))
        )
        out = [
            F.scaled_dot_product_attention(
                q[:, :, start:stop],
                k[:, :, : before + keys],
                v[:, :, : before + keys],
                attn_mask=block_mask(
                    before + start, before + stop, before + keys, chunk, pad_mask, x.device
                ),
            )
            for start, stop, keys in query_blocks(x.shape[1], chunk)
        ]
        joined = torch.cat(out, dim=2) if len(out) > 1 else out[0]
        y: Tensor = self.to_out[0](joined.transpose(1, 2).flatten(2))
        return y


class GeluProjection(nn.Module):
    """Linear, then the exact GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T, hidden)."""
        return F.gelu(self.proj(x))


class FeedForward(nn.Module):
    """GELU feed-forward of factor four."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleDict(
            {"0": GeluProjection(width, 4 * width), "2": nn.Linear(4 * width, width)}
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        y: Tensor = self.net["2"](self.net["0"](x))
        return y


class TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward, both residual."""

    def __init__(self, config: FlowEstimatorConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.channels)
        self.attn1 = Attention(config.channels, config.heads, config.head_dim)
        self.norm3 = nn.LayerNorm(config.channels)
        self.ff = FeedForward(config.channels)

    def forward(
        self, x: Tensor, pad_mask: Tensor | None, chunk: int | None, past: Past = NOTHING
    ) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        x = x + self.attn1(self.norm1(x), pad_mask, chunk, past)
        y: Tensor = x + self.ff(self.norm3(x))
        return y


class FlowEstimator(nn.Module):
    """Velocity of the mel.

    Args:
        config: sizes.
        mel_bins: channels of x, mu, spks and cond.
        spans: estimate the mean velocity up to a second time, `r`. Its network begins at zero, so
            that weights of an estimator without it say at first what they said.
    """

    def __init__(
        self, config: FlowEstimatorConfig, mel_bins: int = 80, *, spans: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        self.time_width = 4 * mel_bins
        c, hidden = config.channels, 4 * config.channels

        def level(in_channels: int) -> list[nn.Module]:
            blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.n_blocks))
            return [ResnetBlock(in_channels, c, hidden), blocks]

        self.time_mlp = TimeMLP(self.time_width, hidden)
        self.span_mlp: TimeMLP | None = None
        if spans:
            self.span_mlp = TimeMLP(self.time_width, hidden)
            nn.init.zeros_(self.span_mlp.linear_2.weight)
            nn.init.zeros_(self.span_mlp.linear_2.bias)
        self.down_blocks = nn.ModuleList(
            [nn.ModuleList([*level(4 * mel_bins), CausalConv1d(c, c)])]
        )
        self.mid_blocks = nn.ModuleList(nn.ModuleList(level(c)) for _ in range(config.mid_blocks))
        self.up_blocks = nn.ModuleList([nn.ModuleList([*level(2 * c), CausalConv1d(c, c)])])
        self.final_block = ConvBlock(c, c)
        self.final_proj = nn.Conv1d(c, mel_bins, 1)

    def forward(
        self,
        x: Tensor,
        mu: Tensor,
        t: Tensor,
        spks: Tensor,
        cond: Tensor,
        *,
        r: Tensor | None = None,
        mask: Tensor | None = None,
        streaming: bool = False,
        past: Past = NOTHING,
    ) -> Tensor:
        """Estimate the velocity at t, or the mean one from t to r.

        Args:
            x, mu, cond: (B, mel, T) noisy mel, mean from the encoder, known mel.
            t: (B,) times in [0, 1].
            spks: (B, mel) speaker.
            r: (B,) times in [t, 1], for an estimator with spans only.
            mask: (B, T) bool, True = real; `None` if nothing is padded.
            streaming: use the chunk mask.
            past: whole chunks of frames that stand before these, without padding.

        Returns:
            (B, mel, T).
        """
        time = self.time_mlp(time_sinusoid(t, self.time_width).to(x.dtype))
        if self.span_mlp is not None:
            if r is None:
                raise ValueError("an estimator with spans needs the end of a step, `r`")
            time = time + self.span_mlp(time_sinusoid(r - t, self.time_width).to(x.dtype))
        gate = None if mask is None else mask[:, None, :].to(x.dtype)
        chunk = self.config.chunk if streaming else None

        def run(level: nn.ModuleList, h: Tensor) -> Tensor:
            resnet, blocks = level[0], cast(nn.ModuleList, level[1])
            h = resnet(h, gate, time, past).transpose(1, 2)
            for block in blocks:
                h = block(h, mask, chunk, past)
            return h.transpose(1, 2)

        h = torch.cat((x, mu, spks[:, :, None].expand(-1, -1, x.shape[2]), cond), dim=1)
        down, *mids, up = (
            cast(nn.ModuleList, level)
            for levels in (self.down_blocks, self.mid_blocks, self.up_blocks)
            for level in levels
        )
        skip = run(down, h)
        h = down[2](_masked(skip, gate), past)
        for level in mids:
            h = run(level, h)
        h = run(up, torch.cat((h, skip), dim=1))
        h = up[2](_masked(h, gate), past)
        h = self.final_block(h, gate, past)
        return _masked(self.final_proj(_masked(h, gate)), gate)
