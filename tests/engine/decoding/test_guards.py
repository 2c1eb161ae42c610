"""Guards: what is refused, and what must pass."""

import pytest
import torch

from mamtra_cli.engine.decoding.guards import (
    GuardLimits,
    TokenWatch,
    check_audio,
    check_finite,
    check_length,
)

RATE = 25.0


def watch(tokens: list[int], prompt: list[int] | None = None) -> str | None:
    guard = TokenWatch(GuardLimits(), RATE, [(token,) for token in prompt or ()])
    for token in tokens:
        rejection = guard.add((token,))
        if rejection is not None:
            return rejection.cause
    return None


def varied(count: int, seed: int = 0, size: int = 1000) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(size, (count,), generator=generator).tolist()


@pytest.mark.parametrize(
    ("tokens", "cause"),
    [
        pytest.param(varied(400), None, id="varied"),
        pytest.param([*varied(30), *[7] * 24, *varied(30, 1)], None, id="pause-under-limit"),
        pytest.param([*varied(30), *[7] * 25], "runaway", id="equal-run"),
        pytest.param([*varied(30), *[1, 2, 3] * 20], "runaway", id="loop-of-3"),
        pytest.param([*varied(30), *varied(20, 5) * 4], "runaway", id="loop-of-20"),
        pytest.param([*varied(30), *varied(20, 5) * 2], None, id="phrase-said-twice"),
        pytest.param([*varied(20), *[1, 2] * 10, *varied(20, 1)], None, id="short-loop-ends"),
    ],
)
def test_token_watch_repetition(tokens: list[int], cause: str | None) -> None:
    assert watch(tokens) == cause


def test_token_watch_prompt_spoken_again_is_a_leak() -> None:
    prompt = varied(60, 3)
    assert watch([*varied(20), *prompt[10:26]], prompt) == "prompt_leak"
    assert watch([*varied(20), *prompt[10:22], *varied(20, 9)], prompt) is None


def test_token_watch_shared_pause_is_no_leak() -> None:
    prompt = [*varied(10, 3), *[5] * 20, *varied(10, 4)]
    assert watch([*varied(20), *[5] * 20, *varied(20, 7)], prompt) is None


def test_limits_are_seconds_whatever_a_frame_lasts() -> None:
    for rate in (25.0, 50.0, 86.13):
        guard = TokenWatch(GuardLimits(), rate)
        frames = 0
        while guard.add((3, 4, 5)) is None:
            frames += 1
        assert (frames + 1) / rate == pytest.approx(1.0, abs=0.5 / rate)
        long = round(3.0 * rate)
        for count, cause in ((long, None), (long + round(0.6 * rate), "too_long")):
            found = check_length(count, expected=long / 2.2, capped=False, rate=rate)
            assert (found.cause if found else None) == cause


@pytest.mark.parametrize(
    ("count", "expected", "capped", "cause"),
    [
        pytest.param(100, 100.0, False, None, id="as-expected"),
        pytest.param(100, None, False, None, id="nothing-expected"),
        pytest.param(0, None, False, "too_short", id="empty"),
        pytest.param(20, 100.0, False, "too_short", id="cut"),
        pytest.param(300, 100.0, False, "too_long", id="long"),
        pytest.param(300, None, True, "runaway", id="cap"),
        pytest.param(101, None, True, "runaway", id="cap-over-4-seconds"),
        pytest.param(100, None, True, None, id="cap-of-a-short-text"),
        pytest.param(10, 2.0, False, None, id="one-word-has-slack"),
    ],
)
def test_length_guard(count: int, expected: float | None, capped: bool, cause: str | None) -> None:
    rejection = check_length(count, expected=expected, capped=capped, rate=RATE)
    assert (rejection.cause if rejection else None) == cause


@pytest.mark.parametrize(
    ("audio", "cause"),
    [
        pytest.param(torch.sin(torch.arange(2400) / 10), None, id="tone"),
        pytest.param(torch.zeros(2400), "silence", id="silence"),
        pytest.param(torch.tensor([0.1, float("nan")]), "non_finite", id="nan"),
        pytest.param(torch.tensor([0.1, float("inf")]), "non_finite", id="inf"),
        pytest.param(torch.zeros(0), "too_short", id="empty"),
    ],
)
def test_audio_guard(audio: torch.Tensor, cause: str | None) -> None:
    rejection = check_audio(audio, GuardLimits())
    assert (rejection.cause if rejection else None) == cause


def test_finite_guard_counts_what_is_bad() -> None:
    rejection = check_finite(torch.tensor([1.0, float("nan"), float("inf")]), "logits")
    assert rejection is not None
    assert rejection.detail == "2 of 3 logits are not finite"
