"""Pronunciations for words that no lexicon has: a small convolutional network over letters.

Every letter emits one of a fixed list of outputs, each of zero, one or two phones (`x` in `box`
emits `k s`), so a word comes out whole and in order, never repeated and never cut. The alignment
that makes this a per-letter classification is made by the training program, which is not known
here. Idea of one-to-many letter alignments: Black, Lenzo and Pagel, "Issues in building general
letter to sound rules", 1998, section 3.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.config import parse_json
from mamtra_cli.errors import CheckpointError

ALPHABET = "abcdefghijklmnopqrstuvwxyz'"


@dataclass(frozen=True, kw_only=True)
class LetterConfig:
    """Sizes of the network and what its outputs mean.

    Args:
        outputs: phones of each output, separated by spaces; `""` for a silent letter.
    """

    outputs: tuple[str, ...]
    width: int = 112
    blocks: int = 4
    kernel: int = 7
    expansion: int = 2


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


class LetterToSound(nn.Module):
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

    @torch.inference_mode()
    def pronounce(self, word: str) -> list[str]:
        """Give the phones of a word of `a` to `z` and apostrophes; stressed vowels end in 1."""
        scores = self(encode([word]))[0].float().log_softmax(-1)
        return self._stressed(scores, scores.argmax(-1))

    def _stressed(self, scores: Tensor, best: Tensor) -> list[str]:
        """Read a path of outputs (L,), moving a vowel to the likeliest stress if it has none."""
        outputs = self.config.outputs
        chosen = [outputs[index] for index in best.tolist()]
        if any("1" in output for output in chosen):
            return " ".join(chosen).split()
        vowels = [
            i for i, phone in enumerate(chosen) if any(p[0] in "aeiou" for p in phone.split())
        ]
        stressed = [i for i, output in enumerate(outputs) if "1" in output]
        if vowels and stressed:
            loss = scores[vowels].max(-1, keepdim=True).values - scores[vowels][:, stressed]
            place, output = divmod(int(loss.argmin()), len(stressed))
            chosen[vowels[place]] = outputs[stressed[output]]
        return " ".join(chosen).split()

    def save(self, path: Path) -> None:
        """Write weights in float16 with the configuration in the metadata."""
        tensors = {name: value.half().contiguous() for name, value in self.state_dict().items()}
        meta = {"format_version": "1", "config": json.dumps(asdict(self.config))}
        save_file(tensors, path, metadata=meta)
        path.chmod(0o644)

    @classmethod
    def load(cls, path: Path) -> "LetterToSound":
        """Read a network that `save` wrote.

        Raises:
            CheckpointError: the file is missing, damaged or of another shape.
        """
        try:
            with safe_open(path, framework="pt") as file:
                values = parse_json((file.metadata() or {})["config"])
                values["outputs"] = tuple(values["outputs"])
                model = cls(LetterConfig(**values))
                tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            model.load_state_dict(tensors)
        except FileNotFoundError:
            raise CheckpointError(f"no letter-to-sound file `{path}`") from None
        except Exception as error:
            raise CheckpointError(
                f"letter-to-sound file `{path}` cannot be used: {error}",
                "install the package again, or build it with `examples/mini/front_end.py`",
            ) from error
        return model.eval()


def encode(words: Sequence[str]) -> Tensor:
    """Letter ids (B, L) of words, 0 as padding; other characters are a `ValueError`."""
    longest = max(map(len, words))
    rows = []
    for word in words:
        if not word or set(word) - set(ALPHABET):
            raise ValueError(f"letter-to-sound takes words of a-z and ', got `{word}`")
        rows.append([ALPHABET.index(c) + 1 for c in word] + [0] * (longest - len(word)))
    return torch.tensor(rows)
