"""Stacks as data: Zonos by its goldens, Llama and GPT-2 by an independent library."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.costs import parameters
from mamtra_cli.backbone.decoding.fused import FusedStack
from mamtra_cli.backbone.hybrid import HybridStack
from mamtra_cli.errors import PlanError
from mamtra_cli.layers.mixer_config import MixerConfig
from mamtra_cli.layers.native_mamba2 import NativeMamba2Layer
from mamtra_cli.layers.shape import MixerShape, NativeMamba2, RopeScaling
from mamtra_cli.layers.state import KVState, MambaState


def zonos_config(told: dict[str, Any]) -> HybridConfig:
    attention, ssm = told["attn_cfg"], told["ssm_cfg"]
    heads = attention["num_heads"]
    kinds = ["T" if i in told["attn_layer_idx"] else "N" for i in range(told["n_layer"])]
    return HybridConfig(
        d_model=told["d_model"],
        n_layers=told["n_layer"],
        n_heads=heads,
        n_kv_heads=attention["num_heads_kv"],
        head_dim=told["d_model"] // heads,
        d_ff=told["attn_mlp_d_intermediate"],
        rope="interleaved" if attention.get("rotary_emb_interleaved") else "half",
        rope_theta=10_000.0,
        norm="layer",
        norm_eps=told["norm_epsilon"],
        qkv_bias=False,
        native=NativeMamba2(d_state=ssm["d_state"], head_dim=ssm["headdim"]) if ssm else None,
        kinds="".join(kinds),
    )


def zonos_tensors(config: HybridConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published names and fused projections under ours."""
    ours: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not name.startswith("w."):
            continue
        name = name.removeprefix("w.").replace("norm_f.", "norm.")
        name = name.replace(".norm2.", ".post_attention_layernorm.")
        if name.count(".") == 3:
            name = name.replace(".norm.", ".input_layernorm.")
        stem, _, last = name.partition(".mixer.")
        attention = last and config.layer_kinds[int(stem.split(".")[1])] == "T"
        if attention and last == "in_proj.weight":
            sizes = [config.shape.q_width, config.shape.kv_width, config.shape.kv_width]
            parts = zip("qkv", value.split(sizes), strict=True)
            ours |= {f"{stem}.self_attn.{c}_proj.weight": part for c, part in parts}
        elif attention:
            ours[f"{stem}.self_attn.o_proj.weight"] = value
        elif name.endswith("mlp.fc1.weight"):
            up, gate = value.chunk(2)
            stem = name.removesuffix("fc1.weight")
            ours |= {f"{stem}up_proj.weight": up, f"{stem}gate_proj.weight": gate}
        elif name.endswith("conv1d.weight"):
            ours[name.replace("conv1d", "conv")] = value[:, 0]
        else:
            renamed = name.replace("fc2", "down_proj").replace("conv1d", "conv")
            ours[renamed.replace("out_proj", "o_proj")] = value
    return ours


@pytest.mark.parametrize("case", ["backbone_hybrid_short", "backbone_transformer_b"])
def test_zonos_backbones_are_configurations(goldens: Path, case: str) -> None:
    tensors = load_file(goldens / "zonos" / f"{case}.safetensors")
    config = zonos_config(json.loads((goldens / "zonos" / f"{case}.json").read_text())["backbone"])
    stack = HybridStack(config)
    stack.load_state_dict(zonos_tensors(config, tensors))
    stack.eval()
    close = {"rtol": 0.0, "atol": 2e-5}
    with torch.no_grad():
        both = torch.cat((tensors["in.prefill"], tensors["in.decode"]), 1)
        torch.testing.assert_close(stack(both).hidden, tensors["out.full"], **close)
        out = stack(tensors["in.prefill"], capture=[1])
        torch.testing.assert_close(out.hidden, tensors["out.prefill"], **close)
        torch.testing.assert_close(out.captured[1], tensors["mid.layer0.prefill"], **close)
        fused, parts = FusedStack(stack), []
        state = fused.start(out.state, room=both.shape[1])
        for x in tensors["in.decode"].unbind(1):
            hidden, state = fused.step(x, state)
            parts.append(hidden)
        torch.testing.assert_close(torch.stack(parts, 1), tensors["out.decode"], **close)
    for i, layer in enumerate(out.state.layers):
        at = f"cache.after_prefill.{i}."
        if isinstance(layer, KVState):
            want = tensors[f"{at}kv"][:, : layer.length].permute(2, 0, 3, 1, 4)
            torch.testing.assert_close(torch.stack((layer.k, layer.v)), want, **close)
        elif isinstance(layer, MambaState):
            torch.testing.assert_close(layer.ssm, tensors[f"{at}ssm"], rtol=0.0, atol=1e-4)
            torch.testing.assert_close(layer.conv, tensors[f"{at}conv"][..., 1:], **close)


