"""Tokens to wave, in windows of bounded size."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.codecs.flow_hift.calls import Calls, relative_rms
from torch import Tensor

from mamtra_cli.codecs.flow_hift.config import SourceFilterConfig
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.codecs.flow_hift.token2wav import TokenToWave, VoicePrompt
from mamtra_cli.codecs.flow_hift.windows import WaveOptions
from mamtra_cli.engine.decoding.loop import Utterance, decode
from mamtra_cli.engine.model import Engine
from mamtra_cli.families.cosyvoice2.official.token2wav import (
    OfficialOptions,
    OfficialTokenToWave,
)
from mamtra_cli.features import mel24k

Reader = Callable[[str], Any]
AUDIBLE = 60.0
"""dB under the loudest mel value of an utterance; what lies below counts as silence."""
FAST = WaveOptions(
    hop_tokens=10, max_hop_tokens=20, context_tokens=20, steps=1, guidance=0.0, source_noise=False
)


def test_synthesize_of_a_short_text_equals_the_official_single_pass(
    official: OfficialTokenToWave, tokens: list[int], prompt: VoicePrompt
) -> None:
    ours = TokenToWave(official.flow, official.hift, WaveOptions(source_noise=False))
    got = ours.synthesize(tokens, prompt)
    assert torch.equal(got, official.synthesize(tokens, prompt).wave[0])


@pytest.mark.parametrize("hop", [5, 30], ids="hop-{}".format)
def test_stream_with_long_context_equals_one_streaming_pass(
    small_flow: Flow, small_hift: HiFT, tokens: list[int], prompt: VoicePrompt, hop: int
) -> None:
    """Mel exactly, whatever the hop; sound but for the joins, and there closely."""
    options = replace(FAST, hop_tokens=hop, max_hop_tokens=hop, context_tokens=1000)
    ours = TokenToWave(small_flow, small_hift, options)
    mel = small_flow.inference(
        torch.tensor([tokens]),
        prompt.tokens,
        prompt.mel,
        prompt.speaker,
        streaming=True,
        steps=options.steps,
        guidance=options.guidance,
    )
    state, made, end = ours.start(prompt), [], 0
    state = replace(state, tokens=tuple(tokens))
    while (end := ours._next_end(state)) + 3 <= len(tokens):
        made.append(ours.mel(state, end, final=False))
        state = replace(state, done=end)
    made.append(ours.mel(state, len(tokens), final=True))
    assert len(made) > 2
    torch.testing.assert_close(torch.cat(made, dim=2), mel, atol=2e-5, rtol=0)

    _, want = ours.stream_vocoder.step(ours.stream_vocoder.start(), mel, final=True)
    got = torch.cat(list(ours.stream(tokens, prompt)))
    assert got.shape == want.shape
    # Random weights; without carried phase or cross-fade this is about 1.
    assert relative_rms(got, want) < 0.05


def test_joins_of_the_source_filter_vocoder_leave_no_trace(
    small_flow: Flow, tokens: list[int], prompt: VoicePrompt
) -> None:
    """Windows that make the same mel make the same sound; HiFT's are only close there."""
    torch.manual_seed(0)
    vocoder = SourceFilter(SourceFilterConfig(width=16, pitch_width=16)).eval()
    hops = {"hop_tokens": 5, "max_hop_tokens": 5, "context_tokens": 1000}
    ours = TokenToWave(small_flow, vocoder, replace(FAST, **hops, source_noise=True))
    mel = small_flow.inference(
        torch.tensor([tokens]),
        prompt.tokens,
        prompt.mel,
        prompt.speaker,
        streaming=True,
        steps=FAST.steps,
        guidance=FAST.guidance,
    )
    _, want = ours.stream_vocoder.step(ours.stream_vocoder.start(), mel, final=True)
    chunks = list(ours.stream(tokens, prompt))
    assert len(chunks) > 5
    got = torch.cat(chunks)
    assert got.shape == want.shape
    assert relative_rms(got, want) < 1e-3


@pytest.mark.parametrize("count", [1, 13, 14, 15, 90])
def test_stream_makes_exactly_the_samples_of_its_tokens(
    small_flow: Flow, small_hift: HiFT, tokens: list[int], prompt: VoicePrompt, count: int
) -> None:
    ours = TokenToWave(small_flow, small_hift, FAST)
    chunks = list(ours.stream(tokens[:count], prompt))
    assert all(c.dtype is torch.float32 and c.dim() == 1 and len(c) for c in chunks)
    assert sum(len(c) for c in chunks) == 480 * 2 * count
    assert (len(chunks) > 1) == (count >= 14)
    patient = TokenToWave(small_flow, small_hift, replace(FAST, whole_tokens=20))
    assert patient.synthesize(tokens[:count], prompt).shape == (480 * 2 * count,)


