"""A language model of frames of K ids, and the same as something to be taught."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.families.lessons import IGNORE, Example, Layout, pack
from mamtra_cli.layers.mixer_config import MixerConfig

LETTERS = "abcdefghijklmnopqrstuvwxyz '.,?"


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Sizes: `codes` ids a codebook, the one after them ends the speech."""

    codebooks: int = 3
    codes: int = 16
    width: int = 32
    layers: int = 4
    kinds: str = ""
    mixer: dict[str, Any] = field(default_factory=dict)

    @property
    def hybrid(self) -> HybridConfig:
        """The stack."""
        return HybridConfig(
            d_model=self.width, n_layers=self.layers, n_heads=4, n_kv_heads=2, head_dim=8, d_ff=48,
            kinds=self.kinds, mixer=MixerConfig.from_dict(self.mixer),
        )  # fmt: skip


class ToyLM(nn.Module):
    """Letters, then frames: the sum of K rows in, K ids out."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.text = nn.Embedding(len(LETTERS), config.width)
        self.sound = nn.Embedding(config.codebooks * (config.codes + 1), config.width)
        self.stack = HybridStack(config.hybrid)
        size = (config.codebooks, config.codes + 1)
        self.heads = nn.Sequential(
            nn.Linear(config.width, size[0] * size[1]), nn.Unflatten(-1, size)
        )

    def embed(self, text: Tensor, frames: Tensor) -> Tensor:
        """text: (B, T) letters, -1 for none; frames: (B, T, K) ids, -1 for none: (B, T, D)."""
        rows = frames + torch.arange(self.config.codebooks) * (self.config.codes + 1)
        sound = self.sound(rows.where(frames >= 0, 0)) * (frames >= 0)[..., None]
        return self.text(text.clamp_min(0)) * (text >= 0)[..., None] + sound.sum(-2)


class ToyLessons:
    """See `families.lessons.Lessons`: the last letter predicts the first frame."""

    in_turns = False

    def __init__(self, lm: ToyLM) -> None:
        self.lm, self.stack, self.heads = lm, lm.stack, lm.heads
        self.tables = (lm.text, lm.sound)

    def size(self, example: Example) -> int:
        """Letters and frames."""
        return len(example.text_ids) + example.frames

    def count(self, example: Example, *, turns: bool = False) -> int:
        """Every id of every frame, and an end in each codebook."""
        return len(example.tokens) + example.codebooks

    def lay_out(
        self, examples: Sequence[Example], *, turns: Sequence[bool] = (), packed: bool = False
    ) -> Layout:
        """Text, frames and targets, padded or packed."""
        k, end = self.lm.config.codebooks, self.lm.config.codes
        rows = []
        for example in examples:
            said = torch.tensor(example.tokens).view(-1, k)
            none = torch.full((len(example.text_ids), k), -1)
            text = torch.tensor([*example.text_ids, *[-1] * len(said)])
            targets = torch.cat((none[1:], said, torch.full((1, k), end)))
            targets = targets.where(targets >= 0, IGNORE)
            rows.append((text, torch.cat((none, said)), targets, torch.ones(len(text))))
        lengths = [len(text) for text, *_ in rows]
        packing = pack(lengths)
        columns = zip(*rows, strict=True)
        *padded, real = [nn.utils.rnn.pad_sequence(list(part), True, -1) for part in columns]
        where = [(i, slice(0, length)) for i, length in enumerate(lengths)]
        if packed:
            padded = [packing.lay(part, -1) for part in padded]
            real, where = packing.lay(real, -1), list(packing.rows)
        return Layout(
            inputs=(padded[0], padded[1]),
            positions=None,
            targets=padded[2].where(real[..., None] > 0, IGNORE),
            real=real > 0,
            seq_idx=packing.seq_idx() if packed else None,
            rows=where,
        )

    def embed(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """(B, T, D)."""
        return self.lm.embed(*inputs)

    def around(self, stack: HybridStack) -> "ToyLessons":
        """The same tables and heads around other layers."""
        kinds, mixer = stack.config.layer_kinds, stack.config.mixer.to_dict()
        with torch.device("meta"):
            lm = ToyLM(replace(self.lm.config, kinds=kinds, mixer=mixer))
        lm.stack, lm.text, lm.sound, lm.heads = stack, self.lm.text, self.lm.sound, self.heads
        return ToyLessons(lm.eval().requires_grad_(False))
