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
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.backbone.kinds import kind_of
from mamtra_cli.engine.lessons.agreement import batches
from mamtra_cli.engine.lessons.examples import BatchSource
from mamtra_cli.engine.students.fitting import fit, hybrid_of
from mamtra_cli.engine.training.distillation import AlignLoss
from mamtra_cli.engine.training.trainer import Trainer, TrainOptions
from mamtra_cli.events import Advance, Report, ignore
from mamtra_cli.families.lessons import IGNORE, Example, Layout, Lessons, counted
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
    """A batch as the stack reads it.

    wanted: (B, T) bool, N positions that predict; counted: (N, K) bool, M targets at them;
    targets: (M,) long; final: (N, D) of the teacher.
    """

    x: Tensor
    positions: Tensor
    rope: RopeTable | None
    wanted: Tensor
    counted: Tensor
    targets: Tensor
    final: Tensor


def make_pool(
    teacher: Lessons,
    mixer: MixerConfig,
    examples: Sequence[Example],
    *,
    letter: str = "M",
    init: str = "transfer",
    calibrate: str = "ls",
    ridge: float = RIDGE,
    seed: int = 0,
) -> Lessons:
    """A student with every layer converted and fitted, sharing the rest with its teacher.

    Args:
        teacher: a language model of attention layers.
        mixer: choices of the new layers.
        examples: speech for the fit; may be empty where `calibrate` is `none`.
        letter: kind of the new layers.
        init, calibrate, ridge: as in `hybrid_of` and `fit`.
        seed: of whatever is drawn.
    """
    pool = hybrid_of(teacher, letter * teacher.stack.config.n_layers, mixer, init=init, seed=seed)
    if kind_of(letter).fitted and calibrate != "none":
        fit(teacher, pool, examples, mode=calibrate, ridge=ridge)
    return pool


def align_pool(
    teacher: Lessons,
    pool: Lessons,
    examples: Sequence[Example],
    *,
    steps: int,
    seed: int = 0,
    report: Report = ignore,
) -> None:
    """Train every mixer of the pool on its own, on what the teacher gives its layer."""
    for block in pool.stack.blocks():
        cast(nn.Module, block.core).requires_grad_(True)
    longest = max(map(teacher.size, examples))
    source = BatchSource(
        examples, budget=max(ALIGN_POSITIONS, longest), seed=seed, size=teacher.size
    )
    options = TrainOptions(
        steps=steps, lr=ALIGN_LR, warmup=max(1, steps // 10), log_every=max(1, steps // 5)
    )
    Trainer(pool.lm, AlignLoss(teacher, pool), source, options, report=report).run()
    pool.lm.eval().requires_grad_(False)


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
        teacher: Lessons,
        pool: Lessons,
        examples: Sequence[Example],
        *,
        bistream: int = -1,
    ) -> None:
        self.teacher, self.pool = teacher, pool
        self.letter = pool.stack.config.layer_kinds[0]
        self.n_layers = teacher.stack.config.n_layers
        self._theirs, self._ours = list(teacher.stack.blocks()), list(pool.stack.blocks())
        self._known: dict[str, Score] = {}
        share = (50 if teacher.in_turns else 0) if bistream < 0 else bistream
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

    def assemble(self, kinds: str) -> Lessons:
        """A language model of its own for a plan, sharing every tensor."""
        theirs = self.teacher.stack
        with torch.device("meta"):
            stack = HybridStack(
                replace(theirs.config, kinds=kinds, mixer=self.pool.stack.config.mixer)
            )
        for name, module in theirs.named_children():
            if name != "layers":
                stack.set_submodule(name, module)
        for i, letter in enumerate(kinds):
            stack.layers[i] = self._theirs[i] if letter == "T" else self._ours[i]
        return self.teacher.around(stack)

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
            log_p = self._log_probs(batch.final, batch)
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
                sums[plan] = sums[plan] + self._compare(log_p, hidden, batch)
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
        return (sums / sum(len(batch.final) for batch in self._batches)).tolist()

    def _layer(self, i: int, letter: str, x: Tensor, batch: _Prepared) -> Tensor:
        """Run one layer: x (B, T, D) to (B, T, D)."""
        block = self._theirs[i] if letter in ("T", DROPPED) else self._ours[i]
        if letter == DROPPED:
            return block.fed(x)
        # Padding is on the right, so only a recurrence's state could hear of it, and none is kept.
        out, _ = block(x, None, batch.positions, None, None, batch.rope)
        return cast(Tensor, out)

    def _log_probs(self, hidden: Tensor, batch: _Prepared) -> Tensor:
        """(M, V) of the last states (N, D) of a batch."""
        logits = counted(self.teacher.heads(hidden), batch.counted)
        return torch.log_softmax(logits.float(), dim=-1)

    def _compare(self, log_p: Tensor, hidden: Tensor, batch: _Prepared) -> Tensor:
        """Sums of KL and cross entropy, (2,) float64, over log_p: (M, V) and hidden: (N, D)."""
        log_q = self._log_probs(hidden, batch)
        kl = (log_p.exp() * (log_p - log_q)).sum(-1)
        ce = -log_q.gather(1, batch.targets[:, None])[:, 0]
        return torch.stack((kl.double().sum(), ce.double().sum())).cpu()

    @torch.inference_mode()
    def _prepare(self, examples: Sequence[Example], share: int) -> list[_Prepared]:
        """Lay examples out in batches and run the teacher once."""
        turns = [(i + 1) * share // 100 > i * share // 100 for i in range(len(examples))]
        made = []
        for indices in batches(self.teacher, examples, POSITIONS):
            laid = self.teacher.lay_out(
                [examples[i] for i in indices], turns=[turns[i] for i in indices]
            )
            made.append(self._prepare_one(laid))
        return made

    def _prepare_one(self, laid: Layout) -> _Prepared:
        x = self.teacher.embed(laid.inputs)
        positions = laid.positions
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device)
        stack = self.teacher.stack
        targets = laid.targets != IGNORE  # (B, T, K)
        wanted = targets.any(-1)
        out = stack(x, positions=positions, keep_state=False)
        return _Prepared(
            x=stack.placed(x, positions),
            positions=positions,
            rope=stack.rope(positions, x.dtype),
            wanted=wanted,
            counted=targets[wanted],
            targets=laid.targets[targets],
            final=out.hidden[wanted],
        )
