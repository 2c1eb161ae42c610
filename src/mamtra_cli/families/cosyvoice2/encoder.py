"""Speech to the model's tokens and speaker vectors, many clips at a time.

The encoders are parts of the model: `mini` has its own, the published model ONNX graphs. Batches
are of like length and hold a bounded number of frames. Knows waves and ids; nothing of files or
texts. See `families.base.SpeechEncoder`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mamtra_cli.audio import LISTENING_RATE, Samples
from mamtra_cli.features import fbank80, logmel128

HOP = 160
FRAMES = 12_000  # padded log-mel frames of a batch: two minutes of speech

Tokens = NDArray[np.int32]
Vector = NDArray[np.float32]


class TokenEncoder:
    """The model's speech tokenizer and, where it has one, its speaker encoder.

    Args:
        tokenizer, speaker: modules of ours or ONNX graphs, which have the same calls.
        device: of them.
        frames: padded frames of a batch at most; a longer clip goes alone.
    """

    rate = LISTENING_RATE
    least = 400  # one frame of the filter bank

    def __init__(
        self,
        tokenizer: nn.Module,
        speaker: nn.Module | None,
        device: torch.device,
        *,
        frames: int = FRAMES,
    ) -> None:
        self.tokenizer: Any = tokenizer
        self.speaker: Any = speaker
        self.device = device
        self.frames = frames

    def encode(self, waves: Sequence[Samples]) -> list[tuple[Tokens, Vector | None]]:
        """Encode clips (S,) float32 at 16 kHz, of `least` samples or more: tokens and speaker.

        What comes of a clip does not depend on its company.
        """
        results: dict[int, tuple[Tokens, Vector | None]] = {}
        with torch.inference_mode():
            for indices in self._batches([len(wave) for wave in waves]):
                chosen = [torch.from_numpy(waves[index]) for index in indices]
                pairs = zip(self._tokens(chosen), self._speakers(chosen), strict=True)
                results.update(zip(indices, pairs, strict=True))
        return [results[index] for index in range(len(waves))]

    def _batches(self, samples: Sequence[int]) -> Iterator[list[int]]:
        """Cut indices, sorted by length, into batches of at most `frames` padded frames."""
        batch: list[int] = []
        for index in sorted(range(len(samples)), key=lambda index: samples[index]):
            if batch and (len(batch) + 1) * (samples[index] // HOP) > self.frames:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def _tokens(self, waves: Sequence[Tensor]) -> list[Tokens]:
        padded, lengths = _pad([logmel128(wave).T for wave in waves])
        mel = padded.transpose(1, 2).to(self.device)
        codes, counts = self.tokenizer.encode(mel, lengths.to(self.device))
        rows = zip(codes.cpu(), counts.tolist(), strict=True)
        return [row[:count].numpy().astype(np.int32) for row, count in rows]

    def _speakers(self, waves: Sequence[Tensor]) -> list[Vector | None]:
        if self.speaker is None:
            return [None] * len(waves)
        padded, lengths = _pad([fbank80(wave, subtract_mean=True) for wave in waves])
        vectors = self.speaker(padded.to(self.device), lengths.to(self.device))
        return list(vectors.float().cpu().numpy())


def _pad(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pad rows (T, F) with zeros: (B, T, F) and (B,) lengths."""
    lengths = torch.tensor([len(row) for row in rows])
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True), lengths
