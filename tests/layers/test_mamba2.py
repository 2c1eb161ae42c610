"""The recurrent mixer on every stored case, and the pure linear attention it can express."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from mamtra_cli.layers.mamba2 import Mamba2Mixer, feature_map
from mamtra_cli.layers.mixer_config import MixerConfig, preset
from mamtra_cli.layers.recurrence import inverse_softplus
from mamtra_cli.layers.shape import MixerShape

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}

OURS = {
    "x": "v_proj",
    "B": "k_proj",
    "C": "q_proj",
    "dt": "dt_proj",
    "z": "gate_proj",
    "out": "o_proj",
}
"""Names of the stored parameters in the mixer's own words; others are the same."""


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        meta = {name: json.loads(value) for name, value in file.metadata().items()}
    return tensors, meta


def relative(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want.double()).abs().max() / want.abs().max())


def stored_mixer(tensors: dict[str, Tensor], meta: dict[str, Any]) -> Mamba2Mixer:
    shape = MixerShape(
        d_model=meta["hidden"],
        n_heads=meta["q_heads"],
        n_kv_heads=meta["kv_heads"],
        head_dim=meta["head_dim"],
    )
    norm = "none"
    if meta["norm"] != "none":
        norm = {1: "all", meta["q_heads"]: "head"}[meta["norm_groups"]]
    config = MixerConfig(
        conv_kernel=tensors["param.conv.weight"].shape[1],
        act=meta["conv_activation"] or "identity",
        rope="drop",
        norm=norm,
        norm_eps=meta["norm_eps"],
        norm_order="after_gate" if meta["norm"] == "rms_gate_before" else "before_gate",
        gate="full" if meta["gate"] else "none",
        gate_kind=meta["gate"] or "neutral",
        gain="dt",
        feature_map="identity",
    )
    mixer = Mamba2Mixer(shape, config)
    state = {}
    for name, value in tensors.items():
        if name.startswith("param."):
            head, _, rest = name.removeprefix("param.").partition(".")
            state[f"{OURS.get(head, head)}.{rest}".rstrip(".")] = value
    mixer.load_state_dict(state)
    return mixer


def mixer_cases(goldens: Path) -> list[Path]:
    paths = sorted((goldens / "hybrid").glob("mixer_step_*.safetensors"))
    assert paths
    return paths


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_mixer_equals_every_stored_case(goldens: Path, dtype: torch.dtype) -> None:
    for path in mixer_cases(goldens):
        tensors, meta = load(path)
        mixer = stored_mixer(tensors, meta).to(dtype)
        u, cut = tensors["u"].to(dtype), meta["cut"]
        errors = {}
        with torch.no_grad():
            out, state = mixer(u)
            errors["out"] = relative(out, tensors["out"])
            errors["conv_state"] = relative(state.conv, tensors["conv_state"])
            errors["ssm_state"] = relative(state.ssm, tensors["ssm_state"])
            packed, _ = mixer(u, seq_idx=tensors["seq_idx"])
            errors["out_segments"] = relative(packed, tensors["out_segments"])
            first, state = mixer(u[:, :cut])
            errors["conv_at_cut"] = relative(state.conv, tensors["conv_state_at_cut"])
            errors["ssm_at_cut"] = relative(state.ssm, tensors["ssm_state_at_cut"])
            parts = [first]
            for t in range(cut, u.shape[1]):
                part, state = mixer.step(u[:, t : t + 1], state)
                parts.append(part)
            errors["stepped"] = relative(torch.cat(parts, dim=1), tensors["out"])
            errors["stepped_state"] = relative(state.ssm, tensors["ssm_state"])
        assert max(errors.values()) <= TOLERANCES[dtype], (path.stem, errors)


def test_bfloat16_mixer_stays_near_its_own_float64_form(goldens: Path) -> None:
    """Both share the rounded weights: that rounding alone moves one stored case by 2e-2."""
    for path in mixer_cases(goldens):
        tensors, meta = load(path)
        mixer = stored_mixer(tensors, meta).to(torch.bfloat16)
        u = tensors["u"].bfloat16()
        wide = stored_mixer(tensors, meta).double()
        with torch.no_grad():
            for ours, theirs in zip(wide.parameters(), mixer.parameters(), strict=True):
                ours.copy_(theirs)
            want, want_state = wide(u.double())
            got, state = mixer(u)
        assert state.ssm.dtype == torch.float32
        assert relative(got, want) <= 2e-2, path.stem
        assert relative(state.ssm, want_state.ssm) <= 2e-2, path.stem


