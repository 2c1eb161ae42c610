"""Stage 4: the language model, phones and conditions to delayed frames.

The loss is that of all codebooks, the first ones weighing most. What helped mini's language model
on little data helps here and vanishes at export: two guided heads in block GUIDED, taught to look
at the phone being spoken and at the next one; a reader of phones on that block's output; corrupted
input ids. Phones stand on the time axis of the speech (`positions.py`), which is of the model.
Conditions are left unsaid, one by one and all at once, so that guidance has something to lead from.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.attention
from features import VOICES
from sentences import Utterance, durations, rate, read
from sizes import LM
from torch import Tensor, nn
from torch.nn import functional as F

from epochs import Epochs  # isort: skip
from guiding import guided_scores  # isort: skip
from loop import Losses, bf16_is_fast, train  # isort: skip

from mamtra_cli.families.lessons import IGNORE, Example
from mamtra_cli.families.zonos.lessons import ZonosLessons
from mamtra_cli.families.zonos.lm import ZonosLM
from mamtra_cli.families.zonos.manner import Settings, values
from mamtra_cli.families.zonos.positions import positions
from mamtra_cli.families.zonos.symbols import TABLE_ROWS

KINDS = ("closed", "open", "strings", "natural")
GUIDED = 2
CORRUPTION = 0.08
UNSAID, ALL_UNSAID = 0.1, 0.12
POSITIONS = 2600
WEIGHTS = (0.5, 0.25, 0.15, 0.1)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """An utterance and what was computed of it.

    Attributes:
        spoken: phones with their times.
        example: phones and frames.
        voice: (V,) vector of its own sound.
        manner: how it is spoken.
    """

    spoken: Utterance
    example: Example
    voice: Tensor
    manner: Settings

    @property
    def size(self) -> int:
        """Positions it takes, about."""
        return len(self.example.text_ids) + self.example.frames + LM.codebooks + 3


class LMTrainer(nn.Module):
    """The model and its reader of phones."""

    def __init__(self, table: tuple[float, ...]) -> None:
        super().__init__()
        self.lm = ZonosLM(replace(LM, durations=table))
        for p in self.lm.parameters():
            if p.ndim > 1:
                nn.init.normal_(p, std=0.02)
        self.phone = nn.Linear(LM.d_model, TABLE_ROWS)


def lessons_of(
    rows: Sequence[Utterance], found: dict[str, dict], table: Sequence[float]
) -> list[Lesson]:
    """Utterances with what was computed of them."""
    lessons = []
    for each in rows:
        known = found[each.sentence.id]
        example = Example(
            id=each.sentence.id,
            text_ids=each.ids,
            tokens=tuple(known["codes"].flatten().tolist()),
            codebooks=LM.codebooks,
        )
        told = Settings(
            speaking_rate=min(40.0, rate(each, table)), pitch_std=min(400.0, known["pitch_std"])
        )
        lessons.append(Lesson(spoken=each, example=example, voice=known["voice"], manner=told))
    return lessons


def main() -> None:
    """Train the language model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, default=Path("work/zonos-small"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--voice", action="append", help="of these alone (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    known = torch.load(args.out / "features.pt", weights_only=True)
    rows = [e for e in read(args.corpus, args.out / "phones.json", KINDS) if e.sentence.id in known]
    rows = [e for e in rows if e.sentence.voice in (args.voice or VOICES)]
    table = durations(rows)
    (args.out / "durations.json").write_text(json.dumps(table))
    lessons = lessons_of(rows, known, table)
    order = np.random.default_rng(0).permutation(len(lessons))
    lessons = [lessons[i] for i in order]
    held = max(1, min(80, len(lessons) // 10))
    valid, lessons = lessons[:held], lessons[held:]
    model = LMTrainer(table)
    config, teaching = model.lm.config, ZonosLessons(model.lm)
    voices = {v: [e.voice for e in lessons if e.spoken.sentence.voice == v] for v in VOICES}
    means = {v: torch.stack(vectors).mean(0) for v, vectors in voices.items() if vectors}
    epochs = Epochs(lessons, [each.size for each in lessons], POSITIONS)

    def prefix(each: Lesson, rng: np.random.Generator, training: bool) -> Tensor:
        """The conditions of an utterance: (P, D)."""
        mean = means.get(each.spoken.sentence.voice, each.voice)
        vector = mean if not training or rng.random() < 0.5 else each.voice
        heard = values(config, each.manner, each.example.text_ids, vector)
        dropped = rng.random() < ALL_UNSAID
        told = {
            name: value
            for name, value in heard.items()
            if name == "espeak" or not training or not (dropped or rng.random() < UNSAID)
        }
        return model.lm.prefix_conditioner(told)[0]

    def losses(batch: list[Lesson], seed: int, training: bool) -> Losses:
        rng = np.random.default_rng(seed)
        laid = teaching.lay_out([each.example for each in batch])
        targets, length = laid.targets, laid.targets.shape[1]
        places = torch.zeros(targets.shape[:2])
        owner, after = (torch.full(targets.shape[:2], -1) for _ in range(2))
        phones = torch.tensor([len(each.example.text_ids) for each in batch])
        for i, (each, columns) in enumerate(zip(batch, laid.inputs.columns, strict=True)):
            ids, count = each.example.text_ids, len(columns)
            stand = positions(config, ids, each.manner.speaking_rate, count)
            places[i, : len(stand)] = torch.tensor(stand)
            now = torch.from_numpy(each.spoken.owners)
            now = F.pad(now, (0, count), value=len(ids) - 1)[:count]
            owner[i, len(stand) - count : len(stand)] = now
            after[i, len(stand) - count : len(stand)] = torch.from_numpy(each.spoken.following)[now]
        # The fused CPU attention is slower backwards than three plain products at these lengths.
        plain = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
        with plain, torch.autocast("cpu", torch.bfloat16, enabled=bf16_is_fast()):
            x = []
            for each, columns in zip(batch, laid.inputs.columns, strict=True):
                read_ids = corrupt(columns, rng) if training else columns
                row = torch.cat((prefix(each, rng, training), model.lm.embed(read_ids[None])[0]))
                x.append(F.pad(row, (0, 0, 0, length - len(row))))
            inputs = F.dropout(torch.stack(x), 0.1, training)
            capture = (GUIDED, GUIDED + 1)
            out = model.lm.stack(inputs, positions=places, capture=capture, keep_state=False)
            spoken = (targets != IGNORE).any(-1)
            logits = model.lm.logits(out.hidden[spoken])
            named = model.phone(out.captured[GUIDED + 1][spoken])
            layer, entering = model.lm.stack.layers[GUIDED], out.captured[GUIDED]
            scores = guided_scores(layer, config.hybrid, entering, places)
        wanted = targets[spoken]
        books = [
            F.cross_entropy(logits[:, book].float(), wanted[:, book], ignore_index=IGNORE)
            for book in range(LM.codebooks)
        ]
        ce = sum(w * b for w, b in zip(WEIGHTS, books, strict=True))
        inside = torch.arange(length)[None, None, None] < phones[:, None, None, None]
        scores = scores.float().masked_fill(~inside, float("-inf"))
        now, heads = owner[spoken], (scores[:, 0][spoken], scores[:, 1][spoken])
        guide = (F.cross_entropy(heads[0], now) + F.cross_entropy(heads[1], after[spoken])) / 2
        texts = nn.utils.rnn.pad_sequence(
            [torch.tensor(each.example.text_ids) for each in batch], batch_first=True
        )
        said = torch.gather(texts, 1, owner.clamp_min(0))[spoken]
        phone = F.cross_entropy(named.float(), said)
        looks = (heads[0].argmax(-1) == now).float().mean()
        loss = ce + 0.5 * guide + 0.3 * phone
        first = {"book0": books[0], "book1": books[1]}
        return {"loss": loss, "ce": ce, **first, "guide": guide, "phone": phone, "looks": looks}

    def batch_loss(step: int) -> Losses:
        return losses(epochs.batch(step), step, training=True)

    def validate() -> dict[str, float]:
        found = [losses(valid[i : i + 20], 0, training=False) for i in range(0, held, 20)]
        keys = ("ce", "book0", "book1", "looks")
        return {k: sum(float(f[k]) for f in found) / len(found) for k in keys}

    frames = sum(each.example.frames for each in lessons)
    print(f"{len(lessons)} sentences, {frames} frames, {epochs.steps} steps an epoch", flush=True)
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


def corrupt(columns: Tensor, rng: np.random.Generator) -> Tensor:
    """Replace a share of the codes in columns (n, K) by any others."""
    hit = torch.from_numpy(rng.random(tuple(columns.shape)) < CORRUPTION) & (columns < LM.codes)
    anything = torch.from_numpy(rng.integers(0, LM.codes, tuple(columns.shape)))
    return torch.where(hit, anything, columns)


if __name__ == "__main__":
    main()
