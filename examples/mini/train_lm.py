"""Stage 6: the language model, phones to speech tokens.

A plain next-token loss with four helps that vanish at export: tables factored over the FSQ
digits of the codes (folded into ordinary tables), two guided heads in block GUIDED (taught to
look at the symbol being spoken and at the next one), a phone classifier on that block's output,
and corruption of the input tokens. Symbols stand on the time axis of the speech (`aligned`
positions), placed by a table of mean durations that this stage measures and stores. Of natural
speech one speaker is read alone, whose way of speaking the model so has; all others come after
another sentence of theirs, so that the words and tokens of a clip teach a way (zero-shot). With
`--supervised` the codes, and the tokens that a phone owns, are those of `supervised_codes.py`.
"""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import supervised_codes
import torch
import torch.nn.attention
from dataset import Corpus, Sentence
from epochs import Epochs
from factored import FactoredTable
from guiding import guided_scores
from loop import Losses, begin, bf16_is_fast, train, trained
from sizes import LM, TOKENIZER
from sources import SOURCES, add_options
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.codecs.flow_hift.speech_tokenizer import codes_to_digits
from mamtra_cli.families.cosyvoice2.config import LMConfig
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.rows import SPECIAL, SPEECH, TEXT, Row, decode_row
from mamtra_cli.families.cosyvoice2.sequences import IGNORE, LMBatch, to_sequence

