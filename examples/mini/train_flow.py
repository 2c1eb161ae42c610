"""Stage 5: the flow (speech tokens to mel) together with mini's speaker encoder.

Flow matching as published, with what suits a teacher that says a sentence in one way only: little
noise (`temperature`), times drawn towards the start (where the mel is still unknown), an L1 beside
the squared error, no unconditional rows (mini is not guided), and a pull of the encoder's output
towards the mel (after Grad-TTS, arXiv 2105.06337), which a small encoder needs to start. The
speaker vector comes from another sentence of the same voice, so it can carry no content.
With `--supervised` the codes are those of `supervised_codes.py`: their rows begin anew, factored
over what the codes say (folded into an ordinary table when the model is read).
"""

import argparse
from pathlib import Path

import numpy as np
import soxr
import torch
from dataset import Corpus, Sentence, draw
from factored import FactoredTable
from loop import Losses, begin, bf16_is_fast, train, trained
from sizes import FLOW, SPEAKER
from sources import SOURCES, add_options
from supervised_codes import LEVELS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from mamtra_cli import features
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.speaker_encoder import SpeakerEncoder

REFERENCE_SECONDS = 2.4


class FlowTrainer(nn.Module):
    """Flow and speaker encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = Flow(FLOW)
        self.speaker = SpeakerEncoder(SPEAKER)

    def factor(self) -> None:
        """Begin the rows of the codes anew, factored over their digits."""
        table = self.flow.input_embedding
        nn.init.normal_(table.weight, std=0.02)
        factors = FactoredTable(table.embedding_dim, LEVELS)
        nn.init.normal_(factors.rows, std=0.5)
        parametrize.register_parametrization(table, "weight", factors)

    def fold(self) -> None:
        """Add the factored rows into an ordinary table."""
        parametrize.remove_parametrizations(self.flow.input_embedding, "weight")


def trained_flow(out: Path) -> FlowTrainer:
    """Return what this lesson left in `out/flow.pt`, with an ordinary table of codes."""
    model, state = FlowTrainer(), trained(out, "flow")
    factored = any("parametrizations" in name for name in state)
    if factored:
        model.factor()
    model.load_state_dict(state)
    if factored:
        model.fold()
    return model


def speaker_features(wave: np.ndarray) -> Tensor:
    """Return mean-normalised fbank of 24 kHz samples, (T, 80)."""
    narrow = torch.from_numpy(soxr.resample(wave, 24_000, 16_000))
    bank = features.fbank80(narrow)
    return bank - bank.mean(0, keepdim=True)


def main() -> None:
    """Train the flow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--crop", type=int, default=84, help="tokens of a piece")
    parser.add_argument("--name", default="flow", help="of the file to write")
    parser.add_argument("--init", type=Path, help="an earlier flow to start from")
    parser.add_argument("--supervised", action="store_true", help="codes that are told")
    add_options(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    corpus = Corpus(args.out)
    source, crop = SOURCES[args.source](corpus), args.crop
    valid = source.tested[:24]
    need = int(REFERENCE_SECONDS * 24_000)
    others = source.others + source.sped
    by_voice: dict[str, list[Sentence]] = {}
    for s in source.main + others:
        by_voice.setdefault(s.voice, []).append(s)
    for voice, rows in by_voice.items():
        by_voice[voice] = [s for s in rows if s.samples > need + 960] or rows
    model = FlowTrainer()
    begin(args.begin, {"flow": model.flow, "speaker_encoder": model.speaker})
    if args.init:
        model.load_state_dict(torch.load(args.init, weights_only=True)["model"])
    if args.supervised:
        model.factor()

    def reference(s: Sentence, rng: np.random.Generator) -> Tensor:
        rows = by_voice[s.voice]
        other = rows[int(rng.integers(len(rows)))]
        if other.tokens * 960 <= need:  # a voice that says nothing longer is heard again
            return speaker_features(np.resize(corpus.audio(other), need))
        start = int(rng.integers(0, other.tokens * 960 - need))
        return speaker_features(corpus.audio(other, start, need))

    def losses(batch: list[Sentence], seed: int) -> Losses:
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.zeros(len(batch), crop, dtype=torch.long)
        mel = torch.zeros(len(batch), 2 * crop, 80)
        lens = torch.tensor([min(crop, s.tokens) for s in batch])
        for i, (s, n) in enumerate(zip(batch, lens.tolist(), strict=True)):
            at = int(rng.integers(0, s.tokens - n + 1))
            tokens[i, :n] = torch.from_numpy(corpus.codes(s)[at : at + n])
            mel[i, : 2 * n] = torch.from_numpy(corpus.mel(s)[2 * at : 2 * (at + n)])
        clips = torch.stack([reference(s, rng) for s in batch])
        flow, streaming = model.flow, bool(seed % 2)
        target = mel.transpose(1, 2)
        mask = torch.arange(2 * crop)[None] < 2 * lens[:, None]
        draws = torch.rand(3, len(batch), generator=generator)
        known = (0.5 * draws[0] * 2 * lens).long() * (draws[1] < 0.5)
        cond = target * (torch.arange(2 * crop)[None] < known[:, None])[:, None]
        t = draws[2] ** 4
        z = FLOW.temperature * torch.randn(target.shape, generator=generator)
        y = (1 - t)[:, None, None] * z + t[:, None, None] * target
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast()):
            vector = model.speaker(clips).float()
            mu, _ = flow.encode(tokens, lens, streaming=streaming)
            v = flow.decoder.estimator(
                y, mu, t, flow.speaker(vector), cond, mask=mask, streaming=streaming
            )
        norm = mask.sum() * 80
        error = (v.float() - (target - z)) * mask[:, None]
        matching = (error.square().sum() / 2.5 + error.abs().sum()) / norm
        prior = ((mu.float() - target).abs() * mask[:, None]).sum() / norm
        return {"loss": matching + 0.3 * prior, "matching": matching, "prior": prior}

    def batch_loss(step: int) -> Losses:
        half = args.batch // 2
        rows = draw(source.main, step, half) + draw(others, step, args.batch - half)
        return losses(rows, step)

    def validate() -> dict[str, float]:
        """Distance of the generated mel to the true one, in nepers."""
        error = 0.0
        for s in valid[:8]:
            rng = np.random.default_rng(1)
            vector = model.speaker(reference(s, rng)[None])
            made = model.flow.inference(
                torch.from_numpy(corpus.codes(s))[None],
                torch.zeros(1, 0, dtype=torch.long),
                torch.zeros(1, 0, 80),
                vector,
                streaming=False,
                finalize=True,
            )
            error += float(F.l1_loss(made[0], torch.from_numpy(corpus.mel(s)).T)) / 8
        return {"mel": error} | {k: float(v) for k, v in losses(valid, 2).items()}

    train(
        args.name,
        model,
        batch_loss,
        out=args.out,
        steps=args.steps,
        lr=1.2e-3,
        weight_decay=0.01,
        validate=validate,
    )


if __name__ == "__main__":
    main()
