"""The whole flow: parity, noise, names, solver options, training loss."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mamtra_cli.codecs.flow_hift.config import (
    NOISE_FRAMES,
    FlowConfig,
    FlowEncoderConfig,
    FlowEstimatorConfig,
)
from mamtra_cli.codecs.flow_hift.flow import (
    SIGMA_MIN,
    Flow,
    fixed_noise,
    noise_block,
    time_grid,
)

Reader = Callable[[str], Any]
SMALL = FlowConfig(
    vocab_size=30,
    mel_bins=8,
    speaker_dim=6,
    encoder=FlowEncoderConfig(width=16, heads=2, d_ff=24, blocks=1, up_blocks=1, chunk=4),
    estimator=FlowEstimatorConfig(
        channels=12, heads=2, head_dim=6, n_blocks=1, mid_blocks=1, chunk=8
    ),
)
CASES = {
    "mel_full": {},
    "mel_stream_final": {"streaming": True},
    "mel_stream_chunk": {"streaming": True, "finalize": False},
    "mel_full_chunk": {"finalize": False},
    "mel_no_prompt": {},
}


def speak(flow: Flow, given: dict[str, Tensor], **options: Any) -> Tensor:
    return flow.inference(
        given["token"], given["prompt_token"], given["prompt_feat"], given["embedding"], **options
    )


def test_flow_goldens_are_all_covered(golden: Reader) -> None:
    assert {k for k in golden("flow_full").want if k.startswith("mel_")} == set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_flow_mel_equals_golden(golden: Reader, small_flow: Flow, case: str) -> None:
    data = golden("flow_full")
    given = dict(data.given)
    if case == "mel_no_prompt":
        given["prompt_token"] = given["prompt_token"][:, :0]
        given["prompt_feat"] = given["prompt_feat"][:, :0]
    got = speak(small_flow, given, **CASES[case])
    assert got.shape == data.want[case].shape
    assert (got - data.want[case]).abs().max() <= data.meta["tolerance"]["mel_atol"]


def test_flow_conditioning_equals_golden(golden: Reader, small_flow: Flow) -> None:
    data = golden("flow_full")
    ids = torch.cat((data.given["prompt_token"], data.given["token"]), dim=1)
    mu, _ = small_flow.encode(ids, streaming=False)
    assert (mu - data.want["mu"]).abs().max() <= data.meta["tolerance"]["mel_atol"]
    speaker = small_flow.speaker(data.given["embedding"])
    assert (speaker - data.want["spk"]).abs().max() <= 1e-6
    grid = time_grid(data.meta["steps"])
    assert (grid - data.want["t_span"]).abs().max() <= 1e-7
    assert (grid - torch.tensor(data.meta["t_span"])).abs().max() <= 1e-7


def test_noise_equals_golden_and_leaves_global_random_state_alone(golden: Reader) -> None:
    data = golden("flow_full")
    facts = data.meta["noise"]
    before = torch.get_rng_state()
    noise_block.cache_clear()
    noise = noise_block(0, facts["shape"][1])
    assert torch.equal(torch.get_rng_state(), before)
    assert list(noise.shape) == facts["shape"]
    assert noise[0, 0, : len(facts["first"])].tolist() == facts["first"]
    assert noise[0, -1, -len(facts["row79_last4"]) :].tolist() == facts["row79_last4"]
    digest = hashlib.sha256(noise.numpy().astype("<f4").tobytes()).hexdigest()
    assert digest == facts["sha256_of_little_endian_float32_bytes"]
    want = data.given["noise"]
    assert torch.equal(fixed_noise(0, want.shape[2]), want)


def test_noise_beyond_the_published_length_is_new_and_joins_exactly() -> None:
    cut = fixed_noise(NOISE_FRAMES - 5, NOISE_FRAMES + 7, 8)
    assert cut.shape == (1, 8, 12)
    assert torch.equal(cut[:, :, :5], noise_block(0, 8)[:, :, -5:])
    assert torch.equal(cut[:, :, 5:], noise_block(1, 8)[:, :, :7])
    size = noise_block(1, 8).shape[2]
    assert not torch.equal(noise_block(1, 8), noise_block(2, 8))
    later = fixed_noise(NOISE_FRAMES + size - 3, NOISE_FRAMES + size + 2, 8)
    pieces = (noise_block(1, 8)[:, :, -3:], noise_block(2, 8)[:, :, :2])
    assert torch.equal(later, torch.cat(pieces, dim=2))
    assert fixed_noise(3, 3, 8).shape == (1, 8, 0)


def test_full_size_flow_has_the_published_keys_and_shapes(goldens: Path) -> None:
    manifest = json.loads((goldens / "cosyvoice2" / "manifest_flow.json").read_text())
    with torch.device("meta"):
        flow = Flow(FlowConfig())
        published = {name: torch.empty(key["shape"]) for name, key in manifest["keys"].items()}
    flow.load_state_dict(published, strict=True, assign=True)
    total = sum(p.numel() for p in flow.parameters())
    assert total == manifest["parameters"]["total"]


def test_streaming_flow_of_whole_chunks_is_a_prefix(golden: Reader, small_flow: Flow) -> None:
    given = dict(golden("flow_full").given)
    prompt, chunk = given["prompt_token"].shape[1], small_flow.config.encoder.chunk
    whole = speak(small_flow, given, streaming=True)
    ahead = small_flow.config.encoder.lookahead
    ends = range(chunk - prompt % chunk, given["token"].shape[1] - ahead, chunk)
    assert len(ends) > 1
    for end in ends:
        part = {**given, "token": given["token"][:, : end + ahead]}
        got = speak(small_flow, part, streaming=True, finalize=False)
        torch.testing.assert_close(got, whole[:, :, : 2 * end], atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("guidance", "steps", "rows"),
    [(None, None, [2] * 10), (0.0, None, [1] * 10), (0.7, 3, [2] * 3), (0.0, 1, [1])],
    ids=["default", "no-guidance", "three-steps", "one-step"],
)
def test_solver_evaluates_only_what_it_needs(
    golden: Reader, small_flow: Flow, guidance: float | None, steps: int | None, rows: list[int]
) -> None:
    seen: list[int] = []
    handle = small_flow.decoder.estimator.register_forward_pre_hook(
        lambda _, args: seen.append(args[0].shape[0])
    )
    mel = speak(small_flow, golden("flow_full").given, guidance=guidance, steps=steps)
    handle.remove()
    assert seen == rows
    assert mel.isfinite().all()


@pytest.mark.parametrize("guidance", [0.0, 0.7], ids=["plain", "guided"])
def test_solver_on_a_straight_field_arrives_exactly(
    monkeypatch: pytest.MonkeyPatch, guidance: float
) -> None:
    flow = Flow(SMALL)
    start, goal = torch.randn(1, 8, 5), torch.randn(1, 8, 5)

    def field(x: Tensor, *args: Any, **options: Any) -> Tensor:
        return (goal - start).expand_as(x)

    monkeypatch.setattr(flow.decoder.estimator, "forward", field)
    zeros = torch.zeros_like(start)
    got = flow.decoder.solve(
        zeros, torch.zeros(1, 8), zeros, start, streaming=False, guidance=guidance
    )
    torch.testing.assert_close(got, goal, atol=1e-5, rtol=0)


def test_flow_refuses_what_does_not_fit(golden: Reader, small_flow: Flow) -> None:
    given = dict(golden("flow_full").given)
    with pytest.raises(ValueError, match=r"prompt mel \(1, 17, 80\)"):
        speak(small_flow, {**given, "prompt_feat": given["prompt_feat"][:, :-1]})
    with pytest.raises(ValueError, match="look ahead"):
        small_flow.encode(given["token"][:, :2], streaming=True, finalize=False)
    with pytest.raises(ValueError, match="steps"):
        time_grid(0)


def batch(size: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(2)
    lens = torch.tensor([11, 6, 9])[torch.arange(size) % 3]
    return {
        "token": torch.randint(0, 30, (size, 11)),
        "token_len": lens,
        "mel": torch.randn(size, 22, 8),
        "mel_len": 2 * lens,
        "speaker": torch.randn(size, 6),
    }


def small() -> Flow:
    torch.manual_seed(0)
    return Flow(SMALL)


def test_loss_depends_on_the_generator_alone_and_ignores_padding() -> None:
    flow, data = small(), batch()
    first = flow.loss(**data, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(99)
    data["token"][1, 6:] = 1
    data["mel"][1, 12:] = 1e3
    again = flow.loss(**data, generator=torch.Generator().manual_seed(5))
    other = flow.loss(**data, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(first, again, atol=1e-6, rtol=1e-6)
    assert first != other


def test_loss_path_prompt_and_dropout_follow_the_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    flow, data = small(), batch(300)
    calls: list[dict[str, Tensor]] = []

    def spy(x: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor, **rest: Any) -> Tensor:
        calls.append({"x": x, "mu": mu, "t": t, "spks": spks, "cond": cond})
        # On the path y = (1-(1-s)t) z + t mel this velocity is the target, so the loss is 0.
        s, mel = t[:, None, None], data["mel"].transpose(1, 2)
        z = (x - s * mel) / (1 - (1 - SIGMA_MIN) * s)
        return mel - (1 - SIGMA_MIN) * z

    monkeypatch.setattr(flow.decoder.estimator, "forward", spy)
    loss = flow.loss(**data, generator=torch.Generator().manual_seed(0))
    assert loss.item() < 1e-3
    (seen,) = calls
    dropped = ~seen["mu"].flatten(1).any(1)
    assert 0.12 < dropped.float().mean() < 0.28
    assert not seen["spks"][dropped].any()
    assert not seen["cond"][dropped].any()
    assert seen["spks"][~dropped].any(1).all()
    known = seen["cond"].any(1)
    size = known.sum(1)
    assert (size <= 0.3 * data["mel_len"]).all()
    assert 0.25 < (size > 0).float().mean() < 0.5
    mel = data["mel"].transpose(1, 2)
    first = torch.arange(mel.shape[2])[None] < size[:, None]
    assert torch.equal(known, first)
    assert torch.equal(seen["cond"], mel * first[:, None])


def test_loss_uses_both_masks_over_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    flow, data = small(), batch()
    modes: list[bool] = []
    forward = flow.decoder.estimator.forward

    def spy(*args: Any, streaming: bool, **rest: Any) -> Tensor:
        modes.append(streaming)
        return forward(*args, streaming=streaming, **rest)

    monkeypatch.setattr(flow.decoder.estimator, "forward", spy)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(12):
            flow.loss(**data, generator=generator)
    assert 2 <= sum(modes) <= 10


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16-autocast"])
def test_loss_falls_when_trained_and_reaches_every_weight(bf16: bool) -> None:
    flow, data = small(), batch()
    data["mel"] = data["token"].repeat_interleave(2, 1)[:, :, None].float().expand(-1, -1, 8) / 10
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)

    def mean_loss() -> float:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            return sum(flow.loss(**data, generator=generator).item() for _ in range(10)) / 10

    before = mean_loss()
    generator = torch.Generator().manual_seed(0)
    touched: set[str] = set()
    for _ in range(25):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = flow.loss(**data, generator=generator)
        assert loss.dtype is torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        touched |= {n for n, p in flow.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {name for name, _ in flow.named_parameters()}
    assert mean_loss() < 0.8 * before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_flow_in_another_dtype_gives_finite_float32_mel(dtype: torch.dtype) -> None:
    flow = small().to(dtype)
    mel = flow.inference(
        torch.arange(9)[None],
        torch.arange(4)[None],
        torch.randn(1, 8, 8),
        torch.randn(1, 6),
        streaming=True,
    )
    assert mel.dtype is torch.float32
    assert mel.shape == (1, 8, 18)
    assert mel.isfinite().all()
