"""Speech tokens to mel by conditional flow matching: conditioning, solver, noise, training loss.

The noise of a frame depends on nothing but its index, counted from the start of the prompt; it
comes from private generators, so no global random state is read or written. Knows no waveform
and no streaming schedule (token2wav.py). Attribute names give the published state-dict keys.
Source: the flow and flow-matching modules of FunAudioLLM/CosyVoice, rewritten from their formulas.
"""

import functools
import math
from collections import deque
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mamtra_cli.codecs.flow_hift.chunk_mask import lengths_to_mask
from mamtra_cli.codecs.flow_hift.config import FlowConfig
from mamtra_cli.codecs.flow_hift.flow_encoder import FlowEncoder
from mamtra_cli.codecs.flow_hift.flow_estimator import FlowEstimator
from mamtra_cli.codecs.flow_hift.noise import block_frames, spans
from mamtra_cli.codecs.flow_hift.past import NOTHING, Continuing, Heard, Past

SIGMA_MIN = 1e-6
DROP_CONDITION = 0.2
PROMPT_SHARE = 0.3
PROMPT_PROBABILITY = 0.5
STREAMING_PROBABILITY = 0.5


@functools.lru_cache(maxsize=3)
def noise_block(index: int, mel_bins: int = 80) -> Tensor:
    """Make one block of the fixed noise: block 0 is the published tensor, 15,000 frames.

    The published model fails beyond it; we go on with blocks of 1,000 frames, block n seeded
    with n. They are small, so that what is kept of them does not grow long speech.

    Returns:
        (1, mel, 15000 or 1000) float32 on the CPU. Shared: do not write to it.
    """
    generator = torch.Generator().manual_seed(index)
    return torch.randn((1, mel_bins, block_frames(index)), generator=generator)


def fixed_noise(start: int, stop: int, mel_bins: int = 80) -> Tensor:
    """Cut frames start..stop out of the fixed noise: (1, mel, stop-start) float32, CPU."""
    pieces = [
        noise_block(index, mel_bins)[:, :, first:end] for index, first, end in spans(start, stop)
    ]
    return torch.cat(pieces, dim=2) if pieces else torch.empty((1, mel_bins, 0))


