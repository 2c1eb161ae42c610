"""A prompt is heard once: what follows does not change, and costs its own frames only."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import sleep

import pytest
import torch
from torch import Tensor

from mamtra_cli.codecs.flow_hift import heard
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.heard import HeardPrompts
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.past import Heard
from mamtra_cli.codecs.flow_hift.token2wav import TokenToWave, VoicePrompt
from mamtra_cli.codecs.flow_hift.windows import WaveOptions

WINDOWS = WaveOptions(
    first_tokens=3, hop_tokens=4, max_hop_tokens=10, context_tokens=10, steps=2, source_noise=False
)
TOKENS = [(7 * n) % 120 for n in range(31)]


def voice(flow: Flow, tokens: int, seed: int = 0) -> VoicePrompt:
    """A random prompt of so many tokens."""
    config, draw = flow.config, torch.Generator().manual_seed(seed)
    return VoicePrompt(
        speaker=torch.randn((1, config.speaker_dim), generator=draw),
        tokens=torch.randint(0, config.vocab_size, (1, tokens), generator=draw),
        mel=torch.randn((1, flow.ratio * tokens, config.mel_bins), generator=draw),
    )


@pytest.fixture
def mels(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The mel of every window that is spoken, in order."""
    spoken: list[Tensor] = []
    mel = TokenToWave.mel

    def kept(self: TokenToWave, *args: object, **options: object) -> Tensor:
        spoken.append(mel(self, *args, **options))  # type: ignore[arg-type]
        return spoken[-1]

    monkeypatch.setattr(TokenToWave, "mel", kept)
    return spoken


def spoken(road: TokenToWave, prompt: VoicePrompt, piece: int) -> Tensor:
    state, waves = road.start(prompt), []
    for start in range(0, len(TOKENS), piece):
        state, wave = road.push(state, TOKENS[start : start + piece])
        waves.append(wave)
    return torch.cat((*waves, road.finish(state)))


@pytest.mark.parametrize(
    ("tokens", "guidance"),
    [
        pytest.param(4, 0.0, id="less-than-is-heard"),
        pytest.param(8, 0.7, id="guided"),
        pytest.param(20, 0.7, id="all-of-it"),
        pytest.param(23, 0.0, id="all-but-the-end"),
    ],
)
def test_a_heard_prompt_changes_nothing_that_is_spoken(
    small_flow: Flow, small_hift: HiFT, mels: list[Tensor], tokens: int, guidance: float
) -> None:
    options, prompt = replace(WINDOWS, guidance=guidance), voice(small_flow, tokens)
    spoken(TokenToWave(small_flow, small_hift, replace(options, prompt_bytes=0)), prompt, 31)
    want = torch.cat(mels, dim=2)
    mels.clear()
    road = TokenToWave(small_flow, small_hift, options)
    whole = spoken(road, prompt, 31)
    torch.testing.assert_close(torch.cat(mels, dim=2), want, atol=2e-5, rtol=2e-5)
    for piece in (1, 7):
        assert torch.equal(spoken(road, prompt, piece), whole)


def test_a_prompt_is_heard_once_for_all_windows_and_streams(
    monkeypatch: pytest.MonkeyPatch, small_flow: Flow, small_hift: HiFT
) -> None:
    frames: list[int] = []
    estimator = small_flow.decoder.estimator
    forward = estimator.forward

    def counted(x: Tensor, *args: Tensor, **options: object) -> Tensor:
        frames.append(x.shape[2])
        return forward(x, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(estimator, "forward", counted)
    road, prompt = TokenToWave(small_flow, small_hift, WINDOWS), voice(small_flow, 23)
    spoken(road, prompt, 31)
    first = list(frames)
    frames.clear()
    spoken(road.with_options(replace(WINDOWS, seed=1)), prompt, 31)
    assert first[: WINDOWS.steps] == [2 * 20] * 2
    assert first[2:] == frames, "the second stream hears the prompt again"
    assert max(frames) <= 2 * (3 + 10 + 4 + 10 + 4 + 3)


def test_what_is_kept_of_prompts_is_bounded(small_flow: Flow) -> None:
    grid, prompts = 5, [voice(small_flow, 23, seed) for seed in range(3)]

    def asked(kept: HeardPrompts, prompt: VoicePrompt) -> int:
        heard = kept.of(prompt, steps=2, guidance=0.0)
        return 0 if heard is None else heard.frames

    whole = HeardPrompts(small_flow, grid, 1 << 30)
    assert asked(whole, prompts[0]) == 2 * 20
    (heard,) = whole._kept.values()
    two = HeardPrompts(small_flow, grid, 2 * heard.nbytes)
    for prompt in prompts:
        asked(two, prompt)
    assert [heard.nbytes for heard in two._kept.values()] == [heard.nbytes] * 2
    assert two.of(prompts[2], steps=2, guidance=0.0) is next(reversed(two._kept.values()))
    assert asked(HeardPrompts(small_flow, grid, heard.nbytes // 2), prompts[0]) == 2 * 10
    assert asked(HeardPrompts(small_flow, grid, 0), prompts[0]) == 0


def test_threads_that_make_sound_at_once_hear_a_prompt_once(
    monkeypatch: pytest.MonkeyPatch, small_flow: Flow
) -> None:
    times: list[int] = []

    def slowly(*args: Tensor, **options: float) -> Heard:
        times.append(1)
        sleep(0.05)
        return Heard(frames=40, steps=())

    monkeypatch.setattr(heard, "hear", slowly)
    prompts, prompt = HeardPrompts(small_flow, 5, 1 << 30), voice(small_flow, 23)
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(prompts.of, prompt, steps=2, guidance=0.0) for _ in range(4)]
    assert len({id(one.result()) for one in found}) == len(times) == 1
