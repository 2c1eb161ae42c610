"""Losses of one batch: packed, stored, shared, checkpointed or in halves, they are the same."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.engine.tiny import tiny_config

from mamtra_cli.engine.lessons.examples import Batch, BatchSource
from mamtra_cli.engine.students.fitting import hybrid_of
from mamtra_cli.engine.training.distillation import (
    LAST,
    AlignLoss,
    DistillLoss,
    compared_layers,
    count_targets,
    shared_layers,
)
from mamtra_cli.engine.training.head_loss import LossWeights
from mamtra_cli.engine.training.losses import Divergence
from mamtra_cli.engine.training.teacher_cache import TeacherCache
from mamtra_cli.engine.training.trainer import Loss
from mamtra_cli.families.cosyvoice2.lessons import SpeechLessons
from mamtra_cli.families.cosyvoice2.lm import SpeechLM
from mamtra_cli.families.lessons import IGNORE, Example, Lessons
from mamtra_cli.layers.mixer_config import preset

WEIGHTS = LossWeights(ce=0.3, divergence=1.0, hidden=0.2)


def models(kinds: str = "TTMM", **sizes: object) -> tuple[Lessons, Lessons]:
    """A teacher with weights far from their start, and a student that shares them."""
    config = tiny_config(n_layers=len(kinds), **sizes)
    torch.manual_seed(0)
    teacher = SpeechLM(config.lm).eval().requires_grad_(False)
    for parameter in teacher.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    student = hybrid_of(SpeechLessons(teacher), kinds, preset("mamba2-gqa"))
    for name, parameter in student.lm.named_parameters():
        if ".mixer." in name:
            parameter += 0.02 * torch.randn_like(parameter)
            parameter.requires_grad_(True)
    student.lm.train()
    return SpeechLessons(teacher), student


def examples(count: int = 7, seed: int = 0) -> list[Example]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for i in range(count):
        text, speech = (
            int(torch.randint(a, b, (), generator=generator)) for a, b in ((3, 9), (25, 40))
        )
        made.append(
            Example(
                id=str(i),
                text_ids=tuple(torch.randint(20, (text,), generator=generator).tolist()),
                tokens=tuple(torch.randint(49, (speech,), generator=generator).tolist()),
            )
        )
    return made


def batch(turns: bool = False, count: int = 7) -> Batch:
    flags = tuple(i % 2 == 0 for i in range(count)) if turns else ()
    return Batch(examples=tuple(examples(count)), indices=tuple(range(count)), turns=flags)


def gradients(loss: Loss, student: Lessons) -> dict[str, torch.Tensor]:
    student.lm.zero_grad(set_to_none=True)
    torch.autograd.backward(loss.value)
    named = student.lm.named_parameters()
    return {name: p.grad.clone() for name, p in named if p.grad is not None}


def same(one: Loss, two: Loss, student: Lessons, tolerance: float = 1e-5) -> None:
    """Losses, parts and gradients agree."""
    torch.testing.assert_close(one.value, two.value, rtol=tolerance, atol=tolerance)
    for name, value in one.parts.items():
        assert float(value) == pytest.approx(float(two.parts[name]), rel=tolerance, abs=tolerance)
    first, second = gradients(one, student), gradients(two, student)
    assert first.keys() == second.keys()
    assert first
    for name, value in first.items():
        scale = float(value.abs().max().clamp_min(1e-6))
        assert float((value - second[name]).abs().max()) < 20 * tolerance * max(scale, 1.0), name


@pytest.mark.parametrize("positions", ["aligned", "sequential"])
@pytest.mark.parametrize("turns", [False, True], ids=["unistream", "bistream"])
@pytest.mark.parametrize("stage", ["align", "whole"])
def test_packed_loss_equals_the_padded_one(positions: str, turns: bool, stage: str) -> None:
    teacher, student = models("TMTM", positions=positions)

    def loss(packed: bool) -> Loss:
        if stage == "align":
            return AlignLoss(teacher, student, packed=packed)(batch(turns))
        made = DistillLoss(
            teacher, student, weights=WEIGHTS, divergence=Divergence(), packed=packed
        )
        return made(batch(turns))

    same(loss(False), loss(True), student)
    found = batch(turns)
    assert len(teacher.lay_out(found.examples, turns=found.turns, packed=True).real) == 1


def test_targets_are_counted_without_laying_out() -> None:
    teacher, _ = models()
    for turns in (False, True):
        found = batch(turns)
        laid = teacher.lay_out(found.examples, turns=found.turns)
        assert count_targets(found, teacher) == int((laid.targets != IGNORE).sum())


def test_shared_first_layers_change_nothing() -> None:
    teacher, student = models("TTMT")
    loss = DistillLoss(teacher, student, weights=WEIGHTS, divergence=Divergence())
    assert loss.shared == shared_layers(teacher, student) == 2
    one = loss(batch())
    loss.shared = 0
    same(one, loss(batch()), student, 1e-6)


def test_layers_that_learn_are_not_shared() -> None:
    teacher, student = models("TTMT")
    next(student.stack.blocks()).mlp.requires_grad_(True)
    assert shared_layers(teacher, student) == 0


def test_checkpointed_activations_give_the_same_gradients() -> None:
    teacher, student = models("TMTM")
    loss = DistillLoss(teacher, student, weights=WEIGHTS, divergence=Divergence())
    found = []
    for how in ("none", "scan", "block"):
        student.stack.recompute = how
        found.append(gradients(loss(batch()), student))
    for other in found[1:]:
        assert all(torch.equal(found[0][name], other[name]) for name in found[0])


def test_bfloat16_passes_keep_losses_near_and_gradients_float32() -> None:
    teacher, student = models("TMTM")
    loss = DistillLoss(teacher, student, weights=WEIGHTS, divergence=Divergence())
    plain = loss(batch())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = loss(batch())
    assert reduced.value.dtype == torch.float32
    assert float(reduced.value.detach()) == pytest.approx(float(plain.value.detach()), rel=0.05)
    made = gradients(reduced, student)
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in made.values())


@pytest.mark.parametrize("turns", [False, True], ids=["unistream", "bistream"])
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("kind", ["skew_forward", "kl_reverse", "js"])
def test_stored_teacher_with_every_token_is_the_live_one(
    tmp_path: Path, turns: bool, packed: bool, kind: str
) -> None:
    teacher, student = models("TMTM")
    options = {"weights": WEIGHTS, "divergence": Divergence(kind=kind, temperature=1.3)}
    loss = DistillLoss(teacher, student, packed=packed, **options)  # type: ignore[arg-type]
    live = loss(batch(turns))
    layers = [*loss.inner, LAST]
    flags = batch(turns).turns or [False] * 7
    size = tiny_config().lm.head_size
    loss.cache = TeacherCache(tmp_path, examples(), flags, k=size, temperature=1.3, layers=layers)
    loss.cache.make(teacher)
    same(live, loss(batch(turns)), student, 2e-3)


def test_fewer_stored_tokens_bound_the_divergence_from_below(tmp_path: Path) -> None:
    teacher, student = models("TMTM")
    weights = LossWeights(ce=0.0, divergence=1.0, hidden=0.0)
    loss = DistillLoss(teacher, student, weights=weights, divergence=Divergence())
    live = float(loss(batch()).value.detach())
    found = []
    for k in (1, 8, 24):
        cache = TeacherCache(tmp_path / str(k), examples(), [False] * 7, k=k)
        cache.make(teacher)
        loss.cache = cache
        found.append(float(loss(batch()).value.detach()))
    assert 0 < found[0] < found[1] < found[2] <= live + 2e-3


def test_damaged_store_names_the_file(tmp_path: Path) -> None:
    from mamtra_cli.errors import TrainingError

    teacher, student = models("TMTM")
    loss = DistillLoss(teacher, student, weights=WEIGHTS, divergence=Divergence())
    cache = TeacherCache(tmp_path, examples(), [False] * 7, k=4)
    cache.make(teacher)
    cache.path(0).write_bytes(b"nothing")
    loss.cache = cache
    with pytest.raises(TrainingError, match="teacher-00000"):
        loss(batch())


def test_compared_layers_are_outputs_of_replaced_ones_all_or_the_last() -> None:
    assert compared_layers("TMTM", "replaced") == ([2], True)
    assert compared_layers("TMTT", "replaced") == ([2], False)
    assert compared_layers("TMTM", "all") == ([1, 2, 3], True)
    assert compared_layers("TMTM", "last") == ([], True)


def test_hidden_weight_falls_to_its_share() -> None:
    teacher, student = models("TMTM")
    loss = DistillLoss(
        teacher, student, weights=WEIGHTS, divergence=Divergence(), hidden_final=0.0, steps=10
    )
    shown = [loss.weights_at(step).hidden for step in (0, 5, 10)]
    assert shown == pytest.approx([0.2, 0.1, 0.0])


def test_shares_of_a_batch_add_up_to_it() -> None:
    teacher, student = models("TMTM")
    whole = batch(count=5)
    loss = DistillLoss(teacher, student, weights=WEIGHTS, divergence=Divergence())
    count = loss.count(whole)
    want = gradients(loss(whole), student)
    totals: list[torch.Tensor] = []
    shares = [replace(whole.share(rank, 6), count=count) for rank in range(6)]
    assert [share.blank for share in shares] == [False] * 5 + [True]

    def record(value: torch.Tensor) -> torch.Tensor:
        totals.append(value)
        return value

    loss.total = record
    for share in shares:
        loss(share)
    below = [sum(totals[i::2], torch.zeros(())) for i in range(2)]
    calls = iter(range(10_000))
    loss.total = lambda value: below[next(calls) % 2]
    student.lm.zero_grad(set_to_none=True)
    for share in shares:
        torch.autograd.backward(loss(share).value)
    for name, parameter in student.lm.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, want[name], rtol=1e-3, atol=1e-5)


def test_layouts_in_turns_are_a_share_and_change_with_the_epoch() -> None:
    source = BatchSource(examples(40), budget=200, seed=3, bistream=0.5)
    flags = [source.flags(epoch) for epoch in (0, 1)]
    assert all(8 < sum(one) < 32 for one in flags)
    assert flags[0] != flags[1]
    settled = BatchSource(examples(40), budget=200, seed=3, bistream=0.5, settled=True)
    assert settled.flags(0) == settled.flags(1) == flags[0]
    found, _ = next(source.batches())
    assert found.turns == tuple(flags[0][i] for i in found.indices)
