"""A teacher, a mixer for each of its layers, and speech on which any plan of the two is compared.

Every layer is fitted to what the teacher gives it, so one fit of all layers serves every plan. A
plan is a string of letters: `T` is the teacher's block, `-` the same without its mixer, any other
letter the block with the new mixer. Plans are run in sorted order and share the layers in which
they begin alike; a plan is never run twice. Knows language models and examples; no folders.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.backbone.calibrate import RIDGE
from mamtra_cli.backbone.kinds import kind_of
from mamtra_cli.engine.lessons.examples import BatchOrder, BatchSource, Example
from mamtra_cli.engine.students.fitting import fit, hybrid_of
from mamtra_cli.engine.training.distillation import AlignLoss
from mamtra_cli.engine.training.trainer import Trainer, TrainOptions
from mamtra_cli.events import Advance, Report, ignore
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.cosyvoice2.sequences import IGNORE, LMBatch, is_aligned, lay_out
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.rotary import RopeTable

POSITIONS = 2048  # padded positions of one batch of comparison
ALIGN_POSITIONS = 1024  # padded positions of one alignment step
ALIGN_LR = 1e-3
DROPPED = "-"


@dataclass(frozen=True, kw_only=True)
class Score:
    """A plan against its teacher, in nats a target."""

    kl: float
    ce: float


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A batch as the stack reads it; wanted: (B, T) bool, final: (M, D) of the teacher."""

    x: Tensor
    positions: Tensor
    rope: RopeTable | None
    wanted: Tensor
    targets: Tensor
    final: Tensor


def make_pool(
    teacher: SpeechLM,
    mixer: MixerConfig,
    examples: Sequence[Example],
    *,
    letter: str = "M",
    init: str = "transfer",
    calibrate: str = "ls",
    ridge: float = RIDGE,
    seed: int = 0,
) -> SpeechLM:
    """A student with every layer converted and fitted, sharing the rest with its teacher.

    Args:
        teacher: a language model of attention layers.
        mixer: choices of the new layers.
        examples: speech for the fit; may be empty where `calibrate` is `none`.
        letter: kind of the new layers.
        init, calibrate, ridge: as in `hybrid_of` and `fit`.
        seed: of whatever is drawn.
    """
    pool = hybrid_of(teacher, letter * teacher.config.n_layers, mixer, init=init, seed=seed)
    if kind_of(letter).fitted and calibrate != "none":
        fit(teacher, pool, examples, mode=calibrate, ridge=ridge)
    return pool


