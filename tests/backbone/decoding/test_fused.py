"""The decode step: fused weights and caches in place give what the modules give."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mamtra_cli.backbone import kinds
from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.decoding.caches import compact, finish, leave
from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.layers.mixer_config import PRESETS, MixerConfig
from mamtra_cli.layers.shape import NativeMamba2

TINY = HybridConfig(
    d_model=24, n_layers=3, n_heads=4, n_kv_heads=2, head_dim=6, d_ff=40, rope_theta=1e4,
    native=NativeMamba2(d_state=5, head_dim=6, groups=2),
)  # fmt: skip
MIXERS = {
    "mamtra-paper": PRESETS["mamtra-paper"],
    "bare": MixerConfig(feature_map="identity", gate="none", norm="none", d_skip=False),
    "normalised": MixerConfig(feature_map="elu1", normalise=True, gate=3, gate_bias=True),
    "full-gate": MixerConfig(gate="full", gate_bias=True, qkv_bias="drop", rope="drop"),
}
CASES = [
    pytest.param("TMM", PRESETS["mamba2-gqa"], id="hybrid-mamba2-gqa"),
    *(pytest.param("TM", mixer, id=f"hybrid-{name}") for name, mixer in MIXERS.items()),
    pytest.param("TT", PRESETS["mamba2-gqa"], id="attention"),
    pytest.param("MM", MIXERS["full-gate"], id="mixers-without-rotation"),
    pytest.param("SMS", PRESETS["mamba2-gqa"], id="windows"),
    pytest.param("TM", replace(PRESETS["kv-shared-state"], gain="dt"), id="kv-state"),
    pytest.param("WT", PRESETS["swa+ssm"], id="window-and-state"),
    pytest.param("TGG", PRESETS["gdn"], id="gdn"),
    pytest.param("GM", replace(PRESETS["gdn"], state="kv"), id="gdn-kv-state"),
    pytest.param("NTN", PRESETS["mamba2-gqa"], id="native"),
]


def make(kinds: str, mixer: MixerConfig, bias: bool = True) -> HybridStack:
    torch.manual_seed(0)
    mixer = replace(mixer, window=5, sinks=2)
    config = replace(TINY, n_layers=len(kinds), kinds=kinds, mixer=mixer, qkv_bias=bias)
    stack = HybridStack(config).double()
    with torch.no_grad():
        for name, value in stack.named_parameters():
            if not name.endswith(("A_log", "dt_bias")):
                value.add_(torch.randn_like(value) * 0.2)
    return stack.eval()


def test_every_kind_of_layer_is_a_case() -> None:
    assert {letter for case in CASES for letter in str(case.values[0])} == set(kinds.kinds())


def inputs(batch: int, length: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, length, TINY.d_model, generator=generator, dtype=torch.float64)


def same(got: Tensor, want: Tensor, tolerance: float = 1e-10) -> None:
    assert got.shape == want.shape
    error = float((got - want).abs().max() / want.abs().max())
    assert error <= tolerance, error


@torch.no_grad()
@pytest.mark.parametrize(("kinds", "mixer"), CASES)
@pytest.mark.parametrize("prompt", [1, 9])
def test_steps_after_a_prefill_equal_the_modules(
    kinds: str, mixer: MixerConfig, prompt: int
) -> None:
    stack, x = make(kinds, mixer), inputs(2, 17)
    want = stack(x).hidden
    fused = FusedStack(stack)
    prefix = stack(x[:, :prompt]).state
    before = [t.clone() for layer in prefix.layers for t in vars(layer).values() if is_tensor(t)]
    state = fused.start(prefix, room=prompt + 2)
    for t in range(prompt, 13):
        hidden, state = fused.step(x[:, t], state)
        same(hidden, want[:, t])
    after = [t for layer in prefix.layers for t in vars(layer).values() if is_tensor(t)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    same(stack(x[:, 13:], finish(state)).hidden, want[:, 13:])


def is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


@torch.no_grad()
@pytest.mark.parametrize(("kinds", "mixer"), CASES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_rows_of_different_lengths_decode_as_if_alone(
    kinds: str, mixer: MixerConfig, side: str
) -> None:
    stack, x, more = make(kinds, mixer), inputs(3, 9), inputs(3, 8) * 0.5
    lengths = (9, 1, 6)
    padded, mask = torch.full_like(x, 50.0), torch.zeros(3, 9, dtype=torch.bool)
    for row, length in enumerate(lengths):
        at = slice(9 - length, 9) if side == "left" else slice(0, length)
        padded[row, at], mask[row, at] = x[row, :length], True
    fused = FusedStack(stack)
    state = fused.start(stack(padded, pad_mask=mask).state, room=20)
    hidden = []
    for t in range(5):
        out, state = fused.step(more[:, t], state)
        hidden.append(out)
    got = torch.stack(hidden, 1)
    rest = stack(more[:, 5:], finish(state)).hidden
    for row, length in enumerate(lengths):
        alone = stack(torch.cat((x[row, :length], more[row]))[None]).hidden[0, length:]
        same(torch.cat((got, rest), 1)[row], alone)


@torch.no_grad()
def test_a_kind_without_a_step_is_stepped_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_KINDS", kinds.kinds())
    kinds.register("R", kinds.Entry(name="mean", file="tests.families.toy.mixer", mixer="mean"))
    stack, x = make("RTR", PRESETS["mamba2-gqa"]), inputs(2, 8)
    want, fused = stack(x).hidden, FusedStack(stack)
    state = fused.start(stack(x[:, :3]).state, room=4)
    for t in range(3, 8):
        hidden, state = fused.step(x[:, t], state)
        same(hidden, want[:, t])


@torch.no_grad()
def test_rows_can_be_dropped_while_decoding() -> None:
    stack, x = make("TMS", PRESETS["mamba2-gqa"]), inputs(3, 10)
    want = stack(x).hidden
    fused = FusedStack(stack)
    state = fused.start(stack(x[:, :4]).state, room=10)
    _, state = fused.step(x[:, 4], state)
    state, moves = compact(leave(state, [0]))
    assert moves == {2: 0}
    for t in range(5, 10):
        hidden, state = fused.step(x[[2, 1], t], state)
        same(hidden, want[[2, 1], t])


@torch.no_grad()
def test_given_positions_are_used() -> None:
    stack, x = make("TMT", PRESETS["mamba2-gqa"]), inputs(2, 6)
    positions = torch.tensor([0.0, 0.5, 4.25, 4.5, 9.0, 9.5], dtype=torch.float64)
    want = stack(x, positions=positions).hidden
    fused = FusedStack(stack)
    state = fused.start(stack(x[:, :3], positions=positions[:3]).state, room=6)
    for t in range(3, 6):
        hidden, state = fused.step(x[:, t], state, positions[t].expand(2))
        same(hidden, want[:, t])


@torch.no_grad()
def test_sharing_moves_the_weights_and_keeps_their_values() -> None:
    stack, x = make("TM", PRESETS["mamba2-gqa"]), inputs(1, 4)
    values = {name: value.clone() for name, value in stack.state_dict().items()}
    want = stack(x).hidden
    fused = FusedStack(stack, share=True)
    assert all(torch.equal(value, values[name]) for name, value in stack.state_dict().items())
    attention = stack.get_submodule("layers.0.self_attn")
    storages = {
        attention.get_parameter(f"{c}_proj.weight").untyped_storage().data_ptr() for c in "qkv"
    }
    assert len(storages) == 1
    state = fused.start(stack(x[:, :3]).state, room=4)
    same(fused.step(x[:, 3], state)[0], want[:, 3])


@torch.no_grad()
@pytest.mark.parametrize(("kinds", "mixer"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_narrow_weights_stay_close(dtype: torch.dtype, kinds: str, mixer: MixerConfig) -> None:
    stack, x = make(kinds, mixer), inputs(2, 8)
    want = stack(x).hidden[:, 7]
    stack, x = stack.to(dtype), x.to(dtype)
    bound = 1e-5 if dtype is torch.float32 else 6e-2
    if dtype is torch.bfloat16 and mixer == PRESETS["mamtra-paper"]:
        # Its modules alone are further off: half as much again is allowed.
        apart = (stack(x).hidden[:, 7].double() - want).abs().max() / want.abs().max()
        bound = 1.5 * float(apart)
    fused = FusedStack(stack)
    state = fused.start(stack(x[:, :7]).state, room=8)
    same(fused.step(x[:, 7], state)[0].double(), want, bound)


@torch.no_grad()
def test_wrong_shapes_are_value_errors() -> None:
    stack = make("TM", PRESETS["mamba2-gqa"])
    fused = FusedStack(stack)
    state = fused.start(stack(inputs(2, 2)).state, room=4)
    with pytest.raises(ValueError, match="expected"):
        fused.step(inputs(3, 1)[:, 0], state)
    with pytest.raises(ValueError, match="layers"):
        fused.start(make("T", PRESETS["mamba2-gqa"])(inputs(1, 2)).state, room=4)


@pytest.mark.gpu
@torch.no_grad()
@pytest.mark.parametrize(("kinds", "mixer"), CASES)
def test_device_steps_equal_the_processors(kinds: str, mixer: MixerConfig) -> None:
    stack, x = make(kinds, mixer).float(), inputs(2, 12).float()
    want = stack(x).hidden
    stack, x = stack.cuda(), x.cuda()
    fused = FusedStack(stack)
    out = stack(x[:, :7])
    same(out.hidden.cpu(), want[:, :7], 5e-5)
    state = fused.start(out.state, room=12)
    for t in range(7, 12):
        hidden, state = fused.step(x[:, t], state)
        same(hidden.cpu(), want[:, t], 5e-5)
