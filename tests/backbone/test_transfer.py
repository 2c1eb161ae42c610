"""Transfer: converted layers against linear attention over random weights, and its check."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.backbone.transfer import (
    AttentionWeights,
    attention_to_mixer,
    check_transfer,
    student_of,
)
from mamtra_cli.errors import CheckpointError, PlanError
from mamtra_cli.layers.mamba2 import Mamba2Mixer
from mamtra_cli.layers.mixer_config import PRESETS, MixerConfig
from mamtra_cli.layers.recurrence import inverse_softplus
from mamtra_cli.layers.shape import MixerShape

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
PLAIN = MixerConfig(
    feature_map="identity", gate="none", norm="none", d_skip=False, rope="drop", gain="one"
)
VARIANTS: dict[str, MixerConfig] = {
    "plain": PLAIN,
    "scaled": PLAIN,
    "rope": replace(PLAIN, rope="keep"),
    "nobias": replace(PLAIN, qkv_bias="drop"),
    "decay": replace(PLAIN, gain="dt"),
    "softmax2": replace(PLAIN, rope="keep", feature_map="softmax2"),
    "softmax2_norm": replace(PLAIN, rope="keep", feature_map="softmax2", normalise=True),
}
TINY = HybridConfig(
    d_model=24, n_layers=3, n_heads=4, n_kv_heads=2, head_dim=6, d_ff=40, rope_theta=1e4
)


def golden_cases(goldens: Path) -> Iterator[tuple[dict[str, Tensor], MixerShape, float, str]]:
    paths = sorted((goldens / "hybrid").glob("transfer_*.safetensors"))
    assert paths
    for path in paths:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            meta: dict[str, Any] = file.metadata()
        shape = MixerShape(
            d_model=int(meta["hidden"]),
            n_heads=int(meta["q_heads"]),
            n_kv_heads=int(meta["kv_heads"]),
            head_dim=int(meta["head_dim"]),
            rope_theta=float(meta["rope_theta"]),
        )
        for name in tensors:
            if name.startswith("out."):
                yield tensors, shape, float(meta["scale_scaled"]), name.removeprefix("out.")


def same(got: Tensor, want: Tensor, tolerance: float, where: str) -> None:
    assert got.shape == want.shape, where
    error = float((got.double() - want).abs().max() / want.abs().max())
    assert error <= tolerance, (where, error)


def transferred_mixer(
    tensors: dict[str, Tensor], shape: MixerShape, case: str, config: MixerConfig
) -> Mamba2Mixer:
    weights = AttentionWeights.from_state_dict(tensors)
    mixer = Mamba2Mixer(shape, config).to(weights.q.dtype)
    made = attention_to_mixer(weights, shape, config, scale_keys=case == "scaled")
    mixer.load_state_dict(made, strict=True)
    if case == "decay":
        mixer.dt_bias.copy_(inverse_softplus(tensors["const_dt"]))
        mixer.A_log.copy_(tensors["const_A"].log())
    else:
        mixer.A_log.fill_(-torch.inf)
    return mixer


@torch.no_grad()
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
@pytest.mark.parametrize("bias", ["keep", "fold"])
def test_every_golden_transfer_is_reproduced(goldens: Path, dtype: torch.dtype, bias: str) -> None:
    seen = set()
    for tensors, shape, scale, case in golden_cases(goldens):
        config = VARIANTS[case]
        if config.qkv_bias == "keep":
            config = replace(config, qkv_bias=bias)
        assert scale == pytest.approx(shape.head_dim**-0.5)
        typed = {name: value.to(dtype) for name, value in tensors.items()}
        mixer = transferred_mixer(typed, shape, case, config)
        u = tensors["u"].to(dtype)
        y, state = mixer.features(u)
        tolerance = TOLERANCE[dtype]
        same(y, tensors[f"y_heads.{case}"], tolerance, case)
        same(mixer.o_proj(y), tensors[f"out.{case}"], tolerance, case)
        ssm = state.ssm[:, :, : shape.head_dim]
        same(ssm, tensors[f"state.{case}"], tolerance, case)
        seen.add(case)
    assert seen


def teacher(kinds: str = "TTT", bias: bool = True) -> HybridStack:
    torch.manual_seed(0)
    stack = HybridStack(replace(TINY, kinds=kinds, qkv_bias=bias))
    with torch.no_grad():
        for value in stack.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    return stack.eval()


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
def test_student_keeps_everything_but_the_converted_layers(name: str, bias: bool) -> None:
    source = teacher(bias=bias)
    letter = "S" if PRESETS[name].mixer == "swa" else "M"
    student = student_of(source, f"T{letter}T", PRESETS[name], seed=4)
    mine, theirs = student.state_dict(), source.state_dict()
    for key, value in theirs.items():
        if not key.startswith("layers.1.self_attn."):
            assert torch.equal(mine[key], value)
            assert mine[key].data_ptr() != value.data_ptr()
        elif key.endswith("weight"):
            assert torch.equal(mine[key.replace("self_attn", "mixer")], value)
    again = student_of(source, f"T{letter}T", PRESETS[name], seed=4).state_dict()
    assert all(torch.equal(value, again[key]) for key, value in mine.items())
    hidden = student(torch.randn(1, 4, TINY.d_model)).hidden
    assert bool(hidden.isfinite().all())


def test_shared_student_holds_the_teachers_memory() -> None:
    source = teacher()
    student = student_of(source, "TMT", PRESETS["mamba2-gqa"], share=True)
    mine, theirs = student.state_dict(), source.state_dict()
    name = "layers.0.self_attn.q_proj.weight"
    assert mine[name].data_ptr() == theirs[name].data_ptr()


@torch.no_grad()
def test_wide_window_equals_the_teacher() -> None:
    source, x = teacher(), torch.randn(2, 20, TINY.d_model)
    want = source(x).hidden
    student = student_of(source, "SSS", MixerConfig(mixer="swa", window=20, sinks=0))
    torch.testing.assert_close(student(x).hidden, want)
    narrow = student_of(source, "SSS", MixerConfig(mixer="swa", window=3, sinks=1))
    assert float((narrow(x).hidden - want).abs().max()) > 1e-3


@pytest.mark.parametrize("init", ["xavier", "kaiming"])
def test_random_start_shares_nothing_with_the_teacher(init: str) -> None:
    source = teacher()
    student = student_of(source, "TMT", PRESETS["mamba2-gqa"], init=init)
    mine, theirs = student.state_dict(), source.state_dict()
    for part in "qkvo":
        name = f"layers.1.self_attn.{part}_proj.weight"
        assert not torch.equal(mine[name.replace("self_attn", "mixer")], theirs[name])
        assert bool(mine[name.replace("self_attn", "mixer")].abs().max() > 0)


def test_global_random_state_does_not_move() -> None:
    source = teacher()
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    student_of(source, "MMM", PRESETS["mamtra-paper"])
    assert torch.equal(torch.rand(3), want)


@pytest.mark.parametrize("broken", ["q_proj.weight", "o_proj.weight", "k_proj.bias", "conv.weight"])
def test_check_names_a_tensor_that_was_not_transferred(broken: str) -> None:
    source, config = teacher(), PRESETS["mamba2-gqa"]
    weights = AttentionWeights.from_state_dict(source.state_dict(), "layers.0.self_attn.")
    shape = source.config.shape
    state = attention_to_mixer(weights, shape, config)
    check_transfer(state, weights, shape, config)
    with pytest.raises(CheckpointError, match=broken):
        check_transfer({**state, broken: state[broken] + 1e-6}, weights, shape, config)
    with pytest.raises(CheckpointError, match="missing"):
        check_transfer({k: v for k, v in state.items() if k != broken}, weights, shape, config)


def test_wrong_or_missing_tensors_are_named() -> None:
    source = teacher()
    tensors = dict(source.state_dict())
    shape, config = source.config.shape, PRESETS["mamba2-gqa"]
    tensors["layers.0.self_attn.q_proj.weight"] = torch.zeros(3, 3)
    del tensors["layers.0.self_attn.v_proj.bias"]
    weights = AttentionWeights.from_state_dict(tensors, "layers.0.self_attn.")
    with pytest.raises(CheckpointError, match=r"q_proj.weight is \(3, 3\).*v_proj.bias is missing"):
        attention_to_mixer(weights, shape, config)
    with pytest.raises(CheckpointError, match="4 attention tensors are missing"):
        AttentionWeights.from_state_dict(tensors, "layers.9.self_attn.")
    good = AttentionWeights.from_state_dict(source.state_dict(), "layers.0.self_attn.")
    with pytest.raises(PlanError):
        attention_to_mixer(good, shape, config, letter="T")


def test_mixer_cannot_become_attention_again() -> None:
    hybrid = student_of(teacher(), "TMT", PRESETS["mamba2-gqa"])
    with pytest.raises(PlanError, match="not attention but `M`"):
        student_of(hybrid, "TTT", PRESETS["mamba2-gqa"])
    further = student_of(hybrid, "TMM", PRESETS["mamba2-gqa"])
    name = "layers.1.mixer.q_proj.weight"
    assert torch.equal(further.state_dict()[name], hybrid.state_dict()[name])
