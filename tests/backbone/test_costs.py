"""Costs: every golden entry, the lengths at which mixers pay, and real modules' sizes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mamtra_cli.backbone.config import HybridConfig
from mamtra_cli.backbone.costs import (
    Head,
    Precision,
    break_even,
    cache_bytes,
    decode_bytes,
    decode_flops,
    kv_bytes_per_token,
    parameters,
    prefill_flops,
    state_bytes,
    state_elements,
)
from mamtra_cli.layers.mixer_config import MixerConfig

QWEN = HybridConfig(
    d_model=896,
    n_layers=24,
    n_heads=14,
    n_kv_heads=2,
    head_dim=64,
    d_ff=4864,
    mixer=MixerConfig(gate="full", feature_map="identity"),
)
SPEECH = Head(text_vocab=151_936, speech_vocab=6564)


def golden_rows(goldens: Path) -> Iterator[tuple[dict[str, Any], HybridConfig, Head]]:
    data = json.loads((goldens / "hybrid" / "costs.json").read_text())
    for row in data["rows"]:
        shape = data["shapes"][row["shape"]]
        t, m = row["attention_layers"], row["mamba_layers"]
        config = HybridConfig(
            d_model=shape["d"],
            n_layers=t + m,
            n_heads=shape["H"],
            n_kv_heads=shape["K"],
            head_dim=shape["hd"],
            d_ff=shape["ff"],
            kinds="T" * t + "M" * m,
            mixer=MixerConfig(gate=row["gate"], feature_map="identity"),
        )
        head = Head(
            text_vocab=shape["v_text"],
            speech_vocab=shape["v_sp"],
            speech_bias=shape["sp_head_bias"],
        )
        yield row, config, head


def test_every_golden_cost_is_reproduced(goldens: Path) -> None:
    rows = list(golden_rows(goldens))
    assert rows
    for row, config, head in rows:
        where = (row["shape"], config.kinds, row["gate"])
        got = parameters(config, head)
        assert {
            "backbone": got.backbone,
            "text_embedding": got.text_embedding,
            "speech_io": got.speech_io,
            "total": got.total,
        } == row["params"], where
        ssm, conv = state_elements(config)
        assert (ssm, conv) == (row["ssm_state_elements"], row["conv_state_elements"]), where
        for size, value in row["kv_bytes_per_token"].items():
            assert kv_bytes_per_token(config, int(size)) == value, where
        for length, value in row.get("decode_flops", {}).items():
            assert decode_flops(config, int(length), head) == value, (where, length)


def test_break_even_of_the_published_teacher() -> None:
    same = break_even(QWEN, Precision(state=2, conv=2, cache=2))
    assert same.memory == 238
    assert same.flops == 538
    mixed = break_even(QWEN)
    assert mixed.memory == 462
    assert mixed.traffic == 923


@pytest.mark.parametrize(
    ("heads", "groups", "width", "tokens"),
    [(14, 2, 64, 448), (16, 4, 128, 512), (16, 8, 128, 256), (16, 16, 64, 64)],
    ids=["cosyvoice2", "zonos", "qwen3-tts", "chatterbox"],
)
def test_a_state_weighs_head_width_times_query_heads_a_key_head(
    heads: int, groups: int, width: int, tokens: int
) -> None:
    """The law: a float32 state against keys and values in bfloat16, the convolution left out."""
    sizes = replace(QWEN, n_heads=heads, n_kv_heads=groups, head_dim=width)
    assert tokens == width * heads // groups
    assert break_even(sizes).state == tokens < break_even(sizes).memory
    wider = replace(sizes, mixer=replace(sizes.mixer, feature_map="softmax2"))
    assert break_even(wider).state == 2 * tokens


@pytest.mark.parametrize(
    "precision", [Precision(), Precision(cache=4, conv=4)], ids=["bf16", "fp32"]
)
def test_memory_break_even_is_where_the_caches_cross(precision: Precision) -> None:
    attention = replace(QWEN, n_layers=1, kinds="T")
    mixer = replace(QWEN, n_layers=1, kinds="M")
    at = break_even(QWEN, precision).memory
    assert cache_bytes(mixer, at, precision) <= cache_bytes(attention, at, precision)
    assert cache_bytes(mixer, at - 1, precision) > cache_bytes(attention, at - 1, precision)


def test_flop_break_even_is_where_decoding_crosses() -> None:
    attention = replace(QWEN, n_layers=1, kinds="T")
    mixer = replace(QWEN, n_layers=1, kinds="M")
    at = break_even(QWEN).flops
    assert decode_flops(mixer, at) <= decode_flops(attention, at)
    assert decode_flops(mixer, at - 1) > decode_flops(attention, at - 1)


def test_published_forward_pass_of_2000_tokens() -> None:
    half = replace(QWEN, kinds="TM" * 12)
    wanted = {"": 1.775e12, "1:1": 1.643e12}
    for config, value in ((QWEN, wanted[""]), (half, wanted["1:1"])):
        scan = 0 if not config.kinds else 12 * 2000 * (5 * 57_344 + 8 * 1152)
        got = prefill_flops(config, 2000, causal=False) - scan
        assert got == pytest.approx(value, rel=2e-3)


def test_causal_prefill_equals_the_sum_of_decoded_tokens() -> None:
    config = replace(QWEN, n_layers=3, kinds="TMS", mixer=MixerConfig(window=5, sinks=2))
    steps = sum(decode_flops(config, length) for length in range(1, 21))
    assert prefill_flops(config, 20) == steps


def test_chunked_scan_costs_more_flops_than_the_recurrence() -> None:
    config = replace(QWEN, kinds="M" * 24)
    assert prefill_flops(config, 1024, chunk=64) > prefill_flops(config, 1024)


def test_window_layer_holds_a_bounded_cache() -> None:
    config = replace(QWEN, kinds="S" * 24, mixer=MixerConfig(window=100, sinks=4))
    assert cache_bytes(config, 104) == cache_bytes(config, 10_000)
    assert state_bytes(config) == 0


def test_softmax_feature_map_doubles_the_state() -> None:
    config = replace(QWEN, kinds="M" * 24)
    wide = replace(config, mixer=MixerConfig(gate="full", feature_map="softmax2"))
    assert state_elements(wide)[0] == 2 * state_elements(config)[0]
    assert break_even(wide, Precision(state=2)).memory == 462


def test_decode_traffic_is_weights_plus_cache_and_twice_the_state() -> None:
    config = replace(QWEN, kinds="TM" * 12)
    one, two = (decode_bytes(config, 1000, batch=batch, head=SPEECH) for batch in (1, 2))
    assert two - one == 1000 * 6144 + 2 * state_bytes(config)
    assert one - (two - one) == 2 * (parameters(config).backbone + 6564 * 897)
