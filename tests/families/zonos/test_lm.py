"""The stack, the heads and guidance against the published model, and its two ways of reading."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.families.zonos.golden import golden_lm, read, under
from torch import Tensor

from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.families.zonos.lm import guided
from mamtra_cli.families.zonos.published import config_of
from mamtra_cli.families.zonos.weights import to_ours
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.native_mamba2 import NativeMamba2Layer
from mamtra_cli.layers.shape import MixerShape, NativeMamba2
from mamtra_cli.layers.state import HybridState, KVState, MambaState

STACKS = ("transformer", "transformer_b", "hybrid", "hybrid_short")
FLOAT, STATE, HALF, LOGITS = 2e-5, 1e-4, 6.5e-2, 1e-4
ONE_PASS = 1e-5
CONDITIONS: dict[str, Any] = {
    "conditioners": [{"name": "espeak", "type": "EspeakPhonemeConditioner"}]
}


def close(actual: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def golden_stack(info: dict[str, Any], tensors: dict[str, Tensor]) -> HybridStack:
    config = config_of({"backbone": info["backbone"], "prefix_conditioner": CONDITIONS})
    stack = HybridStack(config.lm.hybrid)
    published = {f"backbone.{name}": value for name, value in under(tensors, "w.").items()}
    stack.load_state_dict(
        {name.removeprefix("backbone."): value for name, value in to_ours(published).items()}
    )
    return stack.eval()


def stored(tensors: dict[str, Tensor], moment: str, state: HybridState) -> None:
    """Compare states with stored caches; theirs keep one more column before the convolution."""
    for i, layer in enumerate(state.layers):
        cache = under(tensors, f"cache.{moment}.{i}.")
        if isinstance(layer, KVState):
            k, v, _ = layer.columns()
            both = torch.stack((k, v)).permute(1, 3, 0, 2, 4)  # (B, T, 2, G, P)
            close(both, cache["kv"][:, : both.shape[1]], STATE)
        else:
            assert isinstance(layer, MambaState)
            close(layer.conv, cache["conv"][..., 1:], STATE)
            close(layer.ssm, cache["ssm"], STATE)


@pytest.mark.parametrize("name", STACKS)
@torch.no_grad()
def test_stack_is_the_published_one(goldens: Path, name: str) -> None:
    info, tensors = read(goldens, f"backbone_{name}")
    stack = golden_stack(info, tensors)
    prefill, decode = tensors["in.prefill"], tensors["in.decode"]
    layers = range(len(stack.layers))
    out = stack(prefill, capture=layers)
    close(out.hidden, tensors["out.prefill"], FLOAT)
    for i in layers[1:]:
        close(out.captured[i], tensors[f"mid.layer{i - 1}.prefill"], FLOAT)
    stored(tensors, "after_prefill", out.state)
    fused = FusedStack(stack)
    under_way = fused.start(out.state, prefill.shape[1] + decode.shape[1])
    state = out.state
    for place in range(decode.shape[1]):
        column = decode[:, place : place + 1]
        stepped = stack(column, state)
        state = stepped.state
        close(stepped.hidden, tensors["out.decode"][:, place : place + 1], FLOAT)
        hidden, under_way = fused.step(column[:, 0], under_way)
        close(hidden, tensors["out.decode"][:, place], FLOAT)
    stored(tensors, "after_decode", state)
    whole = stack(torch.cat((prefill, decode), dim=1)).hidden
    close(whole, tensors["out.full"], FLOAT)

    if "bf16.out.prefill" in tensors:
        half = stack.bfloat16()
        read_half = half(prefill.bfloat16())
        close(read_half.hidden, tensors["bf16.out.prefill"], HALF)
        after = half(decode.bfloat16(), read_half.state)
        close(after.hidden, tensors["bf16.out.decode"], HALF)


@pytest.mark.parametrize("kind", ["transformer", "hybrid"])
@torch.no_grad()
def test_guidance_is_the_published_one(goldens: Path, kind: str) -> None:
    _, tensors = read(goldens, f"cfg_{kind}")
    lm = golden_lm(goldens, kind)
    columns = tensors["in.prefill_ids"].transpose(1, 2)
    vectors = lm.embed(columns)
    close(vectors, tensors["mid.embed_codes"], LOGITS)
    prefix = tensors["in.prefix_conditioning"]
    out = lm.stack(torch.cat((prefix, vectors.repeat(2, 1, 1)), dim=1))
    logits = lm.logits(out.hidden[:, -1])
    close(logits, tensors["mid.raw_logits_prefill"], LOGITS)
    said, unsaid = logits.chunk(2)
    for scale in (2.0, 3.5):
        close(guided(said, unsaid, scale), tensors[f"out.prefill_logits_cfg{scale:g}"], LOGITS)
    close(guided(said, unsaid, 2.0)[:1], tensors["out.b1.prefill_logits_cfg2"], LOGITS)
    column = lm.embed(tensors["in.next_ids"].transpose(1, 2)).repeat(2, 1, 1)
    said, unsaid = lm.logits(lm.stack(column, out.state).hidden[:, -1]).chunk(2)
    close(guided(said, unsaid, 2.0), tensors["out.decode_logits_cfg2"], LOGITS)
    assert torch.equal(guided(said, None, 1.0)[..., :-1], said)


@pytest.mark.parametrize("prompt", [1, 2, 9])  # below and above the window of the convolution
@pytest.mark.parametrize("kind", ["transformer", "hybrid"])
@torch.no_grad()
def test_a_prompt_and_steps_are_one_pass(goldens: Path, kind: str, prompt: int) -> None:
    lm = golden_lm(goldens, kind)
    x = torch.randn(2, 16, lm.config.d_model, generator=torch.manual_seed(prompt))
    whole = lm.stack(x).hidden
    begun = lm.stack(x[:, :prompt])
    state, fused = begun.state, FusedStack(lm.stack)
    under_way = fused.start(state, x.shape[1])
    for place in range(prompt, x.shape[1]):
        out = lm.stack(x[:, place : place + 1], state)
        state = out.state
        close(out.hidden[:, 0], whole[:, place], ONE_PASS)
        hidden, under_way = fused.step(x[:, place], under_way)
        close(hidden, whole[:, place], ONE_PASS)
    close(lm.stack(x[:, prompt:], begun.state).hidden, whole[:, prompt:], ONE_PASS)


@pytest.mark.parametrize("kind", ["transformer", "hybrid"])
@torch.no_grad()
def test_float16_serves_where_bfloat16_has_no_hardware(goldens: Path, kind: str) -> None:
    lm = golden_lm(goldens, kind)
    x = torch.randn(1, 12, lm.config.d_model, generator=torch.manual_seed(0))
    exact = lm.stack(x).hidden
    half = lm.half().stack(x.half())
    close(half.hidden.float(), exact, HALF)
    fused = FusedStack(lm.stack)
    hidden, _ = fused.step(x[:, 0].half(), fused.start(half.state, 13))
    assert bool(hidden.isfinite().all())


def golden_native(info: dict[str, Any], tensors: dict[str, Tensor]) -> NativeMamba2Layer:
    sizes = NativeMamba2(
        d_state=info["d_state"],
        head_dim=info["headdim"],
        expand=info["expand"],
        groups=info["ngroups"],
        conv_kernel=info["d_conv"],
        norm_eps=info["norm_eps"],
    )
    shape = MixerShape(d_model=info["d_model"], n_heads=2, n_kv_heads=1, head_dim=4, native=sizes)
    layer = NativeMamba2Layer(shape, MixerConfig())
    published = {f"backbone.layers.0.mixer.{k}": v for k, v in under(tensors, "w.").items()}
    stem = "backbone.layers.0.mixer."
    layer.load_state_dict({k.removeprefix(stem): v for k, v in to_ours(published).items()})
    return layer.eval()


@torch.no_grad()
def test_native_layer_is_the_published_one(goldens: Path) -> None:
    info, tensors = read(goldens, "mamba2_block")
    layer, u = golden_native(info, tensors), tensors["in.u"]
    z, channels, dt = layer.split(layer.in_proj(u))
    for value, name in ((z, "z"), (channels, "xBC_pre_conv"), (dt, "dt_raw")):
        close(value, tensors[f"mid.{name}"], FLOAT)
    gated = layer.tail(tensors["mid.y_scan"], tensors["mid.z"])
    close(gated, tensors["mid.y_gated_norm"], FLOAT)
    whole, after = layer(u)
    close(whole, tensors["out.full"], FLOAT)
    close(after.ssm, tensors["state.full.ssm"], STATE)
    out, state = layer(u[:, : info["prefill_len"]])
    close(out, tensors["out.prefill"], FLOAT)
    close(state.conv, tensors["state.prefill.conv"][..., 1:], STATE)
    close(state.ssm, tensors["state.prefill.ssm"], STATE)
    for place in range(info["decode_steps"]):
        at = info["prefill_len"] + place
        out, state = layer.step(u[:, at : at + 1], state)
        close(out, tensors["out.steps"][:, place : place + 1], FLOAT)
