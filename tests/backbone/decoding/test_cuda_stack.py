"""The stack on a GPU: every mixer, padded, packed, in parts and trained, gives the CPU's numbers.

On a pretended device (tests/pretended_cuda.py), so that machines without one notice.
"""

import pytest
import torch
from tests.backbone.decoding.test_fused import CASES, inputs, make, same
from tests.pretended_cuda import pretended_cuda
from torch import Tensor

from mamtra_cli.backbone.decoding.caches import compact, finish, leave
from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.layers.mixer_config import PRESETS, MixerConfig
from mamtra_cli.layers.state import HybridState, KVState, MambaState

HERE = torch.device("cpu")
THERE = torch.device("cuda", 0)


def placed(state: HybridState) -> set[torch.device]:
    """Where the tensors of a state are."""
    found = [value for layer in state.layers for value in vars(layer).values()]
    return {value.device for value in (*found, state.position) if isinstance(value, Tensor)}


def read(stack: HybridStack, x: Tensor, device: torch.device) -> dict[str, Tensor]:
    """Everything a stack can be asked for, on a device."""
    stack, x = stack.to(device), x.to(device)
    rows = torch.tensor([[0] * 5 + [1] * 7, [0] * 12], device=device)
    real = torch.ones(2, 12, dtype=torch.bool, device=device)
    real[1, :4] = False
    places = torch.linspace(0, 7, 12, device=device)
    whole = stack(x)
    found = {
        "whole": whole.hidden,
        "placed": stack(x, positions=places).hidden,
        "packed": stack(x, seq_idx=rows).hidden,
        "both": stack(x, seq_idx=rows, pad_mask=real, positions=places).hidden[0],
    }
    padded = stack(x[:, :7], pad_mask=real[:, :7])
    found["padded"] = padded.hidden[0]
    grown = stack(x[:, :7]).state
    roomy = stack(x[:, :7]).state.reserve(12)
    for t in range(7, 10):
        one, two = stack.step(x[:, t : t + 1], grown), stack.step(x[:, t : t + 1], roomy)
        found[f"grown {t}"], found[f"roomy {t}"] = one.hidden, two.hidden
        grown, roomy = one.state, two.state
    fused = FusedStack(stack)
    caches = fused.start(padded.state, 8)
    for t in range(7, 10):
        hidden, caches = fused.step(x[:, t], caches)
        found[f"fused {t}"] = hidden
    found["after"] = stack(x[:, 10:], finish(caches)).hidden
    found["row"], caches = fused.step(x[:1, 10], compact(leave(caches, [0]))[0])
    again = grown.select([1, 0]).repeat(2).clone().to("cpu").to(device)
    found["again"] = stack(x[:, 10:].flip(0).repeat_interleave(2, 0), again).hidden
    for state in (whole.state, padded.state, grown, roomy, again, finish(caches)):
        assert placed(state) == {device}
    assert {value.device for value in found.values()} == {device}
    return {name: value.cpu() for name, value in found.items()}


@torch.no_grad()
@pytest.mark.parametrize(("kinds", "mixer"), CASES)
def test_stack_reads_alike_on_both_devices(kinds: str, mixer: MixerConfig) -> None:
    x = inputs(2, 12).float()
    want = read(make(kinds, mixer).float(), x, HERE)
    with pretended_cuda():
        got = read(make(kinds, mixer).float(), x, THERE)
    for name, value in want.items():
        same(got[name], value, 5e-5)


@torch.no_grad()
@pytest.mark.parametrize(("kinds", "mixer"), [*CASES[:2], CASES[-1]])
def test_bfloat16_stack_keeps_bfloat16_caches_and_float32_states(
    kinds: str, mixer: MixerConfig
) -> None:
    x = inputs(2, 12)
    want = read(make(kinds, mixer).float(), x.float(), HERE)
    with pretended_cuda():
        stack = make(kinds, mixer).bfloat16()
        got = read(stack, x.bfloat16(), THERE)
        state = stack(x.to(THERE, torch.bfloat16)).state
    for name, value in want.items():
        assert got[name].dtype == torch.bfloat16
        same(got[name].float(), value, 0.1)
    for layer in state.layers:
        if isinstance(layer, MambaState):
            assert (layer.conv.dtype, layer.ssm.dtype) == (torch.bfloat16, torch.float32)
        if isinstance(layer, KVState):
            assert layer.k.dtype == layer.v.dtype == torch.bfloat16


@pytest.mark.parametrize("again", ["none", "scan", "block"])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "autocast"])
def test_gradients_are_the_processors(again: str, half: bool) -> None:
    x = inputs(2, 12).float()

    def gradients(device: torch.device) -> list[Tensor]:
        stack = make("TMS", PRESETS["mamba2-gqa"]).float().to(device).train()
        stack.recompute = again
        rows = torch.tensor([[0] * 5 + [1] * 7, [0] * 12], device=device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            out = stack(x.to(device), seq_idx=rows, keep_state=False)
        out.hidden.float().square().mean().backward()
        made = [p.grad for p in stack.parameters() if p.grad is not None]
        assert {grad.device for grad in made} == {device}
        return [grad.cpu() for grad in made]

    want = gradients(HERE)
    with pretended_cuda():
        got = gradients(THERE)
    for one, two in zip(got, want, strict=True):
        assert torch.isfinite(one).all()
        if not half:
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