@pytest.mark.parametrize("speed", [0.5, 3.7], ids="speed-{}".format)
def test_speed_acts_on_streams_too(
    small_flow: Flow, small_hift: HiFT, tokens: list[int], prompt: VoicePrompt, speed: float
) -> None:
    ours = TokenToWave(small_flow, small_hift, replace(FAST, speed=speed))
    frames = int(2 * 45 / speed)
    assert sum(len(c) for c in ours.stream(tokens[:45], prompt)) == 480 * frames
    assert len(ours.synthesize(tokens[:45], prompt)) == 480 * frames


def test_no_tokens_make_no_sound(small_flow: Flow, small_hift: HiFT, prompt: VoicePrompt) -> None:
    ours = TokenToWave(small_flow, small_hift, FAST)
    assert list(ours.stream([], prompt)) == []
    assert ours.synthesize([], prompt).shape == (0,)


def test_speaker_alone_is_a_prompt(small_flow: Flow, small_hift: HiFT, tokens: list[int]) -> None:
    ours = TokenToWave(small_flow, small_hift, FAST)
    bare = VoicePrompt.of_speaker(torch.randn(192, generator=torch.Generator().manual_seed(0)))
    waves = list(ours.stream(tokens[:40], bare))
    assert len(waves) == 3
    assert torch.cat(waves).isfinite().all()


@pytest.mark.parametrize("bad", [-1, 120], ids=["negative", "beyond-codebook"])
def test_token_outside_the_codebook_is_refused(
    small_flow: Flow, small_hift: HiFT, prompt: VoicePrompt, bad: int
) -> None:
    ours = TokenToWave(small_flow, small_hift, FAST)
    with pytest.raises(ValueError, match=r"0\.\.119"):
        ours.push(ours.start(prompt), [3, bad])


