"""Norm, rotary positions, feed-forward, attention, and states, each by definition."""

import cmath
import subprocess
import sys

import pytest
import torch

from mamtra_cli.backbone.kinds import kind_of
from mamtra_cli.errors import UsageError
from mamtra_cli.layers.attention import SelfAttention
from mamtra_cli.layers.mixer_config import PRESETS, MixerConfig, preset
from mamtra_cli.layers.mlp import SwiGLU
from mamtra_cli.layers.norm import RMSNorm
from mamtra_cli.layers.rotary import apply_rope, rope_table
from mamtra_cli.layers.shape import MixerShape
from mamtra_cli.layers.state import HybridState, KVState, MambaState, cache_dtype

SHAPE = MixerShape(d_model=16, n_heads=4, n_kv_heads=2, head_dim=4)


@pytest.mark.parametrize("groups", [1, 3], ids=lambda g: f"groups{g}")
def test_rms_norm_equals_its_formula(groups: int) -> None:
    norm = RMSNorm(12, eps=1e-3, groups=groups).double()
    norm.weight.data.normal_()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    size = 12 // groups
    want = torch.empty_like(x)
    for start in range(0, 12, size):
        part = x[..., start : start + size]
        want[..., start : start + size] = part / (part.pow(2).mean(-1, keepdim=True) + 1e-3).sqrt()
    torch.testing.assert_close(norm(x), want * norm.weight)


def test_rms_norm_takes_its_statistics_in_float32() -> None:
    norm = RMSNorm(4).to(torch.float16)
    x = torch.full((1, 4), 1000.0, dtype=torch.float16)
    torch.testing.assert_close(norm(x), torch.ones(1, 4, dtype=torch.float16))


def test_rope_is_a_turn_of_each_pair() -> None:
    positions = torch.tensor([[0.0, 2.5], [7.0, 1.0]])
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    got = apply_rope(x, rope_table(positions, 4, 100.0, torch.float64))
    for row in range(2):
        for t in range(2):
            for pair in range(2):
                turn = cmath.exp(1j * float(positions[row, t]) * 100.0 ** (-pair / 2))
                for h in range(3):
                    z = complex(x[row, t, h, pair], x[row, t, h, pair + 2]) * turn
                    assert abs(z - complex(got[row, t, h, pair], got[row, t, h, pair + 2])) < 1e-12


def test_interleaved_rope_turns_neighbours() -> None:
    table = rope_table(torch.tensor([0.0, 2.5]), 6, 100.0, torch.float64)
    x = torch.randn(1, 2, 3, 6, dtype=torch.float64)
    order = [0, 2, 4, 1, 3, 5]  # first of each pair, then second
    want = torch.empty_like(x)
    want[..., order] = apply_rope(x[..., order], table)
    torch.testing.assert_close(apply_rope(x, table, "interleaved"), want)
    assert apply_rope(x, table, "none") is x


def test_rope_scores_depend_on_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)

    def score(at_q: float, at_k: float) -> torch.Tensor:
        def turned(x: torch.Tensor, at: float) -> torch.Tensor:
            return apply_rope(x, rope_table(torch.tensor([at]), 8, 1e4, torch.float64))

        return (turned(q, at_q) * turned(k, at_k)).sum()

    torch.testing.assert_close(score(9.5, 4.0), score(105.5, 100.0))


def test_odd_head_width_has_no_rotation() -> None:
    with pytest.raises(ValueError, match="even"):
        rope_table(torch.arange(3), 5, 1e4)


def test_swiglu_equals_its_formula() -> None:
    mlp = SwiGLU(6, 10).double()
    x = torch.randn(3, 6, dtype=torch.float64)
    gate = x @ mlp.gate_proj.weight.T
    want = (gate * gate.sigmoid() * (x @ mlp.up_proj.weight.T)) @ mlp.down_proj.weight.T
    torch.testing.assert_close(mlp(x), want)


def test_attention_takes_fractional_positions_and_a_ready_table() -> None:
    layer = SelfAttention(SHAPE).double()
    u = torch.randn(2, 5, 16, dtype=torch.float64)
    positions = torch.rand(2, 5).cumsum(1) * 3
    want, _ = layer(u, positions=positions)
    table = rope_table(positions, 4, SHAPE.rope_theta, torch.float64)
    torch.testing.assert_close(layer(u, rope=table)[0], want)
    shifted, _ = layer(u, positions=positions + 100.0)
    torch.testing.assert_close(shifted, want, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(layer(u)[0], want)


def test_attention_has_the_published_names() -> None:
    names = {name for name, _ in SelfAttention(SHAPE).named_parameters()}
    assert names == {
        *(f"{p}_proj.{part}" for p in "qkv" for part in ("weight", "bias")),
        "o_proj.weight",
    }


@pytest.mark.parametrize(
    ("device", "dtype", "want"),
    [
        ("cpu", torch.bfloat16, torch.float32),
        ("cpu", torch.float64, torch.float64),
        ("cuda", torch.bfloat16, torch.bfloat16),
    ],
    ids=["cpu-bf16", "cpu-f64", "cuda-bf16"],
)
def test_cache_is_wide_on_cpu(device: str, dtype: torch.dtype, want: torch.dtype) -> None:
    assert cache_dtype(torch.device(device), dtype) == want


def test_write_needs_room() -> None:
    state = KVState.alloc(1, 2, 4, capacity=2)
    new = torch.zeros(1, 2, 1, 4)
    state = state.write(new, new, None).write(new, new, None)
    assert state.length == state.seen == 2
    with pytest.raises(ValueError, match="capacity of 2"):
        state.write(new, new, None)
    with pytest.raises(ValueError, match="capacity 1"):
        state.reserve(1)


def test_bytes_of_states_are_those_of_their_tensors() -> None:
    layer = SelfAttention(SHAPE)
    assert layer.alloc(3, capacity=10).nbytes == 2 * 3 * 2 * 10 * 4 * 4
    mixer = kind_of("M").build(SHAPE, MixerConfig(feature_map="identity"))
    state = mixer.alloc(3)
    assert state.nbytes == 3 * (4 * 4 * 4 + (16 + 16) * 3) * 4
    both = HybridState(layers=(layer.alloc(3), state), position=0)
    assert both.nbytes == state.nbytes
    assert both.batch == 3


def test_hybrid_state_moves_all_its_layers() -> None:
    torch.manual_seed(0)
    mixers = [kind_of(letter).build(SHAPE, MixerConfig()).double() for letter in "TM"]
    u = torch.randn(2, 5, 16, dtype=torch.float64)
    state = HybridState(layers=tuple(mixer(u)[1] for mixer in mixers), position=5)
    picked = state.select([1])
    assert picked.batch == 1
    assert picked.position == 5
    assert state.repeat(3).batch == 6
    ready = state.reserve(9)
    assert isinstance(ready.layers[0], KVState)
    assert ready.layers[0].capacity == 9
    copy = state.clone().to("cpu")
    assert isinstance(copy.layers[1], MambaState)
    copy.layers[1].ssm.zero_()
    assert isinstance(state.layers[1], MambaState)
    assert state.layers[1].ssm.abs().max() > 0


@pytest.mark.parametrize("name", PRESETS)
def test_preset_survives_a_dict(name: str) -> None:
    config = preset(name)
    assert MixerConfig.from_dict(config.to_dict()) == config
    assert MixerConfig.from_dict({"preset": name}) == config


def test_preset_is_a_base_for_changes() -> None:
    config = MixerConfig.from_dict({"preset": "mamtra-paper", "gate": 8})
    assert config.gate == 8
    assert config.act == "silu"


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"featuremap": "identity"}, "feature_map"),
        ({"preset": "mamba2gqa"}, "mamba2-gqa"),
        ({"norm": "layer"}, "head"),
        ({"gate": 0}, "rank"),
        ({"gate": True}, "rank"),
        ({"window": 0}, "1 or more"),
        ({"normalise": True, "feature_map": "identity"}, "softmax2"),
    ],
    ids=lambda v: str(v) if isinstance(v, str) else next(iter(v)),
)
def test_bad_option_hints_at_the_good(values: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError) as caught:
        MixerConfig.from_dict(values)
    assert caught.value.hint is not None
    assert word in caught.value.hint


def test_shape_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="divide"):
        MixerShape(d_model=8, n_heads=3, n_kv_heads=2, head_dim=4)


def test_mixer_config_needs_no_torch() -> None:
    code = "import sys, mamtra_cli.layers.mixer_config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
