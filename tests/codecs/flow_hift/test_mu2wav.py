"""mu to wave is the tokens' road from their encoder's output on."""

import pytest
import torch
from tests.tiny_model import tiny_config

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.codecs.flow_hift.config import SourceFilterConfig
from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.mu import MuCodec, MuFrame
from mamtra_cli.codecs.flow_hift.mu2wav import MuToWave
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.codecs.flow_hift.token2wav import TokenToWave, VoicePrompt
from mamtra_cli.codecs.flow_hift.windows import WaveOptions


@pytest.fixture(scope="module")
def parts() -> tuple[Flow, SourceFilter]:
    torch.manual_seed(0)
    flow, vocoder = Flow(tiny_config().flow), SourceFilter(SourceFilterConfig(width=16))
    return flow.eval().requires_grad_(False), vocoder.eval().requires_grad_(False)


VOICE = VoicePrompt.of_speaker(torch.randn(192, generator=torch.Generator().manual_seed(0)))


def test_mu_of_tokens_sounds_as_the_tokens_do(parts: tuple[Flow, SourceFilter]) -> None:
    tokens = torch.randint(49, (30,), generator=torch.Generator().manual_seed(1)).tolist()
    mu, _ = parts[0].encode(torch.tensor([tokens]), streaming=False)
    heard = MuToWave(*parts).synthesize(map(MuFrame, mu[0].T), VOICE)
    assert torch.equal(heard, TokenToWave(*parts).synthesize(tokens, VOICE))


def test_any_cut_of_the_frames_sounds_the_same(parts: tuple[Flow, SourceFilter]) -> None:
    windows = WaveOptions(first_tokens=50, hop_tokens=50, max_hop_tokens=100, whole_tokens=60)
    codec = MuCodec(MuToWave(*parts, windows), sample_rate=24_000, frame_rate=50.0)
    mu = torch.randn(230, 80, generator=torch.Generator().manual_seed(2))
    frames = list(map(MuFrame, mu))

    def cut(*sizes: int) -> torch.Tensor:
        state, rest, waves = codec.start(VOICE, SoundOptions()), frames, []
        for size in sizes:
            state, wave = codec.push(state, rest[:size])
            rest = rest[size:]
            waves.append(wave)
        state, wave = codec.push(state, rest)
        return torch.cat((*waves, wave, codec.finish(state)))

    one = cut(230)
    assert len(one) == 230 * 480
    assert torch.equal(cut(1, 49, 120), one)
    assert torch.equal(cut(77, 77), one)
