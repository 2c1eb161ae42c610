"""The speech-token language model: text ids and speech tokens in, the next speech token out.

Embeds the sequences of `lm_batch.py`, runs the hybrid stack and the speech head; the loss of
teacher forcing; `prefill` and `step` for decoding. It samples nothing and knows no audio.
Names and formulas after FunAudioLLM/CosyVoice, cosyvoice/llm/llm.py (Qwen2LM). The text head of
the published file is never built: nothing reads it.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.rows import PAD, SPECIAL, SPEECH, TEXT
from mamtra_cli.families.cosyvoice2.sequences import LMBatch, LMSequence
from mamtra_cli.families.lessons import IGNORE
from mamtra_cli.layers.state import HybridState

INIT_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class LMOutput:
    """What one teacher-forced pass gives; M is the number of targets in the batch.

    hidden: (B, T, D) after the final norm.
    logits: (M, V) of the positions that have a target, in batch order.
    targets: (M,) long.
    captured: the input (B, T, D) of each layer asked for.
    """

    hidden: Tensor
    logits: Tensor
    targets: Tensor
    captured: Mapping[int, Tensor] = field(default_factory=dict)


class SpeechLM(nn.Module):
    """Qwen2-shaped stack between two embedding tables and a speech head.

    Args:
        config: sizes, layer kinds and the kind of positions.
    """

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.config = config
        # The published names nest the stack as llm.model.model.
        inner = nn.ModuleDict({"model": HybridStack(config.hybrid)})
        self.llm = nn.ModuleDict({"model": inner})
        self.llm_embedding = nn.Embedding(2, config.d_model)
        self.llm_decoder = nn.Linear(config.d_model, config.head_size)
        self.speech_embedding = nn.Embedding(config.head_size, config.d_model)
        for module in (self.llm_embedding, self.llm_decoder, self.speech_embedding):
            nn.init.normal_(module.weight, std=INIT_STD)

    @property
    def stack(self) -> HybridStack:
        """The hybrid stack."""
        return cast(HybridStack, cast(nn.ModuleDict, self.llm["model"])["model"])

    def embed(self, sequence: LMSequence) -> Tensor:
        """Look each position up in its table.

        Returns:
            (B, T, D); zeros where padded.
        """
        ids, tables = sequence.ids, sequence.tables
        x = self.speech_embedding.weight.new_zeros(())
        for table, module in (
            (SPEECH, self.speech_embedding),
            (TEXT, self.stack.embed_tokens),
            (SPECIAL, self.llm_embedding),
        ):
            here = tables == table
            x = torch.where(here[..., None], module(ids.where(here, 0)), x)  # (B, T, D)
        return x

    def forward(
        self, batch: LMBatch, *, inputs: Tensor | None = None, capture: Collection[int] = ()
    ) -> LMOutput:
        """Run one teacher-forced batch; the head only sees positions that have a target.

        Args:
            batch: sequences and targets, on the model's device.
            inputs: (B, T, D) to use in place of `embed(batch)`.
            capture: layers whose input is wanted.
        """
        x = self.embed(batch) if inputs is None else inputs
        # Padding is on the right: a causal stack never lets it reach a real position.
        out = self.stack(x, positions=batch.positions, capture=capture, keep_state=False)
        wanted = batch.targets != IGNORE
        return LMOutput(
            hidden=out.hidden,
            logits=self.llm_decoder(out.hidden[wanted]),
            targets=batch.targets[wanted],
            captured=out.captured,
        )

    @torch.no_grad()
    def extend(
        self, sequence: LMSequence, state: HybridState | None = None
    ) -> tuple[Tensor, HybridState]:
        """Read sequences whole (prefill), or read on from a state, which stays as it was.

        The state counts or assigns the position of what follows: one after the last, which is
        the task id or a speech token.

        Returns:
            (B, V) float32 log-probabilities of the next token; the new state.
        """
        padded = sequence.tables == PAD
        out = self.stack(
            self.embed(sequence),
            state,
            positions=sequence.positions,
            pad_mask=~padded if bool(padded.any()) else None,
        )
        last = (sequence.lengths - 1)[:, None, None].expand(-1, 1, out.hidden.shape[2])
        return self._scores(out.hidden.gather(1, last)[:, 0]), out.state

    @torch.no_grad()
    def step(self, tokens: Tensor, state: HybridState) -> tuple[Tensor, HybridState]:
        """Read one speech token a row. Uses `state` up: keep a `clone` to go back to it.

        Args:
            tokens: (B,) long.
            state: of `extend` or `step`; with room reserved, no memory moves.

        Returns:
            (B, V) float32 log-probabilities of the next token; the new state.
        """
        out = self.stack.step(self.speech_embedding(tokens[:, None]), state)
        return self._scores(out.hidden[:, -1]), out.state

    def _scores(self, hidden: Tensor) -> Tensor:
        return F.log_softmax(self.llm_decoder(hidden).float(), dim=-1)


def speech_loss(
    logits: Tensor, targets: Tensor, *, smoothing: float = 0.0, rows: int | None = None
) -> Tensor:
    """Divergence from the (smoothed) targets, in nats per target.

    The smoothed distribution has `1 - smoothing` on the label and the rest in equal parts on
    the V - 1 other ids.

    Args:
        logits: (M, V).
        targets: (M,) long.
        smoothing: 0 for plain cross entropy.
        rows: divide the sum by this many sequences instead of by M.
    """
    scores = F.log_softmax(logits.float(), dim=-1)
    label = scores.gather(-1, targets[:, None])[:, 0]  # (M,)
    loss = -label
    if smoothing:
        other = smoothing / (logits.shape[-1] - 1)
        spread = scores.sum(-1) - label
        # The entropy of the target keeps the minimum at zero, as a KL divergence has it.
        entropy = _xlogx(1 - smoothing) + smoothing * math.log(other)
        loss = entropy - (1 - smoothing) * label - other * spread
    return loss.sum() / (loss.numel() if rows is None else rows)


def _xlogx(value: float) -> float:
    return value * math.log(value) if value > 0 else 0.0


def accuracy(logits: Tensor, targets: Tensor) -> Tensor:
    """Share of targets (M,) that are the arg-max of their logits (M, V)."""
    return (logits.argmax(-1) == targets).float().mean()