def time_grid(steps: int) -> Tensor:
    """Times 1 - cos(k/steps * pi/2), k = 0..steps: (steps+1,) float32, denser near the noise."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    return 1 - torch.cos(torch.linspace(0, 1, steps + 1) * 0.5 * math.pi)


class FlowMatching(nn.Module):
    """Euler solver with classifier-free guidance around the estimator, and its training loss."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.estimator = FlowEstimator(config.estimator, config.mel_bins, spans=config.has_spans)

    def solve(
        self,
        mu: Tensor,
        spks: Tensor,
        cond: Tensor,
        noise: Tensor,
        *,
        streaming: bool,
        steps: int | None = None,
        guidance: float | None = None,
        pasts: Sequence[Past] | None = None,
    ) -> Tensor:
        """Integrate from noise to mel.

        Args:
            mu, cond: (B, mel, T).
            noise: (B, mel, T) standard normal; scaled by the configured temperature.
            spks: (B, mel).
            streaming: use the chunk mask.
            steps: Euler steps; `None` for the configured number.
            guidance: strength of the guidance; 0 evaluates one row a step instead of two.
            pasts: what stands before the frames, for each step; `None` for nothing.

        Returns:
            (B, mel, T) float32.
        """
        path = self.path(
            mu, spks, cond, noise, streaming=streaming, steps=steps, guidance=guidance, pasts=pasts
        )
        _, x = deque(path, maxlen=1).pop()
        return x

    def path(
        self,
        mu: Tensor,
        spks: Tensor,
        cond: Tensor,
        noise: Tensor,
        *,
        streaming: bool,
        steps: int | None = None,
        guidance: float | None = None,
        pasts: Sequence[Past] | None = None,
        mask: Tensor | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Tell where the solver stands, at the start and after each step; see `solve`.

        Args:
            mask: (B, T) bool, True = real; `None` if nothing is padded.

        Yields:
            the time, a scalar float32 on the CPU, and (B, mel, T) float32.
        """
        steps = self.config.steps if steps is None else steps
        rate = self.config.cfg_rate if guidance is None else guidance
        if rate and self.config.has_spans:
            raise ValueError("a flow of mean velocities has its guidance in its weights")
        rows, dtype = mu.shape[0], self.estimator.final_proj.weight.dtype
        mu, spks, cond = mu.to(dtype), spks.to(dtype), cond.to(dtype)
        if rate:
            mu, spks, cond = (torch.cat((v, torch.zeros_like(v))) for v in (mu, spks, cond))
            mask = None if mask is None else torch.cat((mask, mask))
        grid = time_grid(steps)
        # The published accumulation: the step is corrected by what t really became.
        t, dt = grid[0], grid[1] - grid[0]
        x = noise.float() * self.config.temperature
        yield t, x
        for k in range(1, steps + 1):
            times = t.to(x.device).expand(mu.shape[0])
            noisy = (torch.cat((x, x)) if rate else x).to(dtype)
            past = NOTHING if pasts is None else pasts[k - 1]
            end = (t + dt).to(x.device).expand(mu.shape[0]) if self.config.has_spans else None
            v = self.estimator(
                noisy, mu, times, spks, cond, r=end, mask=mask, streaming=streaming, past=past
            ).float()
            if rate:
                v = (1.0 + rate) * v[:rows] - rate * v[rows:]
            x = x + dt.to(x.device) * v
            t = t + dt
            yield t, x
            if k < steps:
                dt = grid[k + 1] - t

    def loss(
        self,
        mel: Tensor,
        mask: Tensor,
        mu: Tensor,
        spks: Tensor,
        cond: Tensor,
        *,
        streaming: bool,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Flow-matching loss of one batch.

        Args:
            mel, mu, cond: (B, mel, T).
            mask: (B, T) bool, True = real.
            spks: (B, mel).
            streaming: use the chunk mask.
            generator: CPU generator of every draw.

        Returns:
            scalar float32.
        """
        batch = mel.shape[0]
        t = torch.rand((batch,), generator=generator).to(mel.device)
        z = torch.randn(mel.shape, generator=generator).to(mel.device) * self.config.temperature
        keep = (torch.rand((batch,), generator=generator) > DROP_CONDITION).to(mel.device)
        mu, cond = mu * keep[:, None, None], cond * keep[:, None, None]
        spks = spks * keep[:, None]
        s = t[:, None, None]
        y = (1 - (1 - SIGMA_MIN) * s) * z + s * mel
        u = mel - (1 - SIGMA_MIN) * z
        v = self.estimator(y, mu, t, spks, cond, mask=mask, streaming=streaming)
        error = (v.float() - u).square() * mask[:, None, :]
        mean: Tensor = error.sum() / (mask.sum() * mel.shape[1])
        return mean


class Flow(nn.Module):
    """Tokens, a prompt and a speaker to mel."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.input_embedding = nn.Embedding(config.vocab_size, config.encoder.width)
        self.spk_embed_affine_layer = nn.Linear(config.speaker_dim, config.mel_bins)
        self.encoder = FlowEncoder(config.encoder)
        self.encoder_proj = nn.Linear(config.encoder.width, config.mel_bins)
        self.decoder = FlowMatching(config)

    @property
    def ratio(self) -> int:
        """Mel frames a token."""
        return self.config.encoder.upsample

    def solve_in(self, dtype: torch.dtype) -> None:
        """Let the estimator compute in this type; encoder, solver and mel stay as they are."""
        self.decoder.estimator.to(dtype)

    def speaker(self, vector: Tensor) -> Tensor:
        """(B, speaker_dim) to (B, mel): unit length, then linear."""
        affine = self.spk_embed_affine_layer
        y: Tensor = affine(F.normalize(vector.float(), dim=1).to(affine.weight.dtype))
        return y

    def encode(
        self, ids: Tensor, lens: Tensor | None = None, *, streaming: bool, finalize: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        """Turn token ids into mel means.

        Args:
            ids: (B, N); negative ids count as 0.
            lens: (B,) real lengths or `None`.
            streaming: use chunk masks.
            finalize: False keeps the last `lookahead` ids as context without output.

        Returns:
            means (B, mel, T) and mask (B, T) bool or `None`.
        """
        embedded = self.input_embedding(ids.clamp(min=0))
        context = None
        if not finalize:
            ahead = self.config.encoder.lookahead
            if ids.shape[1] <= ahead:
                raise ValueError(f"need more than {ahead} ids to look ahead, got {ids.shape[1]}")
            embedded, context = embedded[:, :-ahead], embedded[:, -ahead:]
        if lens is not None:
            embedded = embedded * lengths_to_mask(lens, ids.shape[1])[:, :, None]
        h, mask = self.encoder(
            embedded, lens, streaming=streaming, context=context, blank_padding=True
        )
        return self.encoder_proj(h).transpose(1, 2), mask

    @torch.no_grad()
    def inference(
        self,
        token: Tensor,
        prompt_token: Tensor,
        prompt_mel: Tensor,
        speaker: Tensor,
        *,
        streaming: bool = False,
        finalize: bool = True,
        steps: int | None = None,
        guidance: float | None = None,
        noise: Tensor | None = None,
        heard: Heard | None = None,
    ) -> Tensor:
        """Speak tokens as mel, the prompt removed.

        Args:
            token: (1, N).
            prompt_token: (1, P), P may be 0.
            prompt_mel: (1, ratio*P, mel).
            speaker: (1, speaker_dim).
            streaming: use chunk masks.
            finalize: False keeps the last `lookahead` tokens as context without output.
            steps, guidance: of the solver; `None` for the configured ones.
            noise: (1, mel, T) for prompt and output; `None` for the fixed noise.
            heard: the beginning of the prompt, heard by the same solver; for chunk masks.

        Returns:
            (1, mel, ratio*N), or ratio*lookahead frames fewer if not finalize.
        """
        frames = prompt_mel.shape[1]
        if frames != self.ratio * prompt_token.shape[1]:
            raise ValueError(
                f"prompt mel {tuple(prompt_mel.shape)} does not fit "
                f"prompt tokens {tuple(prompt_token.shape)}"
            )
        ids = torch.cat((prompt_token, token), dim=1)
        mu, _ = self.encode(ids, streaming=streaming, finalize=finalize)
        if noise is None:
            noise = fixed_noise(0, mu.shape[2], self.config.mel_bins)
        cond = F.pad(prompt_mel.transpose(1, 2), (0, mu.shape[2] - frames))
        known = 0 if heard is None else heard.frames
        mel = self.decoder.solve(
            mu[:, :, known:],
            self.speaker(speaker),
            cond[:, :, known:],
            noise[:, :, known:].to(mu.device),
            streaming=streaming,
            steps=steps,
            guidance=guidance,
            pasts=None if heard is None else [Continuing(kept, known) for kept in heard.steps],
        )
        return mel[:, :, frames - known :]

    def loss(
        self,
        token: Tensor,
        token_len: Tensor,
        mel: Tensor,
        mel_len: Tensor,
        speaker: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Training loss of one padded batch.

        Per sample the guidance dropout and a random known beginning of the mel are drawn, per
        batch whether chunk masks apply. Frames beyond ratio*token_len are ignored.

        Args:
            token: (B, N); token_len: (B,).
            mel: (B, T, mel); mel_len: (B,).
            speaker: (B, speaker_dim).
            generator: CPU generator of every draw; `None` for the global one.

        Returns:
            scalar float32.
        """
        streaming = bool(torch.rand((), generator=generator) < STREAMING_PROBABILITY)
        mu, _ = self.encode(token, token_len, streaming=streaming)
        size = min(mu.shape[2], mel.shape[1])
        target, mu = mel[:, :size].transpose(1, 2).float(), mu[:, :, :size]
        lens = torch.minimum(token_len * self.ratio, mel_len).clamp(max=size)
        mask = lengths_to_mask(lens, size)
        draws = torch.rand((2, token.shape[0]), generator=generator).to(mel.device)
        known = (draws[0] * PROMPT_SHARE * lens).long() * (draws[1] < PROMPT_PROBABILITY)
        cond = target * lengths_to_mask(known, size)[:, None, :]
        return self.decoder.loss(
            target,
            mask,
            mu,
            self.speaker(speaker),
            cond,
            streaming=streaming,
            generator=generator,
        )
