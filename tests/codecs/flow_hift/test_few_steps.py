"""A flow of mean velocities: where it starts, what it learns, and that streams stay exact."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from tests.codecs.flow_hift.test_flow import SMALL
from torch import Tensor

from mamtra_cli.codecs.flow_hift.few_steps import (
    FewSteps,
    divisors,
    intervals,
    of_means,
    of_tokens,
    shortened,
    whose,
)
from mamtra_cli.codecs.flow_hift.flow import Flow, fixed_noise, time_grid
from mamtra_cli.codecs.flow_hift.heard import hear
from mamtra_cli.errors import PlanError, UsageError


@dataclass(frozen=True)
class Model:
    """What a course keeps of a model."""

    flow: Any


@dataclass(frozen=True)
class Said:
    """An utterance."""

    id: str
    tokens: tuple[int, ...]


SAID = [Said(f"u{i}", tuple((7 * i + k) % 30 for k in range(6 + i))) for i in range(4)]


def teacher() -> Flow:
    torch.manual_seed(0)
    return Flow(SMALL).eval().requires_grad_(False)


def course(steps: int = 2, flow: Flow | None = None) -> FewSteps:
    flow = flow or teacher()
    torch.manual_seed(1)
    return FewSteps(Model(flow.config), flow, of_tokens(flow), list(torch.randn(3, 6)), steps)


def random_student(steps: int = 2) -> Flow:
    """A flow of mean velocities in which nothing is zero by its start."""
    torch.manual_seed(2)
    flow = Flow(shortened(SMALL, steps)).eval().requires_grad_(False)
    for parameter in flow.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return flow


def shown(flow: Flow, said: Said = SAID[3]) -> tuple[Tensor, ...]:
    mu, _ = flow.encode(torch.tensor([said.tokens]), streaming=False)
    noise = fixed_noise(0, mu.shape[2], mu.shape[1])
    return mu, flow.speaker(torch.ones(1, 6)), torch.zeros_like(mu), noise


def test_new_input_says_nothing_at_first() -> None:
    made = course()
    given = shown(made.teacher)
    want = made.teacher.decoder.solve(*given, streaming=True, steps=2, guidance=0.0)
    assert torch.equal(made.module.decoder.solve(*given, streaming=True), want)


def test_intervals_are_the_steps_of_every_divisor() -> None:
    assert divisors(6) == [1, 2, 3, 6]
    assert intervals(2, 10) == [(0, 10, 1), (0, 5, 2), (5, 10, 2)]
    found = course(4)
    assert found.teacher_steps == 12
    grid, fine = time_grid(4), time_grid(12)
    own = [(start, stop) for start, stop, count in found.intervals if count == 4]
    assert torch.allclose(grid, fine[[0, *(stop for _, stop in own)]], atol=1e-6)


def test_path_is_what_solve_does_and_padding_is_inert() -> None:
    flow, said = teacher(), SAID[:3]
    heard = of_tokens(flow)(said, True)
    noise = torch.randn(heard.mu.shape, generator=torch.Generator().manual_seed(0))
    spks, cond = flow.speaker(torch.ones(3, 6)), torch.zeros_like(heard.mu)
    points = list(
        flow.decoder.path(heard.mu, spks, cond, noise, streaming=True, steps=3, mask=heard.mask)
    )
    assert torch.allclose(torch.stack([t for t, _ in points]), time_grid(3), atol=1e-6)
    for row in range(3):
        size = int(heard.mask[row].sum())
        alone = flow.decoder.solve(
            heard.mu[row : row + 1, :, :size], spks[:1], cond[:1, :, :size],
            noise[row : row + 1, :, :size], streaming=True, steps=3,
        )  # fmt: skip
        torch.testing.assert_close(points[-1][1][row, :, :size], alone[0], atol=2e-5, rtol=0)


def test_loss_is_zero_for_the_mean_velocities_of_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    made = course(2)

    def straight(x: Tensor, *args: Any, **options: Any) -> Tensor:
        return torch.full_like(x, 3.0)

    for flow in (made.teacher, made.module):
        monkeypatch.setattr(flow.decoder.estimator, "forward", straight)
    assert made.losses(SAID, 3)["loss"].item() == pytest.approx(0.0, abs=1e-5)  # of float32
    assert made.losses(SAID, None)["mel_2"].item() == pytest.approx(0.0, abs=1e-5)


def test_loss_depends_on_the_seed_alone_and_learns_the_estimator_alone() -> None:
    flow = teacher()
    flow.decoder.estimator.final_proj.weight.mul_(8)  # or one step would do as it is
    made = course(2, flow)
    first, other = made.losses(SAID, 4)["loss"], made.losses(SAID, 5)["loss"]
    torch.manual_seed(9)
    assert torch.equal(made.losses(SAID, 4)["loss"], first)
    assert not torch.equal(first, other)
    before = {name: p.clone() for name, p in made.module.named_parameters()}
    distance = float(made.losses(SAID, None)["mel_2"])
    learned = [p for p in made.module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learned, 1e-3)
    for step in range(40):
        optimizer.zero_grad()
        made.losses(SAID, step)["loss"].backward()
        optimizer.step()
    changed = {
        name for name, p in made.module.named_parameters() if not torch.equal(p, before[name])
    }
    assert changed == {name for name in before if name.startswith("decoder.estimator.")}
    assert float(made.losses(SAID, None)["mel_2"]) < 0.85 * distance


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_streaming_flow_of_whole_chunks_is_a_prefix(steps: int) -> None:
    flow = random_student(steps)
    ids = torch.arange(23)[None] % 30
    nobody = torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, 0, 8), torch.ones(1, 6)
    whole = flow.inference(ids, *nobody, streaming=True)
    chunk, ahead = flow.config.encoder.chunk, flow.config.encoder.lookahead
    for end in range(chunk, 20, chunk):
        got = flow.inference(ids[:, : end + ahead], *nobody, streaming=True, finalize=False)
        torch.testing.assert_close(got, whole[:, :, : 2 * end], atol=2e-5, rtol=0)


def test_a_prompt_that_was_heard_once_changes_nothing() -> None:
    flow = random_student()
    prompt = torch.arange(15)[None], torch.randn(1, 30, 8), torch.ones(1, 6)
    ids = torch.arange(9)[None]
    want = flow.inference(ids, *prompt, streaming=True)
    heard = hear(flow, *prompt, 8)
    assert len(heard.steps) == 2
    got = flow.inference(ids, *prompt, streaming=True, heard=heard)
    torch.testing.assert_close(got, want, atol=2e-5, rtol=2e-5)


def test_what_another_network_says_is_padded_and_made_once() -> None:
    asked = []

    def made(said: Said) -> Tensor:
        asked.append(said.id)
        return torch.full((len(said.tokens), 8), 2.0)

    hear = of_means(made)
    heard = hear(SAID[:2], True)
    hear(SAID[:2], False)
    assert asked == ["u0", "u1"]
    assert heard.mu.shape == (2, 8, 7)
    assert heard.mask.sum(1).tolist() == [6, 7]
    assert not heard.mu[0, :, 6:].any()
    assert {whose(f"u{i}", 3) for i in range(30)} == {0, 1, 2}


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(PlanError, match="2 steps already"):
        course(1, random_student(2))
    with pytest.raises(UsageError, match="no voices"):
        FewSteps(Model(SMALL), teacher(), of_tokens(teacher()), [], 2)
    with pytest.raises(UsageError, match="no guidance"):
        replace(SMALL, velocity="mean")
    with pytest.raises(UsageError, match="`velocity`"):
        replace(SMALL, velocity="some")
    flow = random_student()
    with pytest.raises(ValueError, match="guidance in its weights"):
        flow.decoder.solve(*shown(flow), streaming=False, guidance=0.7)
    mu = torch.zeros(1, 8, 4)
    with pytest.raises(ValueError, match="`r`"):
        flow.decoder.estimator(mu, mu, torch.zeros(1), torch.zeros(1, 8), mu)
