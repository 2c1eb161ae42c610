"""The UNet: parity, chunk masks, padding, the gradient of its activation."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mamtra_cli.codecs.flow_hift import chunk_mask
from mamtra_cli.codecs.flow_hift.config import FlowConfig, FlowEstimatorConfig
from mamtra_cli.codecs.flow_hift.flow_estimator import FlowEstimator, mish, time_sinusoid

Reader = Callable[[str], Any]
Translator = Callable[[dict[str, Any]], FlowConfig]
SMALL = FlowEstimatorConfig(channels=12, heads=2, head_dim=5, n_blocks=1, mid_blocks=1, chunk=6)


def build(golden: Reader, flow_config: Translator) -> tuple[Any, FlowEstimator]:
    data = golden("flow_estimator")
    config = flow_config(data.meta)
    estimator = FlowEstimator(config.estimator, config.mel_bins)
    estimator.load_state_dict(data.weights)
    return data, estimator.eval().requires_grad_(False)


@pytest.mark.parametrize("streaming", [False, True], ids=["full", "stream"])
@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_estimator_equals_golden(
    golden: Reader, flow_config: Translator, streaming: bool, padded: bool
) -> None:
    data, estimator = build(golden, flow_config)
    name = ("padded_" if padded else "") + ("stream" if streaming else "full")
    got = estimator(
        *(data.given[key] for key in ("x", "mu", "t", "spks", "cond")),
        mask=data.given["mask_padded"][:, 0].bool() if padded else None,
        streaming=streaming,
    )
    assert (got - data.want[name]).abs().max() <= data.meta["tolerance"]["atol"]


def test_estimator_time_equals_golden(golden: Reader, flow_config: Translator) -> None:
    data, estimator = build(golden, flow_config)
    atol = data.meta["tolerance"]["atol"]
    features = time_sinusoid(data.given["t"], data.want["time_sinusoid"].shape[1])
    assert (features - data.want["time_sinusoid"]).abs().max() <= atol
    assert (estimator.time_mlp(features) - data.want["time_mlp"]).abs().max() <= atol


def inputs(length: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    mel = {name: torch.randn(2, 8, length) for name in ("x", "mu", "cond")}
    return {**mel, "t": torch.rand(2), "spks": torch.randn(2, 8)}


def small() -> FlowEstimator:
    torch.manual_seed(0)
    return FlowEstimator(SMALL, 8).eval().requires_grad_(False)


def test_streaming_estimator_chunks_ignore_what_follows() -> None:
    estimator, given = small(), inputs(20)
    whole = estimator(**given, streaming=True)
    for end in (6, 12, 18):
        part = {k: v[:, :, :end] if v.dim() == 3 else v for k, v in given.items()}
        got = estimator(**part, streaming=True)
        torch.testing.assert_close(got, whole[:, :, :end], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("streaming", [False, True], ids=["full", "stream"])
def test_estimator_padding_is_inert(streaming: bool) -> None:
    estimator, given = small(), inputs(20)
    mask = chunk_mask.lengths_to_mask(torch.tensor([20, 13]), 20)
    got = estimator(**given, mask=mask, streaming=streaming)
    alone = {k: v[1:, :, :13] if v.dim() == 3 else v[1:] for k, v in given.items()}
    want = estimator(**alone, streaming=streaming)
    torch.testing.assert_close(got[1:, :, :13], want, atol=1e-5, rtol=1e-5)
    assert not got[1, :, 13:].any()


@pytest.mark.parametrize("streaming", [False, True], ids=["full", "stream"])
def test_estimator_in_blocks_of_queries_equals_one_block(
    monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    estimator, given = small(), inputs(20)
    want = estimator(**given, streaming=streaming)
    monkeypatch.setattr(chunk_mask, "BLOCK", 7)
    got = estimator(**given, streaming=streaming)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.double, torch.float, torch.bfloat16], ids=str)
def test_mish_gradient_equals_torch(dtype: torch.dtype) -> None:
    x = torch.cat((torch.linspace(-120, 120, 401), torch.randn(200))).to(dtype)
    a, b = (x.clone().requires_grad_() for _ in range(2))
    got, want = mish(a), F.mish(b)
    assert torch.equal(got, want)
    got.sum().backward()
    want.sum().backward()
    assert a.grad is not None
    atol = 2e-2 if dtype is torch.bfloat16 else 1e-6
    torch.testing.assert_close(a.grad, b.grad, atol=atol, rtol=0)
