"""Attention as published: the same numbers, the published appetite for memory."""

import pytest
import torch

from mamtra_cli.codecs.flow_hift.config import FlowConfig, FlowEncoderConfig, FlowEstimatorConfig
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.families.cosyvoice2.official.flow import published_attention
from mamtra_cli.live_bytes import live_peak


@pytest.fixture
def flow() -> Flow:
    torch.manual_seed(0)
    config = FlowConfig(
        vocab_size=30,
        steps=2,
        encoder=FlowEncoderConfig(width=32, heads=4, d_ff=48, blocks=1, up_blocks=1, chunk=5),
        estimator=FlowEstimatorConfig(
            channels=32, heads=2, head_dim=16, n_blocks=1, mid_blocks=1, chunk=10
        ),
    )
    return Flow(config).eval().requires_grad_(False)


@pytest.mark.parametrize("streaming", [False, True], ids=["full", "chunks"])
def test_published_attention_gives_the_same_mel(flow: Flow, streaming: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    given = {
        "token": torch.randint(30, (1, 40), generator=generator),
        "prompt_token": torch.randint(30, (1, 7), generator=generator),
        "prompt_mel": torch.randn((1, 14, 80), generator=generator),
        "speaker": torch.randn((1, 192), generator=generator),
    }
    want = flow.inference(**given, streaming=streaming)
    with published_attention(flow):
        got = flow.inference(**given, streaming=streaming)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    assert torch.equal(flow.inference(**given, streaming=streaming), want)


def test_published_attention_grows_with_the_square_of_the_length(flow: Flow) -> None:
    def peak(tokens: int) -> int:
        ids = torch.zeros((1, tokens), dtype=torch.long)
        return live_peak(lambda: flow.encode(ids, streaming=False))[0]

    with torch.inference_mode():
        ours = peak(600) / peak(300)
        with published_attention(flow):
            theirs = peak(600) / peak(300)
    assert ours < 2.2
    assert theirs > 3.5