def linear_attention(meta: dict[str, Any], case: str) -> MixerConfig:
    """Un-normalised causal linear attention as a mixer."""
    return MixerConfig(
        rope="keep" if case in ("rope", "softmax2", "softmax2_norm") else "drop",
        qkv_bias="drop" if case == "nobias" else "keep",
        norm="none",
        gate="none",
        gain="dt" if case == "decay" else "one",
        d_skip=False,
        feature_map="softmax2" if case.startswith("softmax2") else "identity",
        normalise=case == "softmax2_norm",
    )


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_mixer_can_be_the_linear_attention_of_every_stored_teacher(
    goldens: Path, dtype: torch.dtype
) -> None:
    paths = sorted((goldens / "hybrid").glob("transfer_*.safetensors"))
    assert paths
    for path in paths:
        tensors, meta = load(path)
        cases = [name.removeprefix("out.") for name in tensors if name.startswith("out.")]
        assert cases
        for case in cases:
            shape = MixerShape(
                d_model=meta["hidden"],
                n_heads=meta["q_heads"],
                n_kv_heads=meta["kv_heads"],
                head_dim=meta["head_dim"],
                rope_theta=meta["rope_theta"],
            )
            mixer = Mamba2Mixer(shape, linear_attention(meta, case)).to(dtype)
            own = mixer.state_dict()
            own.update({name: value for name, value in tensors.items() if name in own})
            if case == "scaled":
                for part in ("weight", "bias"):
                    name = f"q_proj.{part}"
                    own[name] = tensors[name].double() * meta["scale_scaled"]
            if case == "decay":
                own["A_log"] = torch.log(tensors["const_A"].double())
                own["dt_bias"] = inverse_softplus(tensors["const_dt"].double())
            else:
                own["A_log"] = torch.full_like(own["A_log"], -torch.inf)
            mixer.load_state_dict(own)
            with torch.no_grad():
                heads, state = mixer.features(tensors["u"].to(dtype))
                out, _ = mixer(tensors["u"].to(dtype))
            ssm = state.ssm[:, :, :-1] if case == "softmax2_norm" else state.ssm
            limit = TOLERANCES[dtype]
            assert relative(heads, tensors[f"y_heads.{case}"]) <= limit, (path.stem, case)
            assert relative(out, tensors[f"out.{case}"]) <= limit, (path.stem, case)
            assert relative(ssm, tensors[f"state.{case}"]) <= limit, (path.stem, case)


SHAPE = MixerShape(d_model=24, n_heads=6, n_kv_heads=2, head_dim=8)


@pytest.mark.parametrize(
    ("gate", "count"),
    [("none", 0), ("full", 24 * 48), (3, 3 * (24 + 48))],
    ids=["none", "full", "rank3"],
)
def test_parameter_count_is_that_of_the_cost_model(gate: str | int, count: int) -> None:
    mixer = Mamba2Mixer(SHAPE, MixerConfig(gate=gate))
    width, q, kv, heads = 24, 48, 16, 6
    channels = q + 2 * kv
    want = width * channels + channels + width * heads + channels * 5 + 3 * heads + q + q * width
    assert sum(p.numel() for p in mixer.parameters()) == want + count


@pytest.mark.parametrize("gate", ["full", 5], ids=str)
@pytest.mark.parametrize("kind", ["neutral", "silu"])
def test_gate_starts_at_one(gate: str | int, kind: str) -> None:
    config = MixerConfig(gate=gate, gate_kind=kind, gate_bias=kind == "silu")
    gated = Mamba2Mixer(SHAPE, config).double()
    plain = Mamba2Mixer(SHAPE, MixerConfig(gate="none")).double()
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if "gate" not in k})
    u = torch.randn(2, 5, 24, dtype=torch.float64)
    torch.testing.assert_close(gated(u)[0], plain(u)[0], rtol=1e-6, atol=1e-6)


def test_slow_start_keeps_what_it_saw() -> None:
    mixer = Mamba2Mixer(SHAPE, preset("mamba2-gqa"))
    step = torch.nn.functional.softplus(mixer.dt_bias)
    torch.testing.assert_close(step, torch.ones(6))
    times = 1.0 / (step * mixer.A_log.exp())
    torch.testing.assert_close(times[[0, -1]], torch.tensor([8.0, 2048.0]))
    ratios = times[1:] / times[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand(5))


