"""The step over fixed buffers gives what the fused step gives, and asks the device nothing."""

import pytest
import torch
from tests.backbone.decoding.test_fused import CASES, inputs, make, same
from tests.pretended_cuda import pretended_cuda

from mamtra_cli.backbone.decoding.caches import DecodeState, leave
from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.backbone.decoding.graph import SHORTEST, GraphedStep, bucket
from mamtra_cli.backbone.decoding.static import StaticRows
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.layers.mixer_config import PRESETS, MixerConfig


def ragged(fused: FusedStack, stack: HybridStack, device: str = "cpu") -> DecodeState:
    """Three rows of other lengths, the middle one free."""
    x = inputs(3, 9).to(device, stack.norm.weight.dtype)
    real = torch.ones(3, 9, dtype=torch.bool, device=device)
    real[0, :4] = False
    return leave(fused.start(stack(x, pad_mask=real).state, room=2), [1])


@torch.no_grad()
@pytest.mark.parametrize(("kinds", "mixer"), CASES)
def test_fixed_buffers_give_the_fused_step(kinds: str, mixer: MixerConfig) -> None:
    stack = make(kinds, mixer)
    fused = FusedStack(stack)
    state, rows = ragged(fused, stack), StaticRows(fused, ragged(fused, stack), capacity=24)
    places = [value.data_ptr() for value in rows.moving]
    for token in inputs(3, 12).unbind(dim=1):
        want, state = fused.step(token, state)
        got = rows.step(token, 24)
        same(got[[0, 2]], want[[0, 2]])
        assert rows.lengths.tolist() == list(state.lengths)
    assert [value.data_ptr() for value in rows.moving] == places


@torch.no_grad()
@pytest.mark.parametrize("kinds", ["TMM", "SMS", "TTT"])
def test_a_step_reads_nothing_back_from_the_device(kinds: str) -> None:
    with pretended_cuda() as cuda:
        stack = make(kinds, PRESETS["mamba2-gqa"]).float().to("cuda")
        fused = FusedStack(stack)
        rows = StaticRows(fused, ragged(fused, stack, "cuda"), capacity=24)
        x = inputs(3, 1)[:, 0].float().to("cuda")
        before = cuda.reads
        for _ in range(2):
            x = rows.step(x, 24)
        assert cuda.reads == before
        assert x.device == torch.device("cuda", 0)


@torch.no_grad()
def test_a_recorded_step_without_a_device_is_the_step_itself() -> None:
    stack = make("TMM", PRESETS["mamba2-gqa"])
    fused = FusedStack(stack)
    state = ragged(fused, stack)
    rows = StaticRows(fused, ragged(fused, stack), capacity=14)
    x, out = inputs(3, 1)[:, 0], torch.empty(3, stack.config.d_model, dtype=torch.float64)

    def work(end: int) -> None:
        out.copy_(rows.step(x, end))

    step = GraphedStep(rows, work)
    for _ in range(5):
        want, state = fused.step(x, state)
        step()
        same(out[[0, 2]], want[[0, 2]])
    assert not step.recorded
    rows.longest = rows.capacity
    with pytest.raises(ValueError, match="no room"):
        step()


def test_graphs_are_few() -> None:
    ends = {bucket(tokens, 3000) for tokens in range(1, 3001)}
    assert ends == {SHORTEST, 512, 1024, 2048, 3000}
    assert all(bucket(tokens, 3000) >= tokens for tokens in range(1, 3001))
