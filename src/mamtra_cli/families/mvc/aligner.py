"""Which frame belongs to which phone, learned in training and dropped after it.

A small transformer over phones and another over mel frames; their distances make a soft alignment,
which the forward-sum loss teaches and monotonic alignment search makes hard. Nothing that speaks
imports this file. Sources: Badlani et al., arXiv 2108.10447 (forward sum, beta-binomial prior); Kim
et al., arXiv 2005.11129 (monotonic alignment search); sizes of MambaVoiceCloning, arXiv 2604.00292.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLANK = -1.0  # score of the class that forward sum adds for "no phone"
BARRED = -1e4


class Aligner(nn.Module):
    """Scores of every phone at every frame.

    Args:
        symbols: rows of the phone table.
        mel_bins: of a frame.
        width: of both encoders.
        layers, heads: of both encoders.
        temperature: distances are multiplied by it.
    """

    def __init__(
        self,
        symbols: int,
        mel_bins: int,
        width: int = 256,
        layers: int = 2,
        heads: int = 4,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.embedding = nn.Embedding(symbols, width)
        self.mel_in = nn.Conv1d(mel_bins, width, 3, padding=1)

        def encoder() -> nn.TransformerEncoder:
            layer = nn.TransformerEncoderLayer(
                width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True
            )
            return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

        self.phones, self.frames = encoder(), encoder()
        self.key, self.query = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, ids: Tensor, mask: Tensor, mel: Tensor, real: Tensor) -> Tensor:
        """Score.

        Args:
            ids: (B, T) long; mask: (B, T) bool, True where real.
            mel: (B, F, mel); real: (B, F) bool.

        Returns:
            (B, F, T) log-probabilities over the phones of each frame.
        """
        keys = self.phones(self.embedding(ids), src_key_padding_mask=~mask)
        queries = self.mel_in(mel.transpose(1, 2)).transpose(1, 2)
        queries = self.frames(queries, src_key_padding_mask=~real)
        distance = torch.cdist(self.query(queries), self.key(keys)).square()
        scores = (-self.temperature * distance).masked_fill(~mask[:, None], BARRED)
        return torch.log_softmax(scores, dim=-1)


def diagonal_prior(frames: Tensor, phones: Tensor, scale: float = 1.0) -> Tensor:
    """Log of the beta-binomial prior: frames near the diagonal belong to phones near it.

    Args:
        frames, phones: (B,) lengths.
        scale: larger is narrower.

    Returns:
        (B, F, T), `BARRED` beyond the lengths.
    """
    longest, most = int(frames.max()), int(phones.max())
    f = torch.arange(1, longest + 1, dtype=torch.float64)[None, :, None]
    k = torch.arange(most, dtype=torch.float64)[None, None]
    n = (phones.double() - 1)[:, None, None]
    total = frames.double()[:, None, None]
    a, b = scale * f, (scale * (total + 1 - f)).clamp(min=1e-3)
    rest = (n - k).clamp(min=0.0)

    def log_beta(x: Tensor, y: Tensor) -> Tensor:
        return torch.lgamma(x) + torch.lgamma(y) - torch.lgamma(x + y)

    choose = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(rest + 1)
    prior = choose + log_beta(k + a, rest + b) - log_beta(a, b)
    known = (k <= n) & (f <= total)
    return prior.where(known, torch.full_like(prior, BARRED)).float()


def forward_sum_loss(scores: Tensor, phones: Tensor, frames: Tensor) -> Tensor:
    """Negative log-probability of all monotonic alignments that pass every phone.

    Args:
        scores: (B, F, T) log-probabilities, with or without the prior.
        phones, frames: (B,) lengths.
    """
    blank = scores.new_full((*scores.shape[:2], 1), BLANK)
    logits = torch.cat((blank, scores), dim=-1)
    past = torch.arange(logits.shape[2], device=scores.device) > phones[:, None]  # (B, T + 1)
    logits = logits.masked_fill(past[:, None], BARRED)
    targets = torch.arange(1, scores.shape[2] + 1, device=scores.device).expand(len(scores), -1)
    loss: Tensor = F.ctc_loss(
        torch.log_softmax(logits, dim=-1).transpose(0, 1),
        targets,
        frames,
        phones,
        zero_infinity=True,
    )
    return loss


def monotonic_search(scores: Tensor, phones: Tensor, frames: Tensor) -> Tensor:
    """Frames of each phone on the likeliest monotonic path; every phone has at least one.

    Args:
        scores: (B, F, T) log-probabilities.
        phones, frames: (B,) lengths, no more phones than frames.

    Returns:
        (B, T) long, summing to `frames`.
    """
    batch, longest, most = scores.shape
    best = scores.new_full((batch, most), -torch.inf)
    best[:, 0] = scores[:, 0, 0]
    came = torch.zeros(batch, longest, most, dtype=torch.bool)  # from the phone before
    for frame in range(1, longest):
        before = F.pad(best[:, :-1], (1, 0), value=-torch.inf)
        moved = before > best
        came[:, frame] = moved
        best = torch.where(moved, before, best) + scores[:, frame]
    counts = torch.zeros(batch, most, dtype=torch.long)
    rows, at = torch.arange(batch), phones.cpu() - 1
    lengths = frames.cpu()
    for frame in range(longest - 1, -1, -1):
        inside = frame < lengths
        counts[rows, at] += inside.long()
        at = torch.where(inside & came[rows, frame, at], at - 1, at)
    return counts


def binarisation_loss(scores: Tensor, counts: Tensor) -> Tensor:
    """Mean negative log-probability of the hard alignment; draws the soft one towards it.

    scores: (B, F, T) log-probabilities; counts: (B, T) frames of each phone.
    """
    picked = []
    for row, own in zip(scores, counts.to(scores.device), strict=True):
        owner = torch.repeat_interleave(torch.arange(len(own), device=own.device), own)
        picked.append(row[torch.arange(len(owner), device=own.device), owner])
    return -torch.cat(picked).mean()