def test_mamba_start_is_in_its_ranges() -> None:
    mixer = Mamba2Mixer(SHAPE, preset("mamtra-paper"))
    step = torch.nn.functional.softplus(mixer.dt_bias)
    assert step.min() >= 0.999e-3
    assert step.max() <= 0.1001
    rate = mixer.A_log.exp()
    assert rate.min() >= 1.0
    assert rate.max() <= 16.0


@pytest.mark.parametrize("y", [1e-6, 1e-3, 1.0, 30.0], ids=str)
def test_inverse_softplus_inverts(y: float) -> None:
    value = torch.tensor(y, dtype=torch.float64)
    torch.testing.assert_close(torch.nn.functional.softplus(inverse_softplus(value)), value)


def test_feature_maps_are_what_they_are_called() -> None:
    x = torch.randn(3, 5, dtype=torch.float64)
    both = torch.cat((x.exp(), (-x).exp()), dim=-1)
    torch.testing.assert_close(feature_map(x, "softmax2"), both / both.sum(-1, keepdim=True))
    torch.testing.assert_close(feature_map(x, "elu1"), torch.where(x > 0, x + 1, x.exp()))
    assert feature_map(x, "identity") is x


def test_recurrence_parameters_survive_a_cast_to_half_and_back() -> None:
    mixer = Mamba2Mixer(SHAPE, preset("mamba2-gqa"))
    before = mixer.A_log.detach().clone()
    mixer.to(torch.bfloat16)
    assert mixer.q_proj.weight.dtype == torch.bfloat16
    for name in ("A_log", "dt_bias", "D"):
        assert getattr(mixer, name).dtype == torch.float32
    assert torch.equal(mixer.A_log, before)
    mixer.to(torch.float32).half()
    assert torch.equal(mixer.A_log, before)


@pytest.mark.parametrize("bias", ["keep", "fold", "drop"])
def test_projection_biases_follow_the_option(bias: str) -> None:
    mixer = Mamba2Mixer(SHAPE, MixerConfig(qkv_bias=bias))
    assert (mixer.q_proj.bias is not None) == (bias == "keep")
    assert mixer.conv.bias.shape == (SHAPE.conv_channels,)


def test_folded_bias_equals_a_kept_one_under_an_identity_convolution() -> None:
    keep = Mamba2Mixer(SHAPE, MixerConfig(qkv_bias="keep")).double()
    fold = Mamba2Mixer(SHAPE, MixerConfig(qkv_bias="fold")).double()
    state = keep.state_dict()
    joined = [state.pop(f"{name}_proj.bias") for name in ("v", "k", "q")]
    state["conv.bias"] = torch.cat(joined)
    fold.load_state_dict(state)
    u = torch.randn(2, 7, 24, dtype=torch.float64)
    torch.testing.assert_close(fold(u)[0], keep(u)[0])


def test_checkpointed_training_has_the_same_gradients() -> None:
    plain = Mamba2Mixer(SHAPE, preset("mamba2-gqa")).double()
    saving = Mamba2Mixer(SHAPE, preset("mamba2-gqa"), checkpoint=True).double()
    saving.load_state_dict(plain.state_dict())
    u = torch.randn(2, 70, 24, dtype=torch.float64)
    grads = []
    for mixer in (plain, saving):
        out, _ = mixer.train()(u)
        grads.append(torch.autograd.grad(out.square().sum(), list(mixer.parameters())))
    torch.testing.assert_close(grads[1], grads[0])


@pytest.mark.gpu
def test_gpu_mixer_equals_every_stored_case(goldens: Path) -> None:
    for path in mixer_cases(goldens):
        tensors, meta = load(path)
        mixer = stored_mixer(tensors, meta).cuda()
        u, cut = tensors["u"].cuda(), meta["cut"]
        with torch.no_grad():
            out, state = mixer(u)
            assert relative(out.cpu(), tensors["out"]) <= 5e-5, path.stem
            assert relative(state.ssm.cpu(), tensors["ssm_state"]) <= 5e-5, path.stem
            first, state = mixer(u[:, :cut])
            parts = [first]
            for t in range(cut, u.shape[1]):
                part, state = mixer.step(u[:, t : t + 1], state)
                parts.append(part)
        assert relative(torch.cat(parts, dim=1).cpu(), tensors["out"]) <= 5e-5, path.stem
