"""The speech-token language model: text ids and speech tokens in, the next speech token out.

Embeds the sequences of `sequences.py`, runs the hybrid stack and the speech head; `extend` and
`step` for decoding. It samples nothing and knows no audio.
Names and formulas after FunAudioLLM/CosyVoice, cosyvoice/llm/llm.py (Qwen2LM). The text head of
the published file is never built: nothing reads it.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.rows import PAD, SPECIAL, SPEECH, TEXT
from mamtra_cli.families.cosyvoice2.sequences import LMSequence
from mamtra_cli.layers.state import HybridState

INIT_STD = 0.02


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
