"""The letter-to-sound network as it is trained; speaking reads its file without torch
(letter_to_sound.py, the same formulas)."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.text.letter_to_sound import ALPHABET, LetterConfig, letter_ids


class _Block(nn.Module):
    """Depthwise convolution over letters and a two-layer perceptron, residual."""

    def __init__(self, config: LetterConfig) -> None:
        super().__init__()
        width = config.width
        self.conv = nn.Conv1d(width, width, config.kernel, padding=config.kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width * config.expansion)
        self.down = nn.Linear(width * config.expansion, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, W) and mask (B, L, 1) to (B, L, W)."""
        mixed = self.conv((x * mask).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.down(F.gelu(self.up(self.norm(mixed))))
        return out


class LetterNetwork(nn.Module):
    """Letters (B, L) to scores of outputs (B, L, n_outputs)."""

    def __init__(self, config: LetterConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(len(ALPHABET) + 1, config.width)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.blocks))
        self.whole = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, len(config.outputs))

    def forward(self, letters: Tensor) -> Tensor:
        """Score the outputs of each letter; letters (B, L) long with 0 as padding."""
        mask = (letters > 0).unsqueeze(-1).float()
        x = self.embed(letters)
        middle = len(self.blocks) // 2
        for index, block in enumerate(self.blocks):
            if index == middle:
                # Stress and vowel length depend on the whole word, beyond a kernel's reach.
                mean = (x * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
                x = x + self.whole(mean)
            x = block(x, mask)
        out: Tensor = self.head(self.norm(x))
        return out

    def save(self, path: Path) -> None:
        """Write weights in float16 with the configuration in the metadata."""
        tensors = {name: value.half().contiguous() for name, value in self.state_dict().items()}
        meta = {"format_version": "1", "config": json.dumps(asdict(self.config))}
        save_file(tensors, path, metadata=meta)
        path.chmod(0o644)


def encode(words: Sequence[str]) -> Tensor:
    """Letter ids (B, L) of words, 0 as padding; other characters are a `ValueError`."""
    rows = [letter_ids(word) for word in words]
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])
