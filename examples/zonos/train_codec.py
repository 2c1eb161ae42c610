"""Stage 1: the residual codec of mels.

First a plain autoencoder; then the stages are filled by k-means one after the other, follow what
falls to them as moving means, and the networks learn through them. Half of the sentences are
decoded from their first stages alone, so that those hold most; a reader of phones on the first
stage keeps it to what is said. The vocoder is mini's, unchanged.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sentences import Utterance, read
from sizes import CODEC
from torch import Tensor, nn
from torch.nn import functional as F

from dataset import draw  # isort: skip
from loop import Losses, bf16_is_fast, train  # isort: skip

from mamtra_cli.codecs.flow_hift.source_filter import MEL_MEAN, MEL_SCALE
from mamtra_cli.codecs.residual_mel.model import ResidualMel
from mamtra_cli.families.zonos.symbols import TABLE_ROWS
from mamtra_cli.hub import BUILT_IN
from mamtra_cli.tensors import TensorFile, load_module

KINDS = ("closed", "open", "strings", "mixed", "natural")
BATCH, FRAMES = 32, 32
PLAIN = 0.12  # share of the steps before anything is quantised
MEANS = 12  # rounds of k-means
DECAY = 0.99
RARE = 0.05  # of an even share, below which a code is given up
COMMIT, PHONES = 0.5, 0.1


class CodecTrainer(nn.Module):
    """The codec, its counts and the reader of phones."""

    def __init__(self) -> None:
        super().__init__()
        self.codec = ResidualMel(CODEC)
        self.codec.vocoder.requires_grad_(False)
        self.codec.quantizer.requires_grad_(False)
        self.phone = nn.Sequential(
            nn.Linear(CODEC.latent, 128), nn.GELU(), nn.Linear(128, TABLE_ROWS)
        )
        shape = (CODEC.codebooks, CODEC.codes)
        self.counts: Tensor
        self.sums: Tensor
        self.register_buffer("counts", torch.ones(shape))
        self.register_buffer("sums", torch.zeros((*shape, CODEC.latent)))

    @torch.no_grad()
    def fill(self, latent: Tensor) -> None:
        """Fill the stages by k-means on latent (N, latent)."""
        left, quantizer = latent, self.codec.quantizer
        for book in range(CODEC.codebooks):
            codes = left[torch.randperm(len(left))[: CODEC.codes]].clone()
            for _ in range(MEANS):
                quantizer.codes[book].copy_(codes)
                ids = quantizer.nearest(book, left)
                sums = torch.zeros_like(codes).index_add_(0, ids, left)
                counts = torch.bincount(ids, minlength=CODEC.codes)[:, None]
                codes = torch.where(counts > 0, sums / counts.clamp_min(1), codes)
            quantizer.codes[book].copy_(codes)
            self.sums[book].copy_(codes)
            left = left - codes[quantizer.nearest(book, left)]

    def quantised(self, latent: Tensor, learn: bool) -> tuple[list[Tensor], Tensor]:
        """Sums of the first stages of latent (B, F, latent), and how far it is from them."""
        quantizer, left = self.codec.quantizer, latent
        total, sums, commit = torch.zeros_like(latent), [], latent.new_zeros(())
        for book in range(CODEC.codebooks):
            ids = quantizer.nearest(book, left.detach())
            value = quantizer.codes[book][ids].clone()
            commit = commit + (left - value).square().mean()
            if learn:
                self.follow(book, ids.flatten(), left.detach().flatten(0, 1))
            total, left = total + value, left - value
            sums.append(latent + (total - latent).detach())
        return sums, commit

    @torch.no_grad()
    def follow(self, book: int, ids: Tensor, left: Tensor) -> None:
        """Move the codes of a stage to the mean of what falls to them; move those that are rare."""
        counts, sums = self.counts[book], self.sums[book]
        counts.lerp_(torch.bincount(ids, minlength=CODEC.codes).float(), 1 - DECAY)
        sums.lerp_(torch.zeros_like(sums).index_add_(0, ids, left), 1 - DECAY)
        rare = counts < RARE * len(left) / CODEC.codes
        fresh = left[torch.randint(len(left), (CODEC.codes,))]
        counts.copy_(torch.where(rare, len(left) / CODEC.codes, counts))
        sums.copy_(torch.where(rare[:, None], fresh * counts[:, None], sums))
        self.codec.quantizer.codes[book].copy_(sums / counts[:, None])


def main() -> None:
    """Train the codec."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, default=Path("work/zonos-small"))
    parser.add_argument("--steps", type=int, default=1500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    args.out.mkdir(parents=True, exist_ok=True)
    rows = read(args.corpus, args.out / "phones.json", KINDS)
    rows = [each for each in rows if each.sentence.tokens >= FRAMES]
    rng = np.random.default_rng(0)
    rows = [rows[i] for i in rng.permutation(len(rows))]
    valid, rows = rows[:BATCH], rows[BATCH:]
    model, plain = CodecTrainer(), int(PLAIN * args.steps)
    load_module(
        model.codec.vocoder,
        TensorFile(BUILT_IN["mini"] / "source_filter.safetensors"),
        torch.float32,
    )

    def crop(each: Utterance, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        start = int(rng.integers(0, each.sentence.tokens - FRAMES + 1))
        wave = each.wave()[start * CODEC.hop : (start + FRAMES) * CODEC.hop]
        ids = np.array(each.ids)[each.owners[start : start + FRAMES]]
        return wave, torch.from_numpy(ids)

    def losses(batch: list[Utterance], step: int, training: bool) -> Losses:
        rng = np.random.default_rng(step)
        waves, phones = (torch.stack(x) for x in zip(*(crop(e, rng) for e in batch), strict=True))
        codec = model.codec
        mel = codec.mel(waves)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast()):
            latent = codec.latent(mel).transpose(1, 2).float()  # (B, F, latent)
        if training and step == plain:
            model.fill(latent.detach().flatten(0, 1))
        commit, read_from, heard = latent.new_zeros(()), latent, latent
        if step >= plain:
            sums, commit = model.quantised(latent, training)
            heard, read_from = sums[-1], sums[0]
            if training:
                some = rng.integers(0, CODEC.codebooks, len(batch))
                some[::2] = CODEC.codebooks - 1
                heard = torch.stack([sums[book][i] for i, book in enumerate(some)])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast()):
            wide = heard.transpose(1, 2)
            fine = codec.unfolded(codec.unfold.whole(wide))
            made = codec.speak.whole(fine).float() * MEL_SCALE + MEL_MEAN
            named = model.phone(read_from)
        error = (made - mel).abs().mean()
        phone = F.cross_entropy(named.float().flatten(0, 1), phones.flatten())
        loss = error + 0.3 * (made - mel).square().mean() + COMMIT * commit + PHONES * phone
        return {"loss": loss, "mel": error, "commit": commit, "phone": phone}

    train(
        "codec",
        model,
        lambda step: losses(draw(rows, step, BATCH), step, training=True),  # type: ignore[arg-type]
        out=args.out,
        steps=args.steps,
        lr=2e-3,
        validate=lambda: {
            k: float(v) for k, v in losses(valid, args.steps, training=False).items()
        },
        validate_every=250,
    )


if __name__ == "__main__":
    main()