GUIDED = 2
CORRUPTION = 0.10
COMMA_DROP = 0.3
POSITIONS = 2600
PROMPT_TOKENS = 150  # of the longest prompt


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A sentence, after another one of its speaker or alone."""

    sentence: Sentence
    prompt: Sentence | None = None

    @property
    def spoken(self) -> list[Sentence]:
        """What is said, in order."""
        return [self.sentence] if self.prompt is None else [self.prompt, self.sentence]

    @property
    def size(self) -> int:
        """Positions that it takes."""
        return 2 + sum(s.tokens + len(s.phones) for s in self.spoken)


class LMTrainer(nn.Module):
    """The model and its helps."""

    def __init__(
        self, config: object, symbols: int, levels: tuple[int, ...] = TOKENIZER.levels
    ) -> None:
        super().__init__()
        self.lm = SpeechLM(config)
        for p in self.lm.parameters():
            if p.ndim > 1:
                nn.init.normal_(p, std=0.02)
        self.read = FactoredTable(LM.d_model, levels)
        self.write = FactoredTable(LM.d_model, levels)
        self.phone = nn.Linear(LM.d_model, symbols)

    @torch.no_grad()
    def folded(self) -> SpeechLM:
        """Return the model with the factored rows added into its tables."""
        self.lm.speech_embedding.weight.copy_(self.read(self.lm.speech_embedding.weight))
        self.lm.llm_decoder.weight.copy_(self.write(self.lm.llm_decoder.weight))
        self.read.rows.zero_()
        self.write.rows.zero_()
        return self.lm


def trained_lm(out: Path, config: LMConfig, symbols: int) -> LMTrainer:
    """Return what this lesson left in `out/lm.pt`, whichever codes it learned."""
    state = trained(out, "lm")
    known = {sum(levels): levels for levels in (TOKENIZER.levels, supervised_codes.LEVELS)}
    model = LMTrainer(config, symbols, known[len(state["read.rows"])])
    model.load_state_dict(state)
    return model


def owners_of(s: Sentence, supervised: bool) -> np.ndarray:
    """Return the index of the symbol that each token belongs to, (tokens,)."""
    return supervised_codes.owners(s) if supervised else s.owners


def durations(
    rows: list[Sentence], symbols: list[str], supervised: bool = False
) -> tuple[float, ...]:
    """Return the mean number of tokens of every symbol."""
    total, count = np.zeros(len(symbols)), np.zeros(len(symbols))
    index = {name: i for i, name in enumerate(symbols)}
    for s in rows:
        ids = np.array([index[name] for name in s.symbols])
        owned = np.bincount(owners_of(s, supervised), minlength=len(ids))
        np.add.at(total, ids, owned)
        np.add.at(count, ids, 1)
    mean = np.where(count > 0, total / np.maximum(count, 1), 2.0)
    return tuple(round(float(x), 3) for x in mean)


def without_inner_pauses(
    names: list[str], owners: np.ndarray, rng: np.random.Generator
) -> tuple[list[str], np.ndarray]:
    """Drop each inner pause with probability COMMA_DROP; its tokens go to the symbol before.

    Synthesizers pause where no comma stands in the text; natural speech does so at commas alone.
    """
    keep = [n != "," or rng.random() > COMMA_DROP for n in names]
    place = np.cumsum(keep) - 1
    return [n for n, k in zip(names, keep, strict=True) if k], np.maximum(place[owners], 0)


def prompted(rows: list[Sentence]) -> list[Lesson]:
    """Put another sentence of the speaker before every one whose speaker has one to lend."""
    rng = np.random.default_rng(0)
    lent: dict[str, list[Sentence]] = {}
    for s in rows:
        if s.tokens <= PROMPT_TOKENS:
            lent.setdefault(s.voice, []).append(s)
    lessons = []
    for s in rows:
        others = [other for other in lent.get(s.voice, []) if other is not s]
        if others:
            lessons.append(Lesson(sentence=s, prompt=others[int(rng.integers(len(others)))]))
    return lessons


def lay_out(config: LMConfig, text: list[list[int]], speech: list[list[int]]) -> Row:
    """Lay out a lesson as a prompted model reads it, with every token and the end to predict.

    text, speech: of the prompt, where there is one, and of the sentence.
    """
    before = ([], []) if len(text) == 1 else (text[0], speech[0])
    row = decode_row(config, text[-1], *before)
    tokens = [*before[1], *speech[-1], config.eos_id]
    row.speech(speech[-1], len(before[1]))
    row.targets[-len(tokens) :] = tokens
    return row


def as_batch(config: LMConfig, rows: list[Row]) -> LMBatch:
    """Pad lessons to one batch."""
    laid = to_sequence(config, rows)
    targets = torch.full_like(laid.ids, IGNORE)
    for i, row in enumerate(rows):
        told = [IGNORE if target is None else target for target in row.targets]
        targets[i, : len(told)] = torch.tensor(told)
    return LMBatch(targets=targets, **vars(laid))


def main() -> None:
    """Train the language model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--symbols", type=Path, required=True, help="symbols.json")
    parser.add_argument("--supervised", action="store_true", help="codes that are told")
    add_options(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    corpus = Corpus(args.out)
    source = SOURCES[args.source](corpus)
    rows = source.read
    lessons = [Lesson(sentence=s) for s in rows] + prompted(source.lent)
    own = [s for s in source.tested if s.voice == rows[0].voice]
    valid = [Lesson(sentence=s) for s in (own or source.tested)[:60]]
    valid += prompted(source.tested[:60]) if source.natural else []
    symbols = json.loads(args.symbols.read_text())
    index = {name: i for i, name in enumerate(symbols)}
    table = durations(rows, symbols, args.supervised)
    (args.out / "durations.json").write_text(json.dumps(table))
    config = replace(LM, durations=table)
    levels = supervised_codes.LEVELS if args.supervised else TOKENIZER.levels
    model = LMTrainer(config, len(symbols), levels)
    begin(args.begin, {"lm": model.lm})
    if args.supervised:  # other codes than those of the model that it begins as
        nn.init.normal_(model.lm.speech_embedding.weight, std=0.02)
        nn.init.normal_(model.lm.llm_decoder.weight, std=0.02)
        nn.init.zeros_(model.lm.llm_decoder.bias)
    epochs = Epochs(lessons, [lesson.size for lesson in lessons], POSITIONS)

    def losses(batch: list[Lesson], seed: int, training: bool) -> Losses:
        rng = np.random.default_rng(seed)
        texts, owner, laid_out = [], [], []
        for lesson in batch:
            said, speech, owned = [], [], []
            for s in lesson.spoken:
                names, own = s.symbols, owners_of(s, args.supervised)
                if training and not source.natural:
                    names, own = without_inner_pauses(names, own, rng)
                owned += (sum(map(len, said)) + own).tolist()
                said.append([index[n] for n in names])
                speech.append(corpus.codes(s).tolist())
            laid_out.append(lay_out(config, said, speech))
            texts.append([i for part in said for i in part])
            owner.append([*owned, len(texts[-1]) - 1])
        laid = as_batch(config, laid_out)
        ids, tables, targets = laid.ids, laid.tables, laid.targets
        if training:
            ids = corrupt(ids, tables == SPEECH, rng)
        lm = model.lm
        stack = lm.stack
        real = torch.arange(ids.shape[1])[None] < laid.lengths[:, None]
        # The fused CPU attention is slower backwards than three plain products at these lengths.
        plain = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
        with plain, torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast()):
            reading = model.read(lm.speech_embedding.weight)
            x = 0.0
            for kind, weight in (
                (SPEECH, reading),
                (TEXT, stack.embed_tokens.weight),
                (SPECIAL, lm.llm_embedding.weight),
            ):
                here = tables == kind
                x = torch.where(here[..., None], F.embedding(ids.where(here, 0), weight), x)
            x = F.dropout(x, 0.1, training)
            capture = (GUIDED, GUIDED + 1)
            out = stack(x, positions=laid.positions, capture=capture, keep_state=False)
            spoken = targets != IGNORE
            writing = model.write(lm.llm_decoder.weight)
            logits = F.linear(out.hidden[spoken], writing, lm.llm_decoder.bias)
            phones = model.phone(out.captured[GUIDED + 1][spoken])
        ce = F.cross_entropy(logits.float(), targets[spoken])
        owners = torch.full_like(targets, -1)
        lengths = torch.tensor([len(t) for t in texts])
        for i, o in enumerate(owner):
            at = 1 + len(texts[i])
            owners[i, at : at + len(o)] = torch.tensor(o)
        now = 1 + owners
        after = 1 + torch.minimum(owners + 1, lengths[:, None] - 1)
        layer, entering = model.lm.stack.layers[GUIDED], out.captured[GUIDED]
        scores = guided_scores(layer, LM.hybrid, entering, laid.positions)
        width = scores.shape[-1]
        causal = torch.ones(width, width, dtype=torch.bool).tril()
        scores = scores.masked_fill(~(causal & real[:, None, None, :]), float("-inf"))
        guided = [
            F.cross_entropy(scores[:, h][spoken], t[spoken]) for h, t in ((0, now), (1, after))
        ]
        guide = (guided[0] + guided[1]) / 2
        said = torch.gather(ids, 1, now.clamp_min(1) * (owners >= 0))[spoken]
        phone = F.cross_entropy(phones.float(), said)
        hit = (scores[:, 0][spoken].argmax(-1) == now[spoken]).float().mean()
        loss = ce + 0.5 * guide + 0.3 * phone
        return {"loss": loss, "ce": ce, "guide": guide, "phone": phone, "looks": hit}

    def batch_loss(step: int) -> Losses:
        return losses(epochs.batch(step), step, training=True)

    def validate() -> dict[str, float]:
        found = [losses(valid[i : i + 20], 0, training=False) for i in range(0, len(valid), 20)]
        return {k: sum(float(f[k]) for f in found) / len(found) for k in ("ce", "looks")}

    tokens = sum(lesson.sentence.tokens for lesson in lessons)
    print(f"{len(lessons)} lessons, {tokens} tokens, {epochs.steps} steps an epoch")
    train(
        "lm",
        model,
        batch_loss,
        out=args.out,
        steps=args.steps,
        lr=2e-3,
        validate=validate,
        validate_every=250,
    )


def corrupt(ids: Tensor, speech: Tensor, rng: np.random.Generator) -> Tensor:
    """Replace a share of the speech ids: half at random, half one step along one digit."""
    shape = tuple(ids.shape)
    hit = torch.from_numpy(rng.random(shape) < CORRUPTION) & speech
    anything = torch.from_numpy(rng.integers(0, TOKENIZER.codebook_size, shape))
    levels = torch.tensor(TOKENIZER.levels)
    digits = codes_to_digits(ids.clamp_max(TOKENIZER.codebook_size - 1), TOKENIZER.levels)
    which = torch.from_numpy(rng.integers(0, len(levels), shape))
    step = torch.from_numpy(rng.choice([-1, 1], shape))
    old = torch.gather(digits, -1, which[..., None])[..., 0]
    new = torch.minimum((old + step).clamp_min(0), levels[which] - 1)
    place = torch.cumprod(torch.cat([levels.new_ones(1), levels[:-1]]), 0)[which]
    near = ids + (new - old) * place
    uniform = torch.from_numpy(rng.random(shape) < 0.5)
    return torch.where(hit, torch.where(uniform, anything, near), ids)


if __name__ == "__main__":
    main()
