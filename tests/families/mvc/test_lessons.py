"""Learning the laws of a made-up language; see language.py."""

import math
from dataclasses import replace

import pytest
import torch
from tests.families.mvc.language import language
from tests.families.mvc.tiny import SIZES
from torch import Tensor

from mamtra_cli.families.mvc.conditioner import Conditioner, TokenFeatures
from mamtra_cli.families.mvc.config import ConditionerConfig
from mamtra_cli.families.mvc.lessons import ConditionerBatch, in_windows, losses, with_noise


@pytest.fixture(scope="module")
def taught() -> Conditioner:
    """A conditioner after some 100 steps."""
    torch.manual_seed(0)
    model = Conditioner(ConditionerConfig(**SIZES))  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3)
    generator = torch.Generator().manual_seed(1)
    for step in range(100):
        for group in optimizer.param_groups:
            group["lr"] = 6e-3 * (1 - step / 100)
        batch = with_noise(language(12, step), generator)
        loss = losses(model, batch, generator)["total"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval().requires_grad_(False)


def said(model: Conditioner, batch: ConditionerBatch) -> tuple[TokenFeatures, Tensor, Tensor]:
    """Phones, normalised pitch and mu of a batch, frames where they are."""
    style = model.styled(model.style(batch.reference))
    found, _ = model.tokens(batch.ids, style, mask=batch.mask)
    x, real = model.expand(found.features, batch.frames)
    spoken, _ = model.frames(x, style, mask=real)
    return found, spoken.pitch, spoken.mu * real[..., None]


def test_the_laws_of_the_language_are_learned(taught: Conditioner) -> None:
    batch = language(32, 10_000)
    found, pitch, mu = said(taught, batch)
    real = batch.mu.abs().sum(-1) > 0
    # Each phone said by the mean of both speakers is off by 1 in every bin.
    assert float((mu - batch.mu)[real].abs().mean()) < 0.5
    ratio = torch.exp2(found.log_duration)[batch.mask] / batch.frames[batch.mask]
    assert float((ratio - 1).abs().mean()) < 0.10
    gap = (pitch - batch.pitch)[batch.voiced > 0] * taught.config.pitch_deviation * math.log(2)
    assert float(gap.square().mean().sqrt()) < 0.05


def test_the_reference_decides_the_speaker(taught: Conditioner) -> None:
    batch = language(32, 20_000)
    speaker = batch.reference.mean((1, 2)).sign()
    real = batch.mu.abs().sum(-1, keepdim=True) > 0
    shapes = batch.mu - speaker[:, None, None] * real
    _, _, mu = said(taught, replace(batch, reference=-batch.reference))
    swapped, kept = (
        (mu - shapes - side[:, None, None] * real).abs().mean((1, 2))
        for side in (-speaker, speaker)
    )
    assert float((swapped < kept).float().mean()) >= 0.95


def test_windows_of_a_batch_equal_the_stream(taught: Conditioner) -> None:
    batch = language(1, 30_000)
    style = taught.styled(taught.style(batch.reference))
    whole, _ = taught.tokens(batch.ids, style)
    covered = in_windows(taught, batch, style, 2, 20)
    assert torch.equal(covered.features, whole.features)
    near = in_windows(taught, batch, style, 2, 2)
    error = (near.log_duration - whole.log_duration).abs().mean()
    assert 0 < error < 0.2


def test_a_look_ahead_comes_within_five_hundredths_of_the_whole(taught: Conditioner) -> None:
    batch = language(32, 40_000)
    style = taught.styled(taught.style(batch.reference))
    _, _, whole = said(taught, batch)
    found = in_windows(taught, batch, style, 2, 4)
    x, real = taught.expand(found.features, batch.frames)
    spoken, _ = taught.frames(x, style, mask=real)
    gap = (spoken.mu * real[..., None] - whole).abs().sum() / whole.abs().sum()
    assert 0 < float(gap) < 0.05