def test_native_layer_equals_its_golden(goldens: Path) -> None:
    tensors = load_file(goldens / "zonos" / "mamba2_block.safetensors")
    native = NativeMamba2(d_state=16, head_dim=8)
    shape = MixerShape(d_model=32, n_heads=1, n_kv_heads=1, head_dim=32, native=native)
    layer = NativeMamba2Layer(shape, MixerConfig())
    named = {n.removeprefix("w."): v for n, v in tensors.items() if n.startswith("w.")}
    named["conv.weight"] = named.pop("conv1d.weight")[:, 0]
    named["conv.bias"] = named.pop("conv1d.bias")
    named["o_proj.weight"] = named.pop("out_proj.weight")
    layer.load_state_dict(named)
    with torch.no_grad():
        out, state = layer(tensors["in.u"])
        torch.testing.assert_close(out, tensors["out.full"], rtol=0.0, atol=2e-5)
        torch.testing.assert_close(state.ssm, tensors["state.full.ssm"], rtol=0.0, atol=1e-4)
        torch.testing.assert_close(state.conv, tensors["state.full.conv"][..., 1:])
        out, state = layer(tensors["in.u"][:, :19])
        for t in range(19, 24):
            out, state = layer.step(tensors["in.u"][:, t : t + 1], state)
            torch.testing.assert_close(
                out[:, 0], tensors["out.steps"][:, t - 19], rtol=0.0, atol=2e-5
            )


def randomised(module: torch.nn.Module) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for value in module.parameters():
            value.add_(0.2 * torch.randn_like(value))


def agrees(stack: HybridStack, theirs: Any, x: Tensor) -> None:
    """The stack in one pass and by fused steps, against a transformers model on embedded inputs."""
    with torch.no_grad():
        want = theirs(inputs_embeds=x).last_hidden_state
        torch.testing.assert_close(stack(x).hidden, want, rtol=1e-9, atol=1e-9)
        fused = FusedStack(stack)
        state = fused.start(stack(x[:, :3]).state, room=x.shape[1])
        for t in range(3, x.shape[1]):
            hidden, state = fused.step(x[:, t], state)
            torch.testing.assert_close(hidden, want[:, t], rtol=1e-9, atol=1e-9)


def test_llama_with_stretched_rotation_is_a_configuration() -> None:
    transformers = pytest.importorskip("transformers")
    scaling = {
        "rope_type": "llama3",
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    }
    their_config = transformers.LlamaConfig(
        vocab_size=5,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=40,
        rms_norm_eps=1e-5,
        rope_theta=100.0,
        rope_scaling=scaling,
    )
    theirs = transformers.LlamaModel(their_config).double().eval()
    # The library keeps its table in float32; its frequencies are exact to that.
    randomised(theirs)
    config = HybridConfig(
        d_model=24,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        head_dim=8,
        d_ff=40,
        rope_theta=100.0,
        rope_scaling=RopeScaling(factor=4.0, low=1.0, high=4.0, original=16),
        norm_eps=1e-5,
        qkv_bias=False,
        vocab_size=5,
    )
    stack = HybridStack(config).double().eval()
    stack.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 9, 24, dtype=torch.float64)
    with torch.no_grad():
        want = theirs(inputs_embeds=x).last_hidden_state
        torch.testing.assert_close(stack(x).hidden, want, rtol=0.0, atol=2e-6)


