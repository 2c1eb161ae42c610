"""Stage 2: the speaker encoder, taught to tell the voices of the corpus apart."""

import argparse
from pathlib import Path

import numpy as np
import torch
from sentences import read
from sizes import SPEAKER
from torch import Tensor, nn
from torch.nn import functional as F

from loop import Losses, train  # isort: skip

from mamtra_cli.families.zonos.speaker_encoder import SpeakerEncoder, clip_mels

KINDS = ("closed", "open", "strings", "mixed", "natural")
BATCH, SAMPLES, RATE = 32, 36_000, 24_000
SCALE = 12.0  # of cosines, before they are compared


class SpeakerTrainer(nn.Module):
    """The encoder, and a direction for each voice."""

    def __init__(self, voices: int) -> None:
        super().__init__()
        self.encoder = SpeakerEncoder(SPEAKER)
        self.voices = nn.Parameter(torch.randn(voices, SPEAKER.lda))

    def forward(self, mels: Tensor) -> Tensor:
        """Scores (B, voices) of mels (B, M, F)."""
        return SCALE * F.normalize(self.encoder(mels)) @ F.normalize(self.voices).T


def main() -> None:
    """Train the encoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, default=Path("work/zonos-small"))
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = read(args.corpus, args.out / "phones.json", KINDS)
    rows = [each for each in rows if each.sentence.samples >= SAMPLES]
    voices = sorted({each.sentence.voice for each in rows})
    by_voice = [[each for each in rows if each.sentence.voice == voice] for voice in voices]
    model = SpeakerTrainer(len(voices))

    def batch_loss(step: int) -> Losses:
        rng = np.random.default_rng(step)
        chosen = rng.integers(0, len(voices), BATCH)
        waves = []
        for voice in chosen:
            each = by_voice[voice][rng.integers(0, len(by_voice[voice]))]
            wave = each.wave()
            start = int(rng.integers(0, max(1, len(wave) - SAMPLES)))
            part = wave[start : start + SAMPLES]
            waves.append(F.pad(part, (0, SAMPLES - len(part))))
        scores = model(clip_mels(torch.stack(waves), RATE, SPEAKER.n_mels))
        truth = torch.from_numpy(chosen)
        right = (scores.argmax(1) == truth).float().mean()
        return {"loss": F.cross_entropy(scores, truth), "right": right}

    train("speaker", model, batch_loss, out=args.out, steps=args.steps, lr=2e-3)


if __name__ == "__main__":
    main()
