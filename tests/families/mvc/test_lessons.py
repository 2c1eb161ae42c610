"""Learning: a made-up language whose phones have laws of length, pitch and shape."""

from dataclasses import replace

import pytest
import torch
from tests.families.mvc.tiny import SIZES
from torch import Tensor

from mamtra_cli.families.mvc.conditioner import Conditioner
from mamtra_cli.families.mvc.config import ConditionerConfig
from mamtra_cli.families.mvc.lessons import ConditionerBatch, in_windows, losses, with_noise


def language(rows: int, seed: int) -> ConditionerBatch:
    """Sentences in which phone i lasts 1 + i % 4 frames, has a shape and a pitch of its own."""
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.randn(21, 10, generator=torch.Generator().manual_seed(99))
    lengths = torch.randint(5, 9, (rows,), generator=generator)
    ids = torch.randint(0, 21, (rows, int(lengths.max())), generator=generator)
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    frames = (1 + ids % 4) * mask
    speaker = torch.randint(0, 2, (rows,), generator=generator) * 2.0 - 1.0
    longest = int(frames.sum(1).max())

    def spread(values: Tensor) -> Tensor:
        out = torch.zeros(rows, longest, *values.shape[2:])
        for row in range(rows):
            said = values[row].repeat_interleave(frames[row], dim=0)
            out[row, : len(said)] = said
        return out

    mu = spread(shapes[ids] + speaker[:, None, None])
    reference = speaker[:, None, None] + 0.1 * torch.randn(rows, 12, 10, generator=generator)
    return ConditionerBatch(
        ids=ids,
        mask=mask,
        frames=frames,
        reference=reference,
        reference_mask=torch.ones(rows, 12, dtype=torch.bool),
        pitch=spread((ids % 5 - 2.0)[..., None])[..., 0] / 2,
        voiced=spread((ids % 3 > 0).float()[..., None])[..., 0],
        energy=spread((ids % 2).float()[..., None])[..., 0],
        mu=mu,
    )


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


def test_the_laws_of_the_language_are_learned(taught: Conditioner) -> None:
    batch = language(32, 10_000)
    parts = losses(taught, batch)
    baseline = (batch.mu - batch.mu.mean()).abs()[batch.mu.abs().sum(-1) > 0].mean()
    assert parts["mu"] < 0.5 * baseline
    found, _ = taught.tokens(
        batch.ids, taught.styled(taught.style(batch.reference)), mask=batch.mask
    )
    ratio = torch.exp2(found.log_duration)[batch.mask] / batch.frames[batch.mask]
    assert float((ratio - 1).abs().mean()) < 0.15
    assert parts["pitch"] < 0.3


def test_the_reference_decides_the_speaker(taught: Conditioner) -> None:
    batch = language(16, 20_000)
    swapped = replace(batch, reference=-batch.reference)
    assert losses(taught, swapped)["mu"] > 2 * losses(taught, batch)["mu"]


def test_windows_of_a_batch_equal_the_stream(taught: Conditioner) -> None:
    batch = language(1, 30_000)
    style = taught.styled(taught.style(batch.reference))
    whole, _ = taught.tokens(batch.ids, style)
    covered = in_windows(taught, batch, style, 2, 20)
    assert torch.equal(covered.features, whole.features)
    near = in_windows(taught, batch, style, 2, 2)
    error = (near.log_duration - whole.log_duration).abs().mean()
    assert 0 < error < 0.2