def test_gpt2_is_a_configuration() -> None:
    transformers = pytest.importorskip("transformers")
    their_config = transformers.GPT2Config(
        vocab_size=5, n_positions=16, n_embd=24, n_layer=2, n_head=3, n_inner=40
    )
    theirs = transformers.GPT2Model(their_config).double().eval()
    randomised(theirs)
    config = HybridConfig(
        d_model=24,
        n_layers=2,
        n_heads=3,
        n_kv_heads=3,
        head_dim=8,
        d_ff=40,
        rope="none",
        learned_positions=16,
        norm="layer",
        norm_eps=1e-5,
        ffn="gelu_tanh",
        ffn_bias=True,
        out_bias=True,
        vocab_size=5,
    )
    stack = HybridStack(config).double().eval()
    named: dict[str, Tensor] = {}
    renamed = {
        "wte": "embed_tokens",
        "wpe": "embed_positions",
        "ln_f": "norm",
        "ln_1": "input_layernorm",
        "ln_2": "post_attention_layernorm",
        "attn.c_proj": "self_attn.o_proj",
        "mlp.c_fc": "mlp.up_proj",
        "mlp.c_proj": "mlp.down_proj",
    }
    for name, value in theirs.state_dict().items():
        stem, _, last = name.replace("h.", "layers.", 1).rpartition(".")
        value = value.T if value.dim() == 2 and not name.startswith("w") else value
        if stem.endswith("attn.c_attn"):
            at = stem.removesuffix("attn.c_attn")
            for c, part in zip("qkv", value.chunk(3), strict=True):
                named[f"{at}self_attn.{c}_proj.{last}"] = part
            continue
        head, _, tail = stem.partition(".")
        layer, _, tail = tail.partition(".") if head == "layers" else ("", "", head)
        at = f"layers.{layer}." if layer else ""
        named[f"{at}{renamed[tail]}.{last}"] = value
    stack.load_state_dict(named)
    agrees(stack, theirs, torch.randn(2, 9, 24, dtype=torch.float64))
    assert parameters(config).backbone + 5 * 24 == sum(p.numel() for p in stack.parameters())


NATIVE = NativeMamba2(d_state=6, head_dim=8, groups=2)
SHAPES: dict[str, dict[str, Any]] = {
    "native": {"native": NATIVE, "norm": "layer", "kinds": "NTN"},
    "native-fed": {"native": NativeMamba2(d_state=6, head_dim=8, d_ff=20), "kinds": "NNM"},
    "interleaved": {"rope": "interleaved", "kinds": "TMS"},
    "unplaced": {"rope": "none", "kinds": "TMS", "ffn": "none", "d_ff": 0},
    "learned": {
        "rope": "none",
        "learned_positions": 20,
        "kinds": "TMS",
        "norm": "layer",
        "ffn": "gelu",
        "ffn_bias": True,
        "out_bias": True,
    },
}


def make(shape: str) -> HybridStack:
    base = {"d_model": 24, "n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "head_dim": 6, "d_ff": 40}
    mixer = MixerConfig(window=4, sinks=1)
    stack = HybridStack(HybridConfig(**(base | {"mixer": mixer} | SHAPES[shape]))).double().eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in stack.named_parameters():
            if not name.endswith(("A_log", "dt_bias")):
                value.add_(0.2 * torch.randn_like(value))
    return stack


@pytest.mark.parametrize("shape", SHAPES)
def test_any_split_and_fused_steps_equal_one_pass(shape: str) -> None:
    stack = make(shape)
    x = torch.randn(2, 13, 24, dtype=torch.float64)
    fused = FusedStack(stack)
    with torch.no_grad():
        want = stack(x).hidden
        first = stack(x[:, :4])
        second = stack(x[:, 4:7], first.state)
        got = [first.hidden, second.hidden]
        state = fused.start(second.state, room=10)
        for t in range(7, 13):
            hidden, state = fused.step(x[:, t], state)
            got.append(hidden[:, None])
    torch.testing.assert_close(torch.cat(got, 1), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_modules_have_the_sizes_that_costs_state(shape: str) -> None:
    stack = make(shape)
    assert sum(p.numel() for p in stack.parameters()) == parameters(stack.config).backbone


@pytest.mark.parametrize(
    "change",
    [{"norm": "batch"}, {"ffn": "relu"}, {"rope": "both"}, {"learned_positions": -1}],
    ids=lambda change: next(iter(change)),
)
def test_what_no_stack_can_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        HybridConfig(d_model=8, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=8, d_ff=8, **change)


def test_native_layers_need_their_sizes() -> None:
    with pytest.raises(PlanError, match="has none"):
        HybridConfig(d_model=8, n_layers=1, n_heads=1, n_kv_heads=1, head_dim=8, d_ff=8, kinds="N")
    with pytest.raises(ValueError, match="divide"):
        NativeMamba2(head_dim=7).heads(8)
