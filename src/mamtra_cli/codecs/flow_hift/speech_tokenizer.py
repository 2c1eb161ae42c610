"""The supervised speech tokenizer: 128-bin log-mel at 100 Hz to FSQ codes at 25 Hz.

Topology and tensor names are those of the public torch port (PyPI s3tokenizer 0.3.0) of the
published ONNX file; widths and FSQ levels come from the configuration. Knows nothing of
waveforms or of what decodes the codes. Sources: CosyVoice 2 (arXiv:2412.10117), SAN-M memory
(arXiv:2006.01713), finite scalar quantisation (arXiv:2309.15505), RoPE (arXiv:2104.09864).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.codecs.flow_hift.config import SpeechTokenizerConfig

FSQ_SCALE = 0.9990000128746033
ROPE_BASE = 10_000.0
FRAMES_PER_CODE = 4
WINDOW_FRAMES = 3000
OVERLAP_FRAMES = 400


@dataclass(frozen=True, kw_only=True)
class Tokenized:
    """What a training step needs of the tokenizer.

    Attributes:
        hidden: (B, N, D) encoder output before the quantiser.
        bounded: (B, N, K) float32 values in (-1, 1) before rounding.
        digits: (B, N, K) float32 values in [-1, 1] after rounding, with the gradient of
            `bounded` (straight through).
        codes: (B, N) int64.
        lens: (B,) int64 number of codes.
    """

    hidden: Tensor
    bounded: Tensor
    digits: Tensor
    codes: Tensor
    lens: Tensor


class FSMNAttention(nn.Module):
    """Full self-attention with a convolutional memory over the values beside it."""

    def __init__(self, width: int, heads: int, kernel: int) -> None:
        super().__init__()
        if width % (2 * heads) or not kernel % 2:
            raise ValueError(
                f"width {width} must be a multiple of 2 x {heads} heads, kernel {kernel} odd"
            )
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.fsmn_block = nn.Conv1d(
            width, width, kernel, padding=kernel // 2, groups=width, bias=False
        )

    def forward(self, x: Tensor, mask: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Mix over time.

        Args:
            x: (B, N, D).
            mask: (B, N) bool, True where real.
            cosine, sine: (N, P) of the rotary positions.
        """
        split = (*x.shape[:2], self.heads, -1)
        value = self.value(x)
        q = _rotate(self.query(x).view(split).transpose(1, 2), cosine, sine)  # (B, H, N, P)
        k = _rotate(self.key(x).view(split).transpose(1, 2), cosine, sine)
        v = value.view(split).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(
            q.to(v.dtype), k.to(v.dtype), v, attn_mask=mask[:, None, None]
        )
        kept = mask[..., None].to(value.dtype)
        masked = value * kept
        memory = self.fsmn_block(masked.transpose(1, 2)).transpose(1, 2) + masked
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2)) + memory * kept
        return result


