"""Pronunciations for words that no lexicon has: a small convolutional network over letters.

Every letter emits one of a fixed list of outputs, each of zero, one or two phones (`x` in `box`
emits `k s`), so a word comes out whole and in order, never repeated and never cut. The alignment
that makes this a per-letter classification is made by the training program, which is not known
here, nor is the network as it is trained (letter_network.py): a word is read in numpy. Idea of
one-to-many letter alignments: Black, Lenzo and Pagel, "Issues in building general letter to sound
rules", 1998, section 3.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from mamtra_cli.config import parse_json
from mamtra_cli.errors import CheckpointError

Array = NDArray[np.float32]
NORM_EPS = 1e-5
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


class LetterToSound:
    """The network, word by word.

    Args:
        config: its sizes and outputs.
        weights: by the names of `letter_network.LetterNetwork`.
    """

    def __init__(self, config: LetterConfig, weights: Mapping[str, Array]) -> None:
        self.config = config
        self.weights = weights

    def scores(self, word: str) -> Array:
        """Scores (L, n_outputs) of the outputs of each letter of a word."""
        weights = self.weights
        x = weights["embed.weight"][letter_ids(word)]
        for index in range(self.config.blocks):
            if index == self.config.blocks // 2:
                # Stress and vowel length depend on the whole word, beyond a kernel's reach.
                x = x + self._linear("whole", x.mean(0, keepdims=True))
            name = f"blocks.{index}"
            mixed = self._normed(f"{name}.norm", self._mixed(f"{name}.conv", x))
            x = x + self._linear(f"{name}.down", _gelu(self._linear(f"{name}.up", mixed)))
        return self._linear("head", self._normed("norm", x))

    def pronounce(self, word: str) -> list[str]:
        """Give the phones of a word of `a` to `z` and apostrophes; stressed vowels end in 1."""
        scores = self.scores(word)
        scores = scores - scores.max(-1, keepdims=True)
        scores = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
        outputs = self.config.outputs
        chosen = [outputs[index] for index in scores.argmax(-1).tolist()]
        if any("1" in output for output in chosen):
            return " ".join(chosen).split()
        # Moves a vowel to the likeliest stress, where no vowel has one.
        vowels = [
            i for i, phone in enumerate(chosen) if any(p[0] in "aeiou" for p in phone.split())
        ]
        stressed = [i for i, output in enumerate(outputs) if "1" in output]
        if vowels and stressed:
            loss = scores[vowels].max(-1, keepdims=True) - scores[vowels][:, stressed]
            place, output = divmod(int(loss.argmin()), len(stressed))
            chosen[vowels[place]] = outputs[stressed[output]]
        return " ".join(chosen).split()

    def _linear(self, name: str, x: Array) -> Array:
        y: Array = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return y

    def _normed(self, name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        unit = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(NORM_EPS))
        y: Array = unit * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]
        return y

    def _mixed(self, name: str, x: Array) -> Array:
        """The depthwise convolution over the letters (L, W)."""
        taps = self.weights[f"{name}.weight"][:, 0]  # (W, kernel)
        side = taps.shape[1] // 2
        seen = np.lib.stride_tricks.sliding_window_view(
            np.pad(x, ((side, side), (0, 0))), taps.shape[1], axis=0
        )
        y: Array = np.einsum("lwk,wk->lw", seen, taps) + self.weights[f"{name}.bias"]
        return y

    @classmethod
    def load(cls, path: Path) -> "LetterToSound":
        """Read a network that `LetterNetwork.save` wrote.

        Raises:
            CheckpointError: the file is missing, damaged or of another shape.
        """
        try:
            with safe_open(path, framework="np") as file:
                values = parse_json((file.metadata() or {})["config"])
                values["outputs"] = tuple(values["outputs"])
                weights = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
            model = cls(LetterConfig(**values), weights)
            if model.scores("a").shape != (1, len(model.config.outputs)):
                raise ValueError("its outputs are not those of its list")
        except FileNotFoundError:
            raise CheckpointError(f"no letter-to-sound file `{path}`") from None
        except Exception as error:
            raise CheckpointError(
                f"letter-to-sound file `{path}` cannot be used: {error}",
                "install the package again, or build it with `examples/mini/front_end.py`",
            ) from error
        return model


def letter_ids(word: str) -> list[int]:
    """Ids of the letters of a word, from 1; other characters are a `ValueError`."""
    if not word or set(word) - set(ALPHABET):
        raise ValueError(f"letter-to-sound takes words of a-z and ', got `{word}`")
    return [ALPHABET.index(letter) + 1 for letter in word]


def _gelu(x: Array) -> Array:
    """The exact GELU; a word is short enough to go through it value by value."""
    risen = [0.5 * value * (1.0 + math.erf(value / math.sqrt(2.0))) for value in x.ravel().tolist()]
    return np.array(risen, np.float32).reshape(x.shape)
