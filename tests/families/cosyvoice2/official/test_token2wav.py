"""The published schedule: lengths, calls, mels and sound of its goldens."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.codecs.flow_hift.calls import Calls, relative_rms

from mamtra_cli.codecs.flow_hift.token2wav import VoicePrompt
from mamtra_cli.families.cosyvoice2.official.token2wav import OfficialChunk, OfficialTokenToWave

Reader = Callable[[str], Any]


def cases(golden: Reader) -> Iterator[tuple[str, float | None]]:
    """Cases of the golden: name, and speed of a single pass or `None` for a stream."""
    for name in golden("token2wav").meta["cases"]:
        match = re.search(r"speed(\d+)_(\d+)$", name)
        yield name, None if name == "stream" else float(".".join(match.groups()) if match else 1)


def test_official_schedule_equals_golden(
    golden: Reader,
    monkeypatch: pytest.MonkeyPatch,
    official: OfficialTokenToWave,
    tokens: list[int],
    prompt: VoicePrompt,
) -> None:
    data = golden("token2wav")
    tolerance = data.meta["tolerance"]
    calls = Calls(monkeypatch, official.flow, official.hift)
    for name, speed in cases(golden):
        calls.flow.clear()
        chunks: list[OfficialChunk]
        if speed is None:
            chunks = list(official.stream(iter(tokens), prompt))
        else:
            chunks = [official.synthesize(tokens, prompt, speed=speed)]
        want = data.meta["cases"][name]
        assert [c.wave.shape[1] for c in chunks] == want["wave_lengths"], name
        got = [(c["tokens"], c["streaming"], c["finalize"]) for c in calls.flow]
        assert got == [(c["n_tokens"], c["stream"], c["finalize"]) for c in want["calls"]], name
        for i, chunk in enumerate(chunks):
            mel = data.want.get(f"{name}/vocoder_mel{i}")
            if mel is not None:
                assert (chunk.mel - mel).abs().max() <= tolerance["mel_atol"], (name, i)
            wave = data.want[f"{name}/wave{i}"]
            assert relative_rms(chunk.wave, wave) <= tolerance["wave_rel_rms"], (name, i)


def test_official_cross_fade_uses_the_golden_window(
    golden: Reader, official: OfficialTokenToWave
) -> None:
    window = golden("token2wav").want["crossfade_window"].double()
    size = window.shape[0] // 2
    one, zero = torch.ones(1, size), torch.zeros(1, size)
    torch.testing.assert_close(official._fade(zero, one)[0].double(), window[:size])
    torch.testing.assert_close(official._fade(one, zero)[0].double(), window[size:])
    loud = official._fade(one, one)
    assert 1.07 < loud.min() < loud.max() < 1.09
    options = replace(official.options, corrected=True)
    torch.testing.assert_close(replace(official, options=options)._fade(one, one), one)


def test_official_hop_belongs_to_the_request(
    official: OfficialTokenToWave, tokens: list[int], prompt: VoicePrompt
) -> None:
    first = next(official.stream(tokens, prompt)).wave
    for _ in official.stream(tokens[:40], prompt):
        pass
    assert torch.equal(next(official.stream(tokens, prompt)).wave, first)