def align_pool(
    teacher: SpeechLM,
    pool: SpeechLM,
    examples: Sequence[Example],
    *,
    steps: int,
    seed: int = 0,
    report: Report = ignore,
) -> None:
    """Train every mixer of the pool on its own, on what the teacher gives its layer."""
    for block in pool.stack.blocks():
        cast(nn.Module, block.core).requires_grad_(True)
    longest = max(example.positions for example in examples)
    source = BatchSource(examples, budget=max(ALIGN_POSITIONS, longest), seed=seed)
    options = TrainOptions(
        steps=steps, lr=ALIGN_LR, warmup=max(1, steps // 10), log_every=max(1, steps // 5)
    )
    Trainer(pool, AlignLoss(teacher, pool), source, options, report=report).run()
    pool.eval().requires_grad_(False)


class Bench:
    """Compares plans made of a teacher's blocks and a pool's.

    Args:
        teacher: a language model of attention layers.
        pool: the same with every layer converted (`make_pool`).
        examples: speech to compare on.
        bistream: percent of the examples laid out in turns of text and speech; -1 is 50 where
            positions are counted, 0 where they are assigned.
    """

    def __init__(
        self,
        teacher: SpeechLM,
        pool: SpeechLM,
        examples: Sequence[Example],
        *,
        bistream: int = -1,
    ) -> None:
        self.teacher, self.pool = teacher, pool
        self.letter = pool.config.hybrid.layer_kinds[0]
        self.n_layers = teacher.config.n_layers
        self._theirs, self._ours = list(teacher.stack.blocks()), list(pool.stack.blocks())
        self._known: dict[str, Score] = {}
        share = (0 if is_aligned(teacher.config) else 50) if bistream < 0 else bistream
        self._batches = self._prepare(examples, share)
        self.tokens = sum(len(batch.targets) for batch in self._batches)
        self.reference = self.measure(["T" * self.n_layers])[0]

    def plan(self, kept: Sequence[int]) -> str:
        """The plan that keeps some layers and converts the others."""
        return "".join("T" if i in kept else self.letter for i in range(self.n_layers))

    def known(self, count: int) -> dict[str, Score]:
        """Plans of the two kinds that were measured and keep `count` layers."""
        return {
            plan: score
            for plan, score in self._known.items()
            if plan.count("T") == count and DROPPED not in plan
        }

    def assemble(self, kinds: str) -> SpeechLM:
        """A language model of its own for a plan, sharing every tensor."""
        config = replace(self.teacher.config, kinds=kinds, mixer=self.pool.config.mixer)
        with torch.device("meta"):
            made = SpeechLM(config)
        for name in ("llm_embedding", "llm_decoder", "speech_embedding"):
            setattr(made, name, getattr(self.teacher, name))
        stack = made.stack
        stack.embed_tokens, stack.norm = self.teacher.stack.embed_tokens, self.teacher.stack.norm
        for i, letter in enumerate(kinds):
            stack.layers[i] = self._theirs[i] if letter == "T" else self._ours[i]
        return made.eval().requires_grad_(False)

    @torch.inference_mode()
    def measure(self, plans: Sequence[str], report: Report = ignore) -> list[Score]:
        """Forward KL and cross entropy of plans, in the order given.

        Args:
            plans: one letter a layer each.
            report: hears `Advance` once a plan.
        """
        for plan in plans:
            if len(plan) != self.n_layers or set(plan) - {"T", DROPPED, self.letter}:
                raise ValueError(f"{plan!r} is no plan of T, {DROPPED} and {self.letter} here")
        new = sorted(set(plans) - self._known.keys())
        sums = dict.fromkeys(new, torch.zeros(2, dtype=torch.float64))
        for number, batch in enumerate(self._batches):
            log_p = self._log_probs(batch.final)
            states, before = [batch.x], ""
            for plan in new:
                shared = next(
                    (i for i, (a, b) in enumerate(zip(before, plan, strict=False)) if a != b),
                    len(before),
                )
                del states[shared + 1 :]
                for i in range(shared, self.n_layers):
                    states.append(self._layer(i, plan[i], states[-1], batch))
                before = plan
                hidden = self.teacher.stack.norm(states[-1])[batch.wanted]
                sums[plan] = sums[plan] + self._compare(log_p, hidden, batch.targets)
                if number == len(self._batches) - 1:
                    report(Advance())
        for plan, total in sums.items():
            kl, ce = (total / self.tokens).tolist()
            self._known[plan] = Score(kl=max(kl, 0.0), ce=ce)
        report(Advance(amount=len(plans) - len(new)))
        return [self._known[plan] for plan in plans]

    @torch.inference_mode()
    def cosine(self) -> list[float]:
        """1 - cos of each block's input and output in the teacher, over the speech targets."""
        sums = torch.zeros(self.n_layers, dtype=torch.float64)
        for batch in self._batches:
            x = batch.x
            for i in range(self.n_layers):
                after = self._layer(i, "T", x, batch)
                pair = x[batch.wanted].float(), after[batch.wanted].float()
                sums[i] += float((1 - F.cosine_similarity(*pair, dim=-1)).double().sum())
                x = after
        return (sums / self.tokens).tolist()

    def _layer(self, i: int, letter: str, x: Tensor, batch: _Prepared) -> Tensor:
        """Run one layer: x (B, T, D) to (B, T, D)."""
        block = self._theirs[i] if letter in ("T", DROPPED) else self._ours[i]
        if letter == DROPPED:
            return block.fed(x)
        # Padding is on the right, so only a recurrence's state could hear of it, and none is kept.
        out, _ = block(x, None, batch.positions, None, None, batch.rope)
        return cast(Tensor, out)

    def _log_probs(self, hidden: Tensor) -> Tensor:
        return torch.log_softmax(self.teacher.llm_decoder(hidden).float(), dim=-1)

    def _compare(self, log_p: Tensor, hidden: Tensor, targets: Tensor) -> Tensor:
        """Sums of KL and cross entropy, (2,) float64, over hidden: (M, D)."""
        log_q = self._log_probs(hidden)
        kl = (log_p.exp() * (log_p - log_q)).sum(-1)
        ce = -log_q.gather(1, targets[:, None])[:, 0]
        return torch.stack((kl.double().sum(), ce.double().sum())).cpu()

    @torch.inference_mode()
    def _prepare(self, examples: Sequence[Example], share: int) -> list[_Prepared]:
        """Lay examples out in batches and run the teacher once."""
        lengths = [example.positions for example in examples]
        order = BatchOrder(lengths, budget=max(POSITIONS, max(lengths)), seed=0)
        turns = [(i + 1) * share // 100 > i * share // 100 for i in range(len(examples))]
        made = []
        for indices in order.epoch(0):
            laid = lay_out(
                self.teacher.config,
                [examples[i].text_ids for i in indices],
                [examples[i].tokens for i in indices],
                [turns[i] for i in indices],
            ).to(self.teacher.speech_embedding.weight.device)
            made.append(self._prepare_one(laid))
        return made

    def _prepare_one(self, laid: LMBatch) -> _Prepared:
        x = self.teacher.embed(laid)
        positions = laid.positions
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device)
        wanted = laid.targets != IGNORE
        stack = self.teacher.stack
        out = stack(x, positions=positions, keep_state=False)
        return _Prepared(
            x=stack.placed(x, positions),
            positions=positions,
            rope=stack.rope(positions, x.dtype),
            wanted=wanted,
            targets=laid.targets[wanted],
            final=out.hidden[wanted],
        )
