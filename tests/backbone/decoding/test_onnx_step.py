"""The session and its slots against the modules: reads, steps, joins, leaves, precision."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.backbone.kinds import kinds
from mamtra_cli.layers.mixer_config import MixerConfig, preset
from mamtra_cli.layers.shape import NativeMamba2

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from mamtra_cli.backbone.decoding.onnx_graph import QUANTISATIONS, Quantisation, quantise
from mamtra_cli.backbone.decoding.onnx_layers import build, obstacle
from mamtra_cli.backbone.decoding.onnx_session import open_session
from mamtra_cli.backbone.decoding.onnx_step import OnnxStack

D, V = 64, 33
NATIVE = NativeMamba2(d_state=8, head_dim=16, groups=2)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "attention": ("TT", {}),
    "gqa": ("MM", {"mixer": MixerConfig(gate=8)}),
    "paper": ("MT", {"mixer": preset("mamtra-paper")}),
    "normalised": ("MM", {"mixer": MixerConfig(normalise=True, gate="none", norm="none")}),
    "elu": (
        "TM",
        {"mixer": MixerConfig(feature_map="elu1", gate="full", d_skip=False, qkv_bias="drop")},
    ),
    "norm-all": (
        "MM",
        {"mixer": MixerConfig(norm="all", gate=8, gate_bias=True, gate_kind="silu")},
    ),
    "window": ("ST", {"mixer": MixerConfig(mixer="swa", window=3, sinks=2)}),
    "gpt": ("TT", {"norm": "layer", "ffn": "gelu_tanh", "ffn_bias": True, "rope": "none"}),
    "zonos": ("TN", {"norm": "layer", "rope": "interleaved", "native": NATIVE}),
    "exact-gelu": ("T", {"ffn": "gelu", "out_bias": True}),
}


def modules(kinds: str, sizes: dict[str, Any]) -> tuple[HybridStack, nn.Linear]:
    """A small stack whose every weight is away from its starting value, and a head."""
    torch.manual_seed(0)
    config = HybridConfig(
        d_model=D,
        n_layers=len(kinds),
        n_heads=4,
        n_kv_heads=2,
        head_dim=16,
        d_ff=96,
        kinds=kinds,
        **sizes,
    )
    stack, head = HybridStack(config).eval(), nn.Linear(D, V)
    for parameter in stack.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return stack.requires_grad_(False), head.requires_grad_(False)


def session(stack: HybridStack, head: nn.Linear, quantisation: str = "none") -> OnnxStack:
    return OnnxStack(
        open_session(build(stack, head, QUANTISATIONS[quantisation]).SerializeToString())
    )


def close(found: object, wanted: Tensor) -> None:
    torch.testing.assert_close(torch.as_tensor(found), wanted, rtol=1e-5, atol=5e-6)


def test_every_kind_of_layer_is_a_case_or_says_why_not() -> None:
    covered = {letter for letters, _ in CASES.values() for letter in letters}
    for letter, entry in kinds().items():
        mixer = MixerConfig(mixer=entry.mixer) if entry.mixer else MixerConfig()
        stack, _ = modules(letter, {"mixer": mixer, "native": NATIVE})
        assert (letter in covered) == (obstacle(stack) == "")


@pytest.mark.parametrize("case", CASES)
def test_graph_equals_the_modules_at_fractional_positions(case: str) -> None:
    stack, head = modules(*CASES[case])
    onnx = session(stack, head)
    x, positions = torch.randn(5, D), torch.arange(5) * 1.25
    want = stack(x[None], positions=positions)
    scores, state = onnx.read(x.numpy(), onnx.alloc(), 0, positions.double().numpy())
    close(scores, head(want.hidden)[0, -1])
    for _ in range(3):
        x = torch.randn(1, D)
        want = stack(x[None], want.state)
        scores, state = onnx.step(x.numpy(), state)
        close(scores[0], head(want.hidden)[0, -1])


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_rows_that_join_and_leave_equal_rows_alone(data: st.DataObject) -> None:
    stack, head = modules("MTS", {"mixer": MixerConfig(gate=8, window=3, sinks=2)})
    onnx, alone = session(stack, head), {}
    state = onnx.alloc(1, 2)
    for _ in range(data.draw(st.integers(3, 9))):
        at = data.draw(st.integers(0, 3))
        act = data.draw(st.sampled_from(["read", "leave", "step", "step"]))
        if act == "read":
            x = torch.randn(data.draw(st.integers(1, 6)), D)
            want = stack(x[None], alone.get(at))
            scores, state = onnx.read(x.numpy(), state, at)
            close(scores, head(want.hidden)[0, -1])
            alone[at] = want.state
        elif act == "leave" and at in alone:
            state = onnx.leave(state, [at])
            del alone[at]
        elif alone:
            assert state.rows == max(alone) + 1
            x = torch.randn(state.rows, D)
            scores, state = onnx.step(x.numpy(), state)
            for row in alone:
                want = stack(x[row][None, None], alone[row])
                close(scores[row], head(want.hidden)[0, -1])
                alone[row] = want.state


def test_a_moved_row_goes_on_in_its_new_slot() -> None:
    stack, head = modules("MT", {"mixer": MixerConfig(gate=8)})
    onnx = session(stack, head)
    x = torch.randn(4, D)
    want = stack(x[None])
    _, state = onnx.read(torch.randn(2, D).numpy(), onnx.alloc(), 0)
    _, state = onnx.read(x.numpy(), state, 1)
    state = onnx.moved(onnx.leave(state, [0]), {1: 0})
    assert state.rows == 1
    x = torch.randn(1, D)
    scores, _ = onnx.step(x.numpy(), state)
    close(scores[0], head(stack(x[None], want.state).hidden)[0, -1])


def test_a_row_that_was_taken_out_goes_on_in_another_slot() -> None:
    stack, head = modules("MTS", {"mixer": MixerConfig(gate=8, window=3, sinks=2)})
    onnx = session(stack, head)
    x = torch.randn(4, D)
    want = stack(x[None])
    _, state = onnx.read(x.numpy(), onnx.alloc(), 0)
    row = onnx.taken(state, 0)
    _, state = onnx.read(torch.randn(6, D).numpy(), onnx.leave(state, [0]), 0)
    state = onnx.put(state, 1, row)
    x = torch.randn(2, D)
    scores, _ = onnx.step(x.numpy(), state)
    close(scores[1], head(stack(x[1][None, None], want.state).hidden)[0, -1])


@pytest.mark.parametrize(("bits", "bound"), [(8, 0.5 / 127), (4, 1 / 8)])
def test_quantised_blocks_stay_within_half_a_step(bits: int, bound: float) -> None:
    weight = torch.randn(7, 40)
    blob, scales = quantise(weight, bits, 16)
    values = torch.from_numpy(blob).long()
    if bits == 4:
        values = torch.stack((values & 15, values >> 4), dim=-1).flatten(-2)
    back = (values - 2 ** (bits - 1)) * torch.from_numpy(scales).view(7, 3, 1)
    error = (back.flatten(1)[:, :40] - weight).abs().max()
    assert error <= bound * weight.abs().max() * 1.0001


def test_int8_stays_near_float32() -> None:
    stack, head = modules("MTTM", {"mixer": MixerConfig(gate=8)})
    x = torch.randn(12, D)
    exact, near = (
        torch.from_numpy((onnx := session(stack, head, kind)).read(x.numpy(), onnx.alloc(), 0)[0])
        for kind in ("none", "int8")
    )
    assert not torch.equal(exact, near)
    assert (exact - near).norm() < 0.02 * exact.norm()


def test_what_has_no_operator_is_named() -> None:
    stack, head = modules("TM", {"mixer": MixerConfig(conv_kernel=1)})
    assert obstacle(stack) == "layer 1: a convolution of one tap has no operator"
    with pytest.raises(ValueError, match="layer 1"):
        build(stack, head, Quantisation())


def test_bits_and_blocks_are_checked() -> None:
    with pytest.raises(ValueError, match="32, 8 or 4"):
        Quantisation(bits=3)
    with pytest.raises(ValueError, match="power of two"):
        Quantisation(block=24)
