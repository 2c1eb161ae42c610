"""Stage 3: the speech tokenizer, from reconstruction and phones.

The encoder is the published topology at a small size; what it is trained with is thrown away:
a convolutional decoder that rebuilds the mel from the codes and the voice, and a classifier
that names the phone from the code alone (the counterpart of the published tokenizer's
recogniser). Natural speech is read with its spectrum tilted a little and a band hidden, and now and
then its speaker is not told. Ends by writing the codes of every sentence beside its batch.
With `--supervised` the encoder is taught the codes that `supervised_codes.py` wrote instead, their
digits as classes, and writes none: what it errs in touches only the clips that voices are copied
from.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from dataset import SILENCES, Corpus, Sentence, draw
from loop import Losses, begin, bf16_is_fast, train, trained
from sizes import TOKENIZER, TOLD_TOKENIZER
from sources import SOURCES, add_options
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.codecs.flow_hift.config import SpeechTokenizerConfig
from mamtra_cli.codecs.flow_hift.speech_tokenizer import SpeechTokenizer, codes_to_digits

CROP = 100
BAND = 16  # mel bands of the widest that is hidden
TILT = 0.15  # of the normalised log-mel, top against bottom
MEL_MEAN, MEL_SCALE = -5.0, 2.5
UNTOLD = 8  # one batch in so many does not tell its speakers


class ConvBlock(nn.Module):
    """ConvNeXt block over time; (B, C, T) in and out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spread = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 3 * width)
        self.down = nn.Linear(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.spread(x).transpose(1, 2))
        return x + self.down(F.gelu(self.up(y))).transpose(1, 2)


class TokenizerTrainer(nn.Module):
    """Tokenizer, mel decoder and phone classifier."""

    def __init__(
        self,
        phones: int,
        speakers: int,
        config: SpeechTokenizerConfig = TOKENIZER,
        width: int = 192,
    ) -> None:
        super().__init__()
        digits = len(config.levels)
        self.tokenizer = SpeechTokenizer(config)
        self.voice = nn.Embedding(speakers, width)
        self.read = nn.Conv1d(digits, width, 3, padding=1)
        self.slow = nn.Sequential(*[ConvBlock(width) for _ in range(2)])
        self.grow = nn.ConvTranspose1d(width, width, 4, stride=2, padding=1)
        self.fast = nn.Sequential(*[ConvBlock(width) for _ in range(4)])
        self.write = nn.Conv1d(width, 80, 1)
        self.phone = nn.Sequential(nn.Linear(digits, 160), nn.GELU(), nn.Linear(160, phones))

    def decode(self, digits: Tensor, voice: Tensor) -> Tensor:
        """Rebuild the normalised mel, (B, N, D) and (B,) to (B, 2N, 80)."""
        x = self.read(digits.transpose(1, 2)) + self.voice(voice)[:, :, None]
        return self.write(self.fast(self.grow(self.slow(x)))).transpose(1, 2)


def trained_tokenizer(out: Path) -> TokenizerTrainer:
    """Return what this lesson left in `out/tokenizer.pt`, of the sizes written there."""
    state = trained(out, "tokenizer")
    config = TOLD_TOKENIZER if "tokenizer.quantizer.project.weight" in state else TOKENIZER
    model = TokenizerTrainer(len(state["phone.2.bias"]), len(state["voice.weight"]), config)
    model.load_state_dict(state)
    return model


def taught(logits: tuple[Tensor, ...], codes: Tensor) -> Losses:
    """Cross-entropy of the digits of codes.

    logits: (B, N, level) of each digit. codes: (B, N) int64, negative where there is none.
    """
    real = codes >= 0
    digits = codes_to_digits(codes[real], TOLD_TOKENIZER.levels)
    losses = {"loss": logits[0].new_zeros(())}
    for i, (name, of_digit) in enumerate(zip(("phone", "pitch", "rest"), logits, strict=True)):
        losses["loss"] = losses["loss"] + F.cross_entropy(of_digit[real], digits[:, i])
        losses[name] = (of_digit[real].argmax(-1) == digits[:, i]).float().mean()
    return losses


