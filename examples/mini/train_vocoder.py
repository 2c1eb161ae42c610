"""Stage 7: the source-filter vocoder, without an adversary.

Each step draws from the main voices, the others, and, where synthesizers teach, natural speech
(`natural.py`), which keeps the vocoder from learning the flaws of one of them. A share of what has
one is read as the flow's mel (`flow_mels.py`), which lies on the time axis of the true speech.
Losses: log-magnitude and spectral convergence at four resolutions, mels at three of them
(what a listener of cepstra hears; these weigh most), the mel that the model reads, and voicing and
pitch against the true ones. Every other step speaks with the true pitch, so that high harmonics
are learned sharp, the rest with the predicted one, as in use.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from dataset import Corpus, Sentence, draw
from loop import Losses, begin, bf16_is_fast, train
from sizes import SOURCE_FILTER
from sources import SOURCES, add_options
from torch import Tensor
from torch.nn import functional as F

from mamtra_cli import features
from mamtra_cli.codecs.flow_hift.source_filter import PITCH_ZERO, SourceFilter

FRAMES = 48
RESOLUTIONS = ((512, 120, 32), (1024, 240, 64), (2048, 480, 80), (256, 60, 0))  # bands 0: no mel
MEL_WEIGHT, PITCH_WEIGHT = 4.0, 5.0
MEL_FLOOR = 1e-3  # about the mel of white noise 66 dB under full scale
QUIET = float(np.log(1e-5))  # of the mel
UNVOICED_WEIGHT = 0.05  # of the pitch between voiced sounds, which the filters read too
OCTAVE_ERROR = 0.5


class SpectralLosses:
    """Distances of spectra and of mels between two waves, at every resolution."""

    def __init__(self) -> None:
        self.windows = {size: torch.hann_window(size) for size, _, _ in RESOLUTIONS}
        self.bands = {
            size: features.slaney_filters(24_000, size, bands, 0.0, 8000.0)
            for size, _, bands in RESOLUTIONS
            if bands
        }

    def __call__(self, made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Means over resolutions for (B, S): spectra, and mels in nepers."""
        spectra, mels = [], []
        for size, hop, bands in RESOLUTIONS:
            ours, true = (
                torch.stft(x, size, hop, window=self.windows[size], return_complex=True)
                .abs()
                .clamp_min(1e-5)
                for x in (made, real)
            )
            convergence = (true - ours).norm() / true.norm().clamp_min(1e-3)
            spectra.append(convergence + (true.log() - ours.log()).abs().mean())
            if bands:
                floor = MEL_FLOOR * size / 1920
                logs = [(self.bands[size] @ x).clamp_min(floor).log() for x in (ours, true)]
                mels.append((logs[0] - logs[1]).abs().mean())
        return torch.stack(spectra).mean(), torch.stack(mels).mean()


def log_pitch(pitch: np.ndarray) -> np.ndarray:
    """Log2 of pitch over the vocoder's zero, drawn through what is unvoiced: (T,)."""
    voiced = pitch > 0
    if not voiced.any():
        return np.zeros_like(pitch)
    places = np.arange(len(pitch))
    known = np.log2(pitch[voiced] / PITCH_ZERO)
    return np.interp(places, places[voiced], known).astype(np.float32)


def main() -> None:
    """Train the vocoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", default="vocoder", help="of the file to write")
    parser.add_argument("--init", type=Path, help="an earlier vocoder to start from")
    add_options(parser)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--flow-share", type=float, default=0.5, help="of mels, where there are")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    corpus = Corpus(args.out)
    source = SOURCES[args.source](corpus)
    kinds = [(rows[:-4], n) for rows, n in source.vocoder]
    valid = [*source.tested[:6], *(s for rows, _ in source.vocoder[1:] for s in rows[-4:])]
    model, spectral = SourceFilter(SOURCE_FILTER), SpectralLosses()
    begin(args.begin, {"source_filter": model})
    if args.init:
        model.load_state_dict(torch.load(args.init, weights_only=True)["model"])

    def crop(s: Sentence, rng: np.random.Generator, share: float) -> tuple[np.ndarray, ...]:
        start = int(rng.integers(0, max(1, 2 * s.tokens - FRAMES)))
        flowed = corpus.has(s, "flowmel.") and rng.random() < share
        mel = (corpus.flow_mel(s) if flowed else corpus.mel(s))[start : start + FRAMES]
        pitch = corpus.pitch(s)
        rows = (pitch > 0, log_pitch(pitch))
        wave = corpus.audio(s)[480 * start : 480 * (start + FRAMES)]
        pad = FRAMES - len(mel)
        return (
            np.pad(wave, (0, 480 * FRAMES - len(wave))),
            np.pad(mel, ((0, pad), (0, 0)), constant_values=QUIET).T,
            *(np.pad(row[start : start + FRAMES].astype(np.float32), (0, pad)) for row in rows),
        )

    def losses(batch: list[Sentence], seed: int, share: float, true_pitch: bool) -> Losses:
        rng = np.random.default_rng(seed)
        crops = zip(*(crop(s, rng, share) for s in batch), strict=True)
        wave, mel, voiced, pitch = (torch.from_numpy(np.stack(part)) for part in crops)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast()):
            logit, found = model.pitch_of(mel)
            known = (voiced, pitch) if true_pitch else (torch.sigmoid(logit), found)
            made = model.render(mel, *known)
        made, wave = made[:, 480:-480], wave[:, 480:-480]  # the ends lack their neighbours
        mel_error = (features.mel24k(made) - features.mel24k(wave)).abs().mean()
        spectra, mels = spectral(made, wave)
        voicing = F.binary_cross_entropy_with_logits(logit, voiced)
        weight = voiced + UNVOICED_WEIGHT
        pitch_error = ((found - pitch).abs() * weight).sum() / weight.sum()
        wrong = ((found - pitch).abs() * voiced > OCTAVE_ERROR).float().sum() / voiced.sum()
        loss = spectra + mel_error + MEL_WEIGHT * mels + voicing + PITCH_WEIGHT * pitch_error
        parts = {"mel": mel_error, "mels": mels, "spectral": spectra, "voicing": voicing}
        return {"loss": loss, **parts, "pitch": pitch_error, "octave": wrong}

    def batch_loss(step: int) -> Losses:
        batch: list[Sentence] = []
        for seed, (rows, n) in enumerate(kinds):
            batch += draw(rows, step, n, seed)
        first = not (args.init or args.begin) and step < 0.15 * args.steps
        return losses(batch, step, args.flow_share, true_pitch=first or step % 2 == 0)

    train(
        args.name,
        model,
        batch_loss,
        out=args.out,
        steps=args.steps,
        lr=args.lr,
        betas=(0.8, 0.99),
        weight_decay=0.01,
        validate=lambda: {k: float(v) for k, v in losses(valid, 0, 0.5, False).items()},
    )


if __name__ == "__main__":
    main()