@pytest.mark.parametrize(
    "wrong",
    [{"speed": 0.0}, {"speed": float("nan")}, {"hop_tokens": 0}, {"context_tokens": -1}],
    ids=lambda w: next(iter(w)),
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        WaveOptions(**wrong)


def test_pushing_all_at_once_equals_one_by_one_and_a_state_can_be_used_twice(
    small_flow: Flow, small_hift: HiFT, tokens: list[int], prompt: VoicePrompt
) -> None:
    ours = TokenToWave(small_flow, small_hift, replace(FAST, source_noise=True))
    singly = torch.cat(list(ours.stream(tokens[:60], prompt)))
    state, head = ours.push(ours.start(prompt), tokens[:50])
    for _ in range(2):
        after, middle = ours.push(state, tokens[50:60])
        assert torch.equal(torch.cat((head, middle, ours.finish(after))), singly)


@pytest.mark.parametrize("patient", [False, True], ids=["stream", "synthesize"])
def test_windows_do_not_grow_with_the_length_of_the_speech(
    monkeypatch: pytest.MonkeyPatch,
    small_flow: Flow,
    small_hift: HiFT,
    tokens: list[int],
    prompt: VoicePrompt,
    patient: bool,
) -> None:
    ours = TokenToWave(small_flow, small_hift, replace(FAST, whole_tokens=30))
    widest = []
    for copies in (1, 3):
        with monkeypatch.context() as patch:
            calls = Calls(patch, small_flow, small_hift)
            state = ours.start(prompt)
            if patient:
                ours.synthesize(tokens * copies, prompt)
            else:
                state, _ = ours.push(state, tokens * copies)
                ours.finish(state)
                kept = len(state.tokens) + state.vocoder.mel.shape[2]
                assert kept <= 20 + 5 + 20 + 3 + 16 + 12
        sizes = [c["tokens"] for c in calls.flow]
        assert len(sizes) >= 4 * copies
        # context and hop, both rounded to the grid of 5, and the look-ahead
        assert max(sizes) <= 20 + 4 + 20 + 4 + 3
        assert max(calls.frames) <= 2 * (20 + 4 + 3) + 16 + 8 + 12
        widest.append((max(sizes), max(calls.frames)))
    assert widest[0] == widest[1]


@pytest.fixture(scope="module")
def spoken() -> tuple[TokenToWave, VoicePrompt, list[int]]:
    """mini, a voice of it, and the tokens of a sentence of about sixteen seconds."""
    engine = Engine.load("mini", device="cpu")
    voice = engine.voice()
    text = (
        "The old clock in the kitchen was very slow, and nobody noticed it, so that the guests "
        "came to the table when the soup was cold, and when the rain had stopped at last, we "
        "walked along the river to the old mill, where my brother used to fish for trout, and had "
        "our lunch there."
    )
    ids = engine.encode(text)
    speaker = engine.speaker
    assert speaker.tokens is not None
    utterance = Utterance(script=speaker.begin(ids, voice), seed=1)
    ((_, outcome),) = decode(speaker.tokens, [utterance], engine.sampling)
    return (
        TokenToWave(engine.part("flow"), engine.part(engine.config.vocoder_part)),
        speaker.sound_prompt(voice),
        list(outcome.tokens),
    )


def log_mel_distance(got: Tensor, want: Tensor) -> float:
    """Mean absolute difference of natural-log mel values, as far as anybody hears them.

    The pauses of natural speech are next to silent, and so are its upper bands in vowels: there the
    logarithms of two kinds of nothing differ by whole nepers. Below AUDIBLE both are one silence.
    """
    ours, theirs = mel24k(got[None]), mel24k(want[None])
    floor = theirs.max().item() - AUDIBLE * math.log(10) / 20
    return (ours.clamp(min=floor) - theirs.clamp(min=floor)).abs().mean().item()


def test_stream_of_a_trained_model_is_its_streaming_pass_and_does_not_click(
    spoken: tuple[TokenToWave, VoicePrompt, list[int]],
) -> None:
    """The promises of docs/streaming.md: reference, tolerance, joins."""
    ours, prompt, tokens = spoken
    mel = ours.flow.inference(
        torch.tensor([tokens]), prompt.tokens, prompt.mel, prompt.speaker, streaming=True
    )
    _, want = ours.stream_vocoder.step(ours.stream_vocoder.start(), mel, final=True)

    within = replace(ours.options, context_tokens=1000)
    exact = torch.cat(list(TokenToWave(ours.flow, ours.vocoder, within).stream(tokens, prompt)))
    assert relative_rms(exact, want) < 2e-3

    bounded = replace(ours.options, context_tokens=100)  # as mini has it
    chunks = list(TokenToWave(ours.flow, ours.vocoder, bounded).stream(tokens, prompt))
    got = torch.cat(chunks)
    assert len(chunks) >= 3
    assert got.shape == want.shape
    assert log_mel_distance(got, want) < 0.06

    steps = got.diff().abs()
    near = torch.zeros(len(steps), dtype=torch.bool)
    seams = torch.tensor([len(chunk) for chunk in chunks]).cumsum(0)[:-1].tolist()
    for seam in seams:
        # The cross-fade follows the seam.
        near[seam - 240 : seam + 480 * ours.options.overlap_frames + 240] = True
        assert steps[seam - 1] < 0.25 * steps.max()
    assert steps[near].max() <= 1.1 * steps[~near].max()


def test_work_a_second_of_speech_does_not_depend_on_its_length(
    monkeypatch: pytest.MonkeyPatch,
    small_flow: Flow,
    small_hift: HiFT,
    tokens: list[int],
    prompt: VoicePrompt,
) -> None:
    """Frames through flow and vocoder: ours in proportion, the published schedule beyond it."""

    def silent_mel(token: Tensor, *args: Any, finalize: bool, **options: Any) -> Tensor:
        return torch.zeros(1, 80, 2 * (token.shape[1] - (0 if finalize else 3)))

    # Only sizes count here.
    monkeypatch.setattr(small_flow, "inference", silent_mel)
    monkeypatch.setattr(small_hift, "decode", lambda mel, source: source[:, 0])
    ours = TokenToWave(small_flow, small_hift, FAST)
    published = OfficialTokenToWave(
        flow=small_flow,
        hift=small_hift,
        options=OfficialOptions(hop_tokens=10, max_hop_tokens=20, source_noise=False),
    )
    counts: dict[str, list[tuple[int, int]]] = {"ours": [], "published": []}
    for copies in (1, 4):
        for name, road in (("ours", ours), ("published", published)):
            with monkeypatch.context() as patch:
                calls = Calls(patch, small_flow, small_hift)
                for _ in road.stream(tokens * copies, prompt):
                    pass
            counts[name].append((sum(c["tokens"] for c in calls.flow), sum(calls.frames)))
    (flow, vocoder), (flow_4, vocoder_4) = counts["ours"]
    assert flow_4 <= 4.4 * flow
    assert vocoder_4 <= 4.4 * vocoder
    assert counts["published"][1][0] > 8 * counts["published"][0][0]


@pytest.mark.parametrize("before", [0, 5, 10, 13, 24])
def test_first_sound_waits_for_the_first_chunk_alone(
    small_flow: Flow, small_hift: HiFT, tokens: list[int], before: int
) -> None:
    """The first grid point with enough tokens, and the look-ahead: no token more."""
    ours = TokenToWave(small_flow, small_hift, WaveOptions(steps=1, guidance=0.0))
    prompt = VoicePrompt(
        speaker=torch.ones(1, 192),
        tokens=torch.zeros((1, before), dtype=torch.long),
        mel=torch.zeros((1, 2 * before, 80)),
    )
    first = next(n for n in range(15, 100) if (before + n) % ours.grid == 0)
    state, wave = ours.push(ours.start(prompt), tokens[: first + 2])
    assert len(wave) == 0
    _, wave = ours.push(state, tokens[first + 2 : first + 3])
    held = ours.options.overlap_frames + ours.options.guard_frames
    assert len(wave) == 480 * (2 * first - held)
