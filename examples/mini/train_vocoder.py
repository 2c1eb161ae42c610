"""Stage 4: the HiFT vocoder, without adversarial training.

Losses: log-magnitude and spectral convergence at four resolutions, mels at three (what a listener
of cepstra hears; these weigh most), and the F0 predictor against the tracked pitch. The source runs
on the tracked pitch for the first part of the training and on the predicted one, as in use, for the
rest.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from dataset import Corpus, Sentence, draw
from loop import Losses, bf16_is_fast, train
from pitch import track
from sizes import HIFT
from torch import Tensor
from torch.nn import functional as F

from mamtra_cli import features
from mamtra_cli.codecs.flow_hift.hift import HiFT

FRAMES = 32
RESOLUTIONS = ((512, 120), (1024, 240), (2048, 480), (256, 60))
MELS = ((512, 120, 32), (1024, 240, 64), (2048, 480, 80))  # FFT size, hop, bands
MEL_WEIGHT = 4.0
MEL_FLOOR = 1e-3  # about the mel of white noise 66 dB under full scale


def spectral_loss(made: Tensor, real: Tensor) -> Tensor:
    """Return the mean over resolutions of convergence and log-magnitude distance."""
    total = made.new_zeros(())
    for size, hop in RESOLUTIONS:
        window = torch.hann_window(size)
        spectra = [
            torch.stft(x, size, hop, window=window, return_complex=True).abs().clamp_min(1e-5)
            for x in (made, real)
        ]
        distance = (spectra[1] - spectra[0]).norm() / spectra[1].norm().clamp_min(1e-3)
        total = total + distance + (spectra[1].log() - spectra[0].log()).abs().mean()
    return total / len(RESOLUTIONS)


def mel_loss(made: Tensor, real: Tensor) -> Tensor:
    """Return the mean distance in nepers between mels of three resolutions up to 8 kHz."""
    total = made.new_zeros(())
    for size, hop, bands in MELS:
        window = torch.hann_window(size)
        basis = features.slaney_filters(24_000, size, bands, 0.0, 8000.0)
        mels = [
            torch.matmul(basis, torch.stft(x, size, hop, window=window, return_complex=True).abs())
            for x in (made, real)
        ]
        logs = [mel.clamp_min(MEL_FLOOR * size / 1920).log() for mel in mels]
        total = total + (logs[0] - logs[1]).abs().mean()
    return total / len(MELS)


def main() -> None:
    """Train the vocoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--name", default="vocoder", help="of the file to write")
    parser.add_argument("--init", type=Path, help="vocoder.pt to start from, of any harmonics")
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--flow-mels", action="store_true", help="read the mels of flow_mels.py")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    corpus = Corpus(args.out)
    main_rows = corpus.select("closed", "open")[:3000]
    other_rows = corpus.select("mixed")
    valid = corpus.select("valid")[:16]
    if args.flow_mels:
        main_rows = [s for s in corpus.select("closed", "open") if corpus.has(s, "flowmel.")]
        other_rows = [s for s in corpus.select("mixed") if corpus.has(s, "flowmel.")]
    model = HiFT(HIFT)
    if args.init:
        known = torch.load(args.init, weights_only=True)["model"]
        mixer = model.m_source.l_linear.weight
        fresh = torch.full_like(mixer, float(known["m_source.l_linear.weight"].mean()))
        fresh[:, : known["m_source.l_linear.weight"].shape[1]] = known["m_source.l_linear.weight"]
        model.load_state_dict(known | {"m_source.l_linear.weight": fresh})

    def crops(batch: list[Sentence], seed: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng(seed)
        need = FRAMES * 480
        waves, pitches, mels = [], [], []
        for s in batch:
            wave = corpus.audio(s)
            start = 480 * int(rng.integers(0, max(1, len(wave) // 480 - FRAMES)))
            low = max(0, start - 960)
            piece = torch.from_numpy(wave[low : start + need + 960])
            f0 = track(piece)[(start - low) // 480 :][:FRAMES]
            pitches.append(F.pad(f0, (0, FRAMES - len(f0))))
            cut = torch.from_numpy(wave[start : start + need])
            waves.append(F.pad(cut, (0, need - len(cut))))
            mel = features.mel24k(waves[-1])
            if args.flow_mels and rng.random() < 0.7 and corpus.has(s, "flowmel."):
                made = torch.from_numpy(corpus.flow_mel(s)[start // 480 :][:FRAMES]).T
                mel[:, : made.shape[1]] = made
            mels.append(mel)
        return torch.stack(waves), torch.stack(pitches), torch.stack(mels)

    def losses(batch: list[Sentence], step: int) -> Losses:
        wave, pitch, mel = crops(batch, step)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast()):
            predicted = model.f0(mel).float()
            followed = pitch if not args.init and step < 0.4 * args.steps else predicted.detach()
            made = model.decode(mel, model.source(followed)).float()
        mel_error = (features.mel24k(made) - features.mel24k(wave)).abs().mean()
        spectral = spectral_loss(made, wave)
        f0_error = (predicted - pitch).abs().mean() / 100
        mels = mel_loss(made, wave)
        loss = spectral + mel_error + MEL_WEIGHT * mels + f0_error
        parts = {"mel": mel_error, "mels": mels, "spectral": spectral, "f0": f0_error}
        return {"loss": loss} | parts

    def batch_loss(step: int) -> Losses:
        half = args.batch // 2
        batch = draw(main_rows, step, half) + draw(other_rows, step, args.batch - half)
        return losses(batch, step)

    train(
        args.name,
        model,
        batch_loss,
        out=args.out,
        steps=args.steps,
        lr=args.lr,
        betas=(0.8, 0.99),
        weight_decay=0.01,
        validate=lambda: {k: float(v) for k, v in losses(valid, args.steps).items()},
    )


if __name__ == "__main__":
    main()