class Block(nn.Module):
    """Attention and feed-forward, each before a residual sum and after a norm."""

    def __init__(self, width: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.attn_ln = nn.LayerNorm(width)
        self.attn = FSMNAttention(width, heads, kernel)
        self.mlp_ln = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, mask: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Map x: (B, N, D) to (B, N, D); see `FSMNAttention.forward`."""
        x = x + self.attn(self.attn_ln(x), mask, cosine, sine)
        x = x + self.mlp(self.mlp_ln(x))
        return x


class Encoder(nn.Module):
    """Two halving convolutions and a stack of blocks."""

    def __init__(self, config: SpeechTokenizerConfig) -> None:
        super().__init__()
        width = config.width
        self.conv1 = nn.Conv1d(config.n_mels, width, 3, stride=2, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(
            Block(width, config.heads, config.fsmn_kernel) for _ in range(config.layers)
        )
        self.head_dim = width // config.heads

    def forward(self, logmel: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """Map logmel: (B, F, T) with lens: (B,) frames to (B, N, D) and (B,) code counts."""
        x = F.gelu(self.conv1(logmel * _mask(lens, logmel.shape[-1])[:, None]))
        lens = _halved(lens)
        x = F.gelu(self.conv2(x * _mask(lens, x.shape[-1])[:, None]))
        lens = _halved(lens)
        x = x.transpose(1, 2)  # (B, N, D)
        mask = _mask(lens, x.shape[1])
        cosine, sine = _rotary(x.shape[1], self.head_dim, x.device)
        for block in self.blocks:
            x = block(x, mask, cosine, sine)
        return x, lens


class Codebook(nn.Module):
    """Finite scalar quantiser: one bounded, rounded number a digit."""

    def __init__(self, width: int, levels: Sequence[int]) -> None:
        super().__init__()
        if not levels or any(level < 3 or level % 2 == 0 for level in levels):
            raise ValueError(f"FSQ levels must be odd and at least 3, got {tuple(levels)}")
        self.project_down = nn.Linear(width, len(levels))
        self.halves: Tensor
        halves = torch.tensor([(level - 1) / 2 for level in levels])
        self.register_buffer("halves", halves, persistent=False)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Map hidden: (..., D) to bounded and rounded values: (..., K) float32 each.

        Rounded values are -half..half in steps of one; bounded ones lie on the same scale.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            bounded = torch.tanh(self.project_down(hidden.float())) * FSQ_SCALE * self.halves
            return bounded, bounded.round()


class Quantizer(nn.Module):
    """Holder of the codebook under its published name."""

    def __init__(self, width: int, levels: Sequence[int]) -> None:
        super().__init__()
        self._codebook = Codebook(width, levels)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """See `Codebook.forward`."""
        bounded, rounded = self._codebook(hidden)
        return bounded, rounded


class Classifier(nn.Module):
    """Digits as classes, for codes that are told and lie in no order; in place of `Quantizer`."""

    def __init__(self, width: int, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.project = nn.Linear(width, sum(levels))

    def logits(self, hidden: Tensor) -> tuple[Tensor, ...]:
        """Map hidden: (..., D) to the logits of each digit: (..., level) float32."""
        with torch.autocast(hidden.device.type, enabled=False):
            found: tuple[Tensor, ...] = self.project(hidden.float()).split(self.levels, -1)
        return found

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """As `Codebook.forward`; the likeliest classes twice, without gradient."""
        digits = torch.stack([part.argmax(-1) for part in self.logits(hidden)], -1)
        halves = torch.tensor([(level - 1) / 2 for level in self.levels], device=hidden.device)
        return digits - halves, digits - halves


class SpeechTokenizer(nn.Module):
    """Log-mel to codes; `forward` for training, `encode` for use."""

    def __init__(self, config: SpeechTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        kind = Classifier if config.digits == "classes" else Quantizer
        self.quantizer = kind(config.width, config.levels)

    def forward(self, logmel: Tensor, lens: Tensor | None = None) -> Tokenized:
        """Encode and quantise with gradients.

        Args:
            logmel: (B, n_mels, T), at most 30 s (3000 frames) at a time.
            lens: (B,) frames; all T when `None`.
        """
        if logmel.dim() != 3 or logmel.shape[1] != self.config.n_mels or not logmel.shape[2]:
            raise ValueError(
                f"log-mel of shape {tuple(logmel.shape)}, expected (B, {self.config.n_mels}, T)"
            )
        if lens is None:
            lens = torch.full(logmel.shape[:1], logmel.shape[2], device=logmel.device)
        hidden, lens = self.encoder(logmel, lens.long())
        bounded, rounded = self.quantizer(hidden)
        counts = torch.tensor(self.config.levels, device=hidden.device)
        halves = (counts - 1) / 2
        codes = digits_to_codes((rounded.detach() + halves).long(), self.config.levels)
        digits = (bounded + (rounded - bounded).detach()) / halves
        return Tokenized(
            hidden=hidden, bounded=bounded / halves, digits=digits, codes=codes, lens=lens
        )

    @torch.no_grad()
    def encode(self, logmel: Tensor, lens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode speech of any length.

        Beyond 30 s each utterance is cut into windows of 30 s that overlap by 4 s; each code
        comes from the window in which it is farther from an edge. (The published pipeline
        rejects such audio.)

        Args:
            logmel: (B, n_mels, T).
            lens: (B,) frames; all T when `None`.

        Returns:
            codes: (B, N) int64, zero after each utterance's end.
            lens: (B,) int64 code counts.
        """
        if lens is None:
            lens = torch.full(logmel.shape[:1], logmel.shape[2], device=logmel.device)
        lens = lens.long()
        if logmel.shape[2] <= WINDOW_FRAMES:
            tokenized = self(logmel, lens)
            return tokenized.codes * _mask(tokenized.lens, tokenized.codes.shape[1]), tokenized.lens
        return encode_each(lambda window: self(window).codes[0], logmel, lens)


def encode_each(
    codes_of: Callable[[Tensor], Tensor], logmel: Tensor, lens: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Encode utterances of any length one at a time, in windows of 30 s where they are longer.

    Args:
        codes_of: codes (N,) of one window (1, n_mels, T), T at most 3000.
        logmel: (B, n_mels, T).
        lens: (B,) frames; all T when `None`.

    Returns:
        codes: (B, N) int64, zero after each utterance's end.
        lens: (B,) int64 code counts.
    """
    frames = [logmel.shape[2]] * len(logmel) if lens is None else lens.tolist()
    rows = [
        _encode_windows(codes_of, item[None, :, :length])
        for item, length in zip(logmel, frames, strict=True)
    ]
    counts = torch.tensor([len(row) for row in rows], device=logmel.device)
    return nn.utils.rnn.pad_sequence(rows, batch_first=True), counts


def _encode_windows(codes_of: Callable[[Tensor], Tensor], logmel: Tensor) -> Tensor:
    """Encode one utterance (1, n_mels, T) window by window: (N,)."""
    frames = logmel.shape[2]
    trim = OVERLAP_FRAMES // FRAMES_PER_CODE // 2
    # What is as long as a window is one window: a second would hold nothing but the overlap.
    beyond = frames - OVERLAP_FRAMES if frames > WINDOW_FRAMES else 1
    starts = range(0, beyond, WINDOW_FRAMES - OVERLAP_FRAMES)
    parts = []
    for start in starts:
        codes = codes_of(logmel[:, :, start : start + WINDOW_FRAMES])
        first = trim if start else 0
        last = len(codes) if start == starts[-1] else len(codes) - trim
        parts.append(codes[first:last])
    return torch.cat(parts)


def code_count(frames: int) -> int:
    """Count the codes of `frames` log-mel frames."""
    return ((frames - 1) // 2 + 2) // 2 if frames > 0 else 0


def digits_to_codes(digits: Tensor, levels: Sequence[int]) -> Tensor:
    """Join digits: (..., K) int in 0..level-1, first digit least significant, to codes: (...)."""
    if digits.shape[-1] != len(levels):
        raise ValueError(f"digits of shape {tuple(digits.shape)} for {len(levels)} levels")
    return (digits.long() * _places(levels, digits.device)).sum(-1)


def codes_to_digits(codes: Tensor, levels: Sequence[int]) -> Tensor:
    """Split codes: (...) into digits: (..., K) int64."""
    counts = torch.tensor(tuple(levels), device=codes.device)
    places = _places(levels, codes.device)
    return torch.div(codes.long()[..., None], places, rounding_mode="floor") % counts


def _places(levels: Sequence[int], device: torch.device) -> Tensor:
    """Return the place value of each digit: (K,) int64."""
    return torch.tensor([math.prod(levels[:i]) for i in range(len(levels))], device=device)


def _halved(lens: Tensor) -> Tensor:
    """Return lengths after a stride-2 convolution."""
    return torch.div(lens - 1, 2, rounding_mode="floor") + 1


def _mask(lens: Tensor, length: int) -> Tensor:
    """Mark the real positions: (B, T) bool."""
    return torch.arange(length, device=lens.device)[None] < lens[:, None]


def _rotary(length: int, dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Tabulate cosine and sine of positions 0..length-1: (N, P) float32 each."""
    exponents = torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim
    angles = torch.arange(length, device=device)[:, None] / ROPE_BASE**exponents
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotate x: (B, H, N, P) by position, half-split form."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine
