"""The stack: published names, an independent reference, and one result for every way to run it."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.costs import parameters
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.errors import PlanError
from mamtra_cli.layers.mixer_config import PRESETS, MixerConfig

TINY = HybridConfig(
    d_model=24, n_layers=4, n_heads=4, n_kv_heads=2, head_dim=6, d_ff=40, rope_theta=1e4
)
MIXERS = {
    "mamba2-gqa": PRESETS["mamba2-gqa"],
    "mamtra-paper": PRESETS["mamtra-paper"],
    "identity": MixerConfig(feature_map="identity", gate="none", norm="none", d_skip=False),
    "normalised": MixerConfig(feature_map="elu1", normalise=True, gate=3, gate_bias=True),
}
PLANS = {"attention": "TTTT", "half": "TMTM", "mixers": "MMMM", "windows": "TSMS"}
CASES = [
    pytest.param(kinds, mixer, id=f"{name}-{label}")
    for name, kinds in PLANS.items()
    for label, mixer in MIXERS.items()
    if "M" in kinds or label == "mamba2-gqa"
]


def make(kinds: str, mixer: MixerConfig = PRESETS["mamba2-gqa"], seed: int = 0) -> HybridStack:
    """A stack in float64 whose every parameter is far from its neutral value."""
    torch.manual_seed(seed)
    mixer = replace(mixer, window=5, sinks=2)
    stack = HybridStack(replace(TINY, n_layers=len(kinds), kinds=kinds, mixer=mixer)).double()
    with torch.no_grad():
        for name, value in stack.named_parameters():
            if not name.endswith(("A_log", "dt_bias")):
                value.add_(torch.randn_like(value) * 0.2)
    return stack.eval()


def inputs(batch: int, length: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, TINY.d_model, generator=generator, dtype=torch.float64)


def same(got: Tensor, want: Tensor, tolerance: float = 1e-10) -> None:
    assert got.shape == want.shape
    error = float((got - want).detach().abs().max() / want.detach().abs().max())
    assert error <= tolerance, error


def qwen2(stack: HybridStack, x: Tensor, positions: Tensor) -> Tensor:
    """The published decoder written out for one sequence x: (T, D), attention in every layer."""
    weights = {name: value.detach() for name, value in stack.state_dict().items()}
    config = stack.config
    length, heads, size = len(x), config.n_heads, config.head_dim

    def norm(h: Tensor, name: str) -> Tensor:
        return h / (h.square().mean(-1, keepdim=True) + config.norm_eps).sqrt() * weights[name]

    def turn(h: Tensor) -> Tensor:
        half = size // 2
        out = torch.empty_like(h)
        for i in range(half):
            angle = positions[:, None] / config.rope_theta ** (2 * i / size)
            a, b = h[..., i], h[..., i + half]
            out[..., i] = a * angle.cos() - b * angle.sin()
            out[..., i + half] = b * angle.cos() + a * angle.sin()
        return out

    for i in range(config.n_layers):
        at = f"layers.{i}."
        u = norm(x, at + "input_layernorm.weight")
        q, k, v = (
            (
                u @ weights[f"{at}self_attn.{c}_proj.weight"].T
                + weights[f"{at}self_attn.{c}_proj.bias"]
            ).view(length, -1, size)
            for c in "qkv"
        )
        q, k = turn(q), turn(k)
        y = torch.zeros_like(q)
        for h, t in itertools.product(range(heads), range(length)):
            g = h // (heads // config.n_kv_heads)
            scores = k[: t + 1, g] @ q[t, h] / math.sqrt(size)
            y[t, h] = scores.softmax(0) @ v[: t + 1, g]
        x = x + y.flatten(1) @ weights[at + "self_attn.o_proj.weight"].T
        u = norm(x, at + "post_attention_layernorm.weight")
        gate = u @ weights[at + "mlp.gate_proj.weight"].T
        up = u @ weights[at + "mlp.up_proj.weight"].T
        x = x + (gate * gate.sigmoid() * up) @ weights[at + "mlp.down_proj.weight"].T
    return norm(x, "norm.weight")


@pytest.mark.parametrize("fractional", [False, True], ids=["counted", "fractional"])
def test_attention_stack_is_the_published_decoder(fractional: bool) -> None:
    stack, x = make("TTT"), inputs(1, 9)
    positions = torch.arange(9, dtype=torch.float64)
    if fractional:
        positions = positions * 0.7 - 1
    out = stack(x, positions=positions if fractional else None)
    same(out.hidden[0], qwen2(stack, x[0], positions))


def test_names_are_the_published_ones() -> None:
    stack = HybridStack(replace(TINY, n_layers=2, vocab_size=11, kinds="TM"))
    names = set(stack.state_dict())
    attention = {f"self_attn.{c}_proj.{w}" for c in "qkv" for w in ("weight", "bias")}
    attention |= {"self_attn.o_proj.weight"}
    shared = {f"mlp.{part}_proj.weight" for part in ("gate", "up", "down")}
    shared |= {"input_layernorm.weight", "post_attention_layernorm.weight"}
    assert {n for n in names if n.startswith("layers.0.")} == {
        f"layers.0.{name}" for name in attention | shared
    }
    rest = {n.removeprefix("layers.1.") for n in names if n.startswith("layers.1.")} - shared
    assert rest
    assert all(name.startswith("mixer.") for name in rest)
    assert {"norm.weight", "embed_tokens.weight"} <= names


@pytest.mark.parametrize("mixer", MIXERS.values(), ids=MIXERS)
def test_modules_have_the_sizes_that_costs_state(mixer: MixerConfig) -> None:
    for bias, qkv_bias in itertools.product((True, False), ("keep", "fold", "drop")):
        config = replace(TINY, kinds="TMSM", qkv_bias=bias, mixer=replace(mixer, qkv_bias=qkv_bias))
        stack = HybridStack(config)
        assert sum(p.numel() for p in stack.parameters()) == parameters(config).backbone


@pytest.mark.parametrize(("kinds", "mixer"), CASES)
def test_steps_equal_the_sequence(kinds: str, mixer: MixerConfig) -> None:
    stack, x = make(kinds, mixer), inputs(2, 11)
    with torch.no_grad():
        want = stack(x).hidden
        state, parts = None, []
        for t in range(x.shape[1]):
            out = stack(x[:, t : t + 1], state)
            state = out.state
            parts.append(out.hidden)
    same(torch.cat(parts, 1), want)


@pytest.mark.parametrize(("kinds", "mixer"), CASES)
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(cuts=st.lists(st.integers(1, 22), max_size=4, unique=True))
def test_any_chunking_equals_the_sequence(kinds: str, mixer: MixerConfig, cuts: list[int]) -> None:
    stack, x = make(kinds, mixer), inputs(2, 23)
    with torch.no_grad():
        want = stack(x).hidden
        state, parts = None, []
        for start, stop in itertools.pairwise([0, *sorted(cuts), 23]):
            out = stack(x[:, start:stop], state)
            state = out.state
            parts.append(out.hidden)
    same(torch.cat(parts, 1), want)


@pytest.mark.parametrize(("kinds", "mixer"), CASES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_inert(kinds: str, mixer: MixerConfig, side: str) -> None:
    stack, x, more = make(kinds, mixer), inputs(2, 9), inputs(2, 3, seed=5)
    lengths = (9, 6)
    padded, mask = x.clone(), torch.zeros(2, 9, dtype=torch.bool)
    for row, length in enumerate(lengths):
        at = slice(9 - length, 9) if side == "left" else slice(0, length)
        padded[row, at] = x[row, :length]
        mask[row, at] = True
    padded[~mask] = 1e3
    with torch.no_grad():
        out = stack(padded, pad_mask=mask)
        after = stack(more, out.state).hidden
        for row, length in enumerate(lengths):
            alone = stack(x[row : row + 1, :length])
            same(out.hidden[row][mask[row]], alone.hidden[0])
            same(after[row : row + 1], stack(more[row : row + 1], alone.state).hidden)


@pytest.mark.parametrize(("kinds", "mixer"), CASES)
def test_packed_sequences_do_not_see_each_other(kinds: str, mixer: MixerConfig) -> None:
    stack, x, before = make(kinds, mixer), inputs(1, 12), inputs(1, 4, seed=7)
    ids = torch.tensor([[5] * 4 + [2] * 1 + [9] * 7])
    with torch.no_grad():
        state = stack(before).state
        packed = stack(x, state, seq_idx=ids)
        parts = [stack(x[:, :4], state), stack(x[:, 4:5]), stack(x[:, 5:])]
        same(packed.hidden, torch.cat([part.hidden for part in parts], 1))


@pytest.mark.parametrize("mixer", MIXERS.values(), ids=MIXERS)
def test_gradients_are_right(mixer: MixerConfig) -> None:
    stack, x = make("TMS", mixer).train(), inputs(1, 4).requires_grad_()
    values = [x, *stack.parameters()]
    probe = torch.randn(1, 4, TINY.d_model, dtype=torch.float64)
    grads = torch.autograd.grad((stack(x).hidden * probe).sum(), values)
    generator = torch.Generator().manual_seed(9)
    ways = [torch.randn(v.shape, generator=generator, dtype=torch.float64) for v in values]
    with torch.no_grad():
        results = []
        for step in (1e-6, -2e-6):
            for value, way in zip(values, ways, strict=True):
                value.add_(step * way)
            results.append(float((stack(x).hidden * probe).sum()))
    slope = (results[0] - results[1]) / 2e-6
    want = sum(float((grad * way).sum()) for grad, way in zip(grads, ways, strict=True))
    assert slope == pytest.approx(want, rel=1e-6)
    assert all(bool(grad.abs().max() > 0) for grad in grads)


def test_checkpointing_changes_memory_not_numbers() -> None:
    stack, x = make("TMSM").train(), inputs(2, 7)
    grads = []
    for what in ("none", "scan", "block"):
        stack.recompute = what
        stack.zero_grad()
        stack(x).hidden.square().sum().backward()
        grads.append([value.grad.clone() for value in stack.parameters() if value.grad is not None])
    assert len(grads[0]) == len(list(stack.parameters()))
    for plain, again in itertools.chain(
        zip(grads[0], grads[1], strict=True), zip(grads[0], grads[2], strict=True)
    ):
        torch.testing.assert_close(plain, again, rtol=1e-10, atol=1e-12)


def test_captured_values_are_layer_inputs() -> None:
    stack, x = make("TMTM"), inputs(2, 5)
    with torch.no_grad():
        out = stack(x, capture=(0, 2))
    assert set(out.captured) == {0, 2}
    same(out.captured[0], x)
    short = make("TMTM")
    short.layers = short.layers[:2]
    short.norm = torch.nn.Identity()
    with torch.no_grad():
        same(out.captured[2], short(x).hidden)


def test_state_after_one_batch_row_can_be_selected_and_continued() -> None:
    stack, x = make("TMSM"), inputs(3, 8)
    with torch.no_grad():
        want = stack(x).hidden[1:2, 6:]
        state = stack(x[:, :6]).state.select(torch.tensor([1]))
        same(stack(x[1:2, 6:], state).hidden, want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_narrow_models_keep_close_and_keep_wide_states(dtype: torch.dtype) -> None:
    stack, x = make("TMTM"), inputs(1, 40)
    with torch.no_grad():
        want = stack(x).hidden
        narrow = stack.to(dtype)
        got = narrow(x.to(dtype))
    tolerance = 1e-5 if dtype == torch.float32 else 6e-2
    same(got.hidden.double(), want, tolerance)
    ssm = [layer.ssm for layer in got.state.layers if hasattr(layer, "ssm")]
    assert len(ssm) == 2
    assert all(value.dtype == torch.float32 for value in ssm)


def test_wrong_shapes_and_kinds_are_refused() -> None:
    with pytest.raises(ValueError):
        make("T")(torch.zeros(1, 2, 5, dtype=torch.float64))
    with pytest.raises(PlanError, match="names 2 layers"):
        replace(TINY, kinds="TM")
    with pytest.raises(ValueError, match="multiple"):
        replace(TINY, n_kv_heads=3)
