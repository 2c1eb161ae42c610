"""The upsampling conformer of the flow: 25 Hz token embeddings to 50 Hz hidden frames.

Attention with relative positions, a look-ahead of a few tokens, and optional chunk masks. Knows
embeddings and lengths; nothing of tokens, mel or diffusion. Attribute names give the published
state-dict keys. Source: the upsample encoder of FunAudioLLM/CosyVoice, rewritten from its formulas.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamtra_cli.codecs.flow_hift.chunk_mask import block_mask, lengths_to_mask, query_blocks
from mamtra_cli.codecs.flow_hift.config import FlowEncoderConfig

BLOCK_NORM_EPS = 1e-12
LEAKY_SLOPE = 0.01


def relative_positions(length: int, width: int, device: torch.device) -> Tensor:
    """Encode the distances length-1 .. -(length-1) as interleaved sines and cosines.

    Returns:
        (2*length-1, width) float32; row n is the distance length-1-n.
    """
    rates = torch.exp(
        torch.arange(0, width, 2, device=device, dtype=torch.float32) * -(math.log(10000.0) / width)
    )
    distances = torch.arange(length - 1, -length, -1, device=device, dtype=torch.float32)
    angles = distances[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


class InputLayer(nn.Module):
    """Linear, LayerNorm, times sqrt(width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
        self.scale = math.sqrt(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        y: Tensor = self.out(x)
        return y * self.scale


class PreLookahead(nn.Module):
    """Two convolutions that see `lookahead` frames to the right, and a residual."""

    def __init__(self, width: int, lookahead: int) -> None:
        super().__init__()
        self.lookahead = lookahead
        self.conv1 = nn.Conv1d(width, width, lookahead + 1)
        self.conv2 = nn.Conv1d(width, width, 3)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Mix in what follows.

        Args:
            x: (B, T, D).
            context: (B, lookahead, D) frames after x; zeros if `None`.

        Returns:
            (B, T, D).
        """
        if context is None:
            right = F.pad(x, (0, 0, 0, self.lookahead))
        else:
            right = torch.cat((x, context), dim=1)
        h = F.leaky_relu(self.conv1(right.transpose(1, 2)), LEAKY_SLOPE)
        h = self.conv2(F.pad(h, (2, 0)))
        y: Tensor = h.transpose(1, 2) + x
        return y


class Upsample(nn.Module):
    """Repeat every frame, then a causal convolution."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv1d(width, width, 2 * factor + 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, factor*T, D)."""
        h = x.repeat_interleave(self.factor, dim=1).transpose(1, 2)
        y: Tensor = self.conv(F.pad(h, (2 * self.factor, 0)))
        return y.transpose(1, 2)


def _align(raw: Tensor) -> Tensor:
    """Shift row r of (B, H, R, C) left by R-1-r; the last R-1 columns lose their meaning."""
    batch, heads, rows, columns = raw.shape
    if rows == 1:
        return raw
    # Cutting R-1 values off the flat matrix and taking rows of C-1 shifts all rows at once.
    flat = raw.flatten(-2)[..., rows - 1 : rows * columns - 1]
    return flat.view(batch, heads, rows, columns - 1)


class RelativeAttention(nn.Module):
    """Self-attention whose scores depend on content and on the distance i-j."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = width // heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(heads, self.head_dim))
        self.pos_bias_v = nn.Parameter(torch.empty(heads, self.head_dim))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, self.head_dim).transpose(-3, -2)

    def forward(
        self, x: Tensor, positions: Tensor, pad_mask: Tensor | None, chunk: int | None
    ) -> Tensor:
        """Attend, block by block of queries.

        Args:
            x: (B, T, D).
            positions: (2T-1, D) from `relative_positions`.
            pad_mask: (B, T) bool, True = real, or `None`.
            chunk: frames a chunk, or `None` for full attention.

        Returns:
            (B, T, D).
        """
        length = x.shape[1]
        scale = 1.0 / math.sqrt(self.head_dim)
        q, k, v = (self._split(f(x)) for f in (self.linear_q, self.linear_k, self.linear_v))
        p = self._split(self.linear_pos(positions)).transpose(-2, -1)
        content = q + self.pos_bias_u[:, None, :].to(q.dtype)
        place = (q + self.pos_bias_v[:, None, :].to(q.dtype)) * scale
        out = []
        for start, stop, keys in query_blocks(length, chunk):
            rows = stop - start
            columns = rows + keys - 1
            first = length - stop
            raw = place[:, :, start:stop] @ p[..., first : first + columns]
            bias = _align(raw)[..., :keys]
            mask = block_mask(start, stop, keys, chunk, pad_mask, x.device)
            if mask is not None:
                bias = bias.masked_fill(~mask, float("-inf"))
            out.append(
                F.scaled_dot_product_attention(
                    content[:, :, start:stop],
                    k[:, :, :keys],
                    v[:, :, :keys],
                    attn_mask=bias.contiguous(),
                    scale=scale,
                )
            )
        joined = torch.cat(out, dim=2) if len(out) > 1 else out[0]
        y: Tensor = self.linear_out(joined.transpose(1, 2).flatten(2))
        return y


class FeedForward(nn.Module):
    """Two linear maps with SiLU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, hidden)
        self.w_2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        y: Tensor = self.w_2(F.silu(self.w_1(x)))
        return y


class EncoderBlock(nn.Module):
    """Pre-norm attention and feed-forward, both residual."""

    def __init__(self, config: FlowEncoderConfig) -> None:
        super().__init__()
        self.self_attn = RelativeAttention(config.width, config.heads)
        self.feed_forward = FeedForward(config.width, config.d_ff)
        self.norm_mha = nn.LayerNorm(config.width, eps=BLOCK_NORM_EPS)
        self.norm_ff = nn.LayerNorm(config.width, eps=BLOCK_NORM_EPS)

    def forward(
        self, x: Tensor, positions: Tensor, pad_mask: Tensor | None, chunk: int | None
    ) -> Tensor:
        """(B, T, D) to (B, T, D); arguments as `RelativeAttention`."""
        x = x + self.self_attn(self.norm_mha(x), positions, pad_mask, chunk)
        y: Tensor = x + self.feed_forward(self.norm_ff(x))
        return y


class FlowEncoder(nn.Module):
    """Token embeddings to upsampled hidden frames."""

    def __init__(self, config: FlowEncoderConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embed = InputLayer(width)
        self.pre_lookahead_layer = PreLookahead(width, config.lookahead)
        self.encoders = nn.ModuleList(EncoderBlock(config) for _ in range(config.blocks))
        self.up_layer = Upsample(width, config.upsample)
        self.up_embed = InputLayer(width)
        self.up_encoders = nn.ModuleList(EncoderBlock(config) for _ in range(config.up_blocks))
        self.after_norm = nn.LayerNorm(width)

    def forward(
        self,
        xs: Tensor,
        lens: Tensor | None = None,
        *,
        streaming: bool,
        context: Tensor | None = None,
        blank_padding: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Encode.

        Args:
            xs: (B, T, D) embeddings.
            lens: (B,) real lengths; `None` if nothing is padded.
            streaming: use chunk masks (a frame sees its own chunk and the past).
            context: (B, lookahead, D) embeddings that follow `xs` and produce no output.
            blank_padding: let the look-ahead see zeros instead of embedded padding, so that
                a padded sample equals the sample alone. The published model does not.

        Returns:
            frames (B, upsample*T, D) and their mask (B, upsample*T) bool, `None` without lens.
        """
        length, width = xs.shape[1], xs.shape[2]
        mask = None if lens is None else lengths_to_mask(lens, length)
        x = self.embed(xs)
        if mask is not None and blank_padding:
            x = x * mask[:, :, None].to(x.dtype)
        after = None if context is None else self.embed(context)
        x = self.pre_lookahead_layer(x, after)
        chunk = self.config.chunk if streaming else None
        positions = relative_positions(length, width, x.device).to(xs.dtype)
        for block in self.encoders:
            x = block(x, positions, mask, chunk)

        factor = self.config.upsample
        x = self.up_embed(self.up_layer(x))
        mask = None if mask is None else mask.repeat_interleave(factor, dim=1)
        chunk = None if chunk is None else chunk * factor
        positions = relative_positions(length * factor, width, x.device).to(xs.dtype)
        for block in self.up_encoders:
            x = block(x, positions, mask, chunk)
        return self.after_norm(x), mask