def main() -> None:
    """Train, then tokenize the corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--codes-only", action="store_true")
    parser.add_argument("--supervised", action="store_true", help="teach codes that are told")
    add_options(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    corpus = Corpus(args.out)
    source = SOURCES[args.source](corpus)
    rows = source.main + source.others
    valid = {"": source.tested[:40], "unheard_": source.unheard[:40]}
    names = sorted({p for s in rows[:2000] for p, _, _ in s.phones} | set(SILENCES[:1]))
    index = {name: i for i, name in enumerate(names)}
    config = TOLD_TOKENIZER if args.supervised else TOKENIZER
    model = TokenizerTrainer(len(names), 1 + max(source.rows.values()), config)
    begin(args.begin, {"speech_tokenizer.encoder": model.tokenizer.encoder})

    def collate(batch: list[Sentence], crop: int, seed: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng(seed)
        logmels, mels, phones, codes = [], [], [], []
        for s in batch:
            start = int(rng.integers(0, max(1, s.tokens - crop + 1)))
            n = min(crop, s.tokens)
            pad = crop - n
            logmel = corpus.logmel(s)[4 * start : 4 * (start + n)]
            mel = corpus.mel(s)[2 * start : 2 * (start + n)]
            owner = s.owners[start : start + n]
            phone = [
                index.get("pau" if s.phones[i][0] in SILENCES else s.phones[i][0], -1)
                for i in owner
            ]
            low = float(logmel.min())
            logmels.append(np.pad(logmel, ((0, 4 * pad), (0, 0)), constant_values=low))
            mels.append(np.pad(mel, ((0, 2 * pad), (0, 0)), constant_values=-11.5))
            phones.append(phone + [-1] * pad)
            told = corpus.codes(s)[start : start + n].tolist() if args.supervised else [-1] * n
            codes.append(told + [-1] * pad)
        voice = torch.tensor([source.rows[s.voice] for s in batch])
        lens = torch.tensor([min(crop, s.tokens) for s in batch])
        return (
            torch.from_numpy(np.stack(logmels)).transpose(1, 2),
            torch.from_numpy(np.stack(mels)),
            torch.tensor(phones),
            torch.tensor(codes),
            voice,
            lens,
        )

    def losses(batch: list[Sentence], seed: int, disturb: bool = False) -> Losses:
        logmel, mel, phones, codes, voice, lens = collate(batch, CROP, seed)
        if disturb:
            logmel = disturbed(logmel, np.random.default_rng(seed))
            voice = voice * (seed % UNTOLD > 0)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast()):
            found = model.tokenizer(logmel, 4 * lens)
            if args.supervised:
                return taught(model.tokenizer.quantizer.logits(found.hidden), codes)
            digits = found.digits
            rebuilt = model.decode(digits, voice)
            logits = model.phone(digits)
        target = (mel - MEL_MEAN) / MEL_SCALE
        mask = (torch.arange(2 * CROP)[None] < 2 * lens[:, None])[..., None].float()
        error = (rebuilt.float() - target) * mask
        norm = mask.sum() * 80
        l1, l2 = error.abs().sum() / norm, error.square().sum() / norm
        ce = F.cross_entropy(logits.float().flatten(0, 1), phones.flatten(), ignore_index=-1)
        hit = (logits.argmax(-1) == phones)[phones >= 0].float().mean()
        return {
            "loss": l1 + 0.5 * l2 + 0.3 * ce,
            "l1": l1 * MEL_SCALE,
            "phone_ce": ce,
            "phone": hit,
        }

    def validate() -> dict[str, float]:
        return {
            name + key: float(value)
            for name, sentences in valid.items()
            if sentences
            for key, value in losses(sentences, 0).items()
        }

    if not args.codes_only:
        train(
            "tokenizer",
            model,
            lambda step: losses(draw(rows, step, args.batch), step, disturb=source.natural),
            out=args.out,
            steps=args.steps,
            lr=1.5e-3,
            validate=validate,
        )
    if not args.supervised:
        write_codes(trained_tokenizer(args.out).eval().tokenizer, corpus)


def plain(rebuilt: Tensor) -> Tensor:
    """Return the log-mel that a normalised one of `TokenizerTrainer.decode` stands for."""
    return rebuilt * MEL_SCALE + MEL_MEAN


def disturbed(logmel: Tensor, rng: np.random.Generator) -> Tensor:
    """Tilt every spectrogram a little and hide a band of half of them; (B, bands, T) in and out."""
    size, bands, _ = logmel.shape
    tilt = torch.from_numpy(rng.uniform(-TILT, TILT, (size, 1))).float()
    logmel = logmel + (tilt * torch.linspace(-1, 1, bands))[..., None]
    for i in np.flatnonzero(rng.random(size) < 0.5):
        width = int(rng.integers(1, BAND + 1))
        low = int(rng.integers(0, bands - width + 1))
        logmel[i, low : low + width] = logmel[i, low : low + width].mean()
    return logmel


@torch.inference_mode()
def write_codes(tokenizer: SpeechTokenizer, corpus: Corpus) -> None:
    """Tokenize every sentence in float32, one by one: the codes that inference would find."""
    groups: dict[Path, list[Sentence]] = {}
    for s in corpus.sentences:
        groups.setdefault(s.batch, []).append(s)
    used = np.zeros(TOKENIZER.codebook_size, bool)
    for path, rows in groups.items():
        target = path.with_suffix(".codes.npy")
        codes = []
        for s in rows:
            logmel = torch.from_numpy(corpus.logmel(s)).T[None]
            found, _ = tokenizer.encode(logmel, torch.tensor([logmel.shape[-1]]))
            codes.append(found[0, : s.tokens].numpy().astype(np.int16))
        joined = np.concatenate(codes)
        used[joined] = True
        np.save(target, joined)
    print(f"{int(used.sum())} of {len(used)} codes used")


if __name__ == "__main__":
    main()
