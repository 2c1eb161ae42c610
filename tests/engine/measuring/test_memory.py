"""Memory of the whole pipeline on tiny sizes."""

import pytest
import torch
from tests.engine.tiny import tiny_engine

from mamtra_cli.codecs.flow_hift.token2wav import TokenToWave
from mamtra_cli.codecs.flow_hift.windows import WaveOptions
from mamtra_cli.engine.measuring.memory import official_memory, own_memory
from mamtra_cli.families.cosyvoice2.measures import random_prompt, window_peak
from mamtra_cli.families.measures import Request
from mamtra_cli.layers.text_table import TextTable


def test_scratch_of_a_stream_does_not_grow_with_its_length() -> None:
    """Within 5 % from 6 to 12 seconds; the same work in one pass grows at least with it."""
    engine = tiny_engine()
    options = WaveOptions(hop_tokens=10, max_hop_tokens=20, context_tokens=25, steps=1)
    waver = TokenToWave(engine.part("flow"), engine.part(engine.config.vocoder_part), options)
    prompt = random_prompt(engine.config, 10)
    with torch.inference_mode():
        window_peak(waver, prompt, 100)
        short, long = (window_peak(waver, prompt, tokens) for tokens in (150, 300))
    assert long == pytest.approx(short, rel=0.05)


def test_official_pipeline_needs_more_the_longer_the_speech() -> None:
    engine = tiny_engine()
    short, long = (
        official_memory(engine, Request(tokens=tokens, prompt=10, text=20)) for tokens in (50, 200)
    )
    assert long["token_to_wave_bytes"] > 3 * short["token_to_wave_bytes"]
    assert long["weights_bytes"] == short["weights_bytes"]


def test_official_weights_hold_the_text_embedding_that_ours_leaves_on_the_host() -> None:
    request = Request(tokens=20, prompt=10, text=20)
    plain, lean = tiny_engine(), tiny_engine()
    stack = lean.part("lm").stack
    stack.set_submodule("embed_tokens", TextTable(stack.embed_tokens.weight.detach()))
    found = [official_memory(engine, request)["weights_bytes"] for engine in (plain, lean)]
    assert found[0] == found[1] > own_memory(lean, request)["weights_bytes"]


def test_our_pipeline_holds_its_cache_and_weights() -> None:
    engine = tiny_engine()
    found = own_memory(engine, Request(tokens=30, prompt=10, text=20))
    assert found["weights_bytes"] == sum(
        value.nbytes
        for name in ("lm", "flow", "hift")
        for value in engine.part(name).state_dict().values()
    )
    assert found["language_model_bytes"] > 0
