"""HiFT by its graph: sample for sample what the modules say, whole, cut, and in a stream."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.light_hift import LightHiFT
from mamtra_cli.codecs.flow_hift.vocoder_stream import HiFTStream
from mamtra_cli.codecs.flow_hift.windows import WaveOptions

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

NOTHING = np.zeros((1, 0), np.float32)
TOLERANCE = 5e-5  # once both have the same pitch: phases are sums of it over all frames
ADRIFT = 5e-2  # where each predicts its own, up to 1e-6 of 400 Hz apart


@pytest.fixture(scope="module")
def light(small_hift: HiFT) -> LightHiFT:
    from mamtra_cli.codecs.flow_hift.hift_graph import hift_graph

    graph = hift_graph(small_hift).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return LightHiFT(small_hift.config, session)


def mel_of(frames: int) -> Tensor:
    return torch.randn((1, 80, frames), generator=torch.Generator().manual_seed(0)) - 2


def given(mel: Tensor, noise: Tensor, settled: np.ndarray = NOTHING) -> dict[str, np.ndarray]:
    return {"mel": mel.numpy(), "noise": noise.numpy(), "settled": settled, "past": NOTHING}


@pytest.mark.parametrize("frames", [1, 2, 7, 33, 121])
def test_graph_says_what_the_modules_say(small_hift: HiFT, light: LightHiFT, frames: int) -> None:
    config = small_hift.config
    mel, shape = mel_of(frames), (1, frames * config.samples_per_frame, config.harmonics + 1)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    f0 = small_hift.f0(mel)
    wave, found = light.session.run(["wave", "f0"], given(mel, noise))
    np.testing.assert_allclose(found, f0.numpy(), atol=2e-3)
    np.testing.assert_allclose(wave, small_hift(mel, noise=noise).numpy(), atol=ADRIFT)
    f0[:, ::4] = 3.0  # not voiced
    want = small_hift.decode(mel, small_hift.source(f0, noise=noise))
    wave = light.session.run(["wave"], given(mel, noise, f0.numpy()))[0]
    assert wave.shape == tuple(want.shape)
    np.testing.assert_allclose(wave, want.numpy(), atol=TOLERANCE)


@pytest.mark.parametrize("seed", [None, 7], ids=["silent-source", "noisy-source"])
@pytest.mark.parametrize("sizes", [[121], [40, 81], [3, 1, 50, 0, 66, 1]], ids=str)
def test_pieces_are_spoken_as_the_modules_speak_them(
    monkeypatch: pytest.MonkeyPatch,
    small_hift: HiFT,
    light: LightHiFT,
    sizes: list[int],
    seed: int | None,
) -> None:
    def f0(mel: Tensor) -> Tensor:
        noise = torch.zeros((1, mel.shape[2] * 480, 9))
        return torch.from_numpy(light.session.run(["f0"], given(mel, noise))[0])

    monkeypatch.setattr(small_hift, "f0", f0)
    options = WaveOptions(
        vocoder_context=6, overlap_frames=4, guard_frames=2, seed=7, source_noise=seed is not None
    )
    stream = HiFTStream(hift=small_hift, context=6, overlap=4, guard=2, seed=seed)
    want, got = stream.start(), light.start()
    pieces = mel_of(121).split(sizes, dim=2)
    total = 0
    for i, piece in enumerate(pieces):
        final = i == len(pieces) - 1
        want, expected = stream.step(want, piece, final=final)
        got, wave = light.step(got, piece.numpy(), options, final=final)
        assert wave.shape == tuple(expected.shape)
        np.testing.assert_allclose(wave, expected.numpy(), atol=TOLERANCE)
        assert got.start == want.start
        total += len(wave)
    assert total == 121 * small_hift.config.samples_per_frame


def test_pieces_are_close_to_the_whole(light: LightHiFT) -> None:
    mel, options = mel_of(120).numpy(), WaveOptions(guard_frames=12)
    whole = light.step(light.start(), mel, options, final=True)[1]
    state, waves = light.start(), []
    for start in range(0, 120, 40):
        piece = mel[:, :, start : start + 40]
        state, wave = light.step(state, piece, options, final=start == 80)
        waves.append(wave)
    cut = np.concatenate(waves)
    assert cut.shape == whole.shape
    assert np.linalg.norm(cut - whole) / np.linalg.norm(whole) < 5e-3


def test_nothing_makes_no_sound(light: LightHiFT) -> None:
    empty = np.zeros((1, 80, 0), np.float32)
    state, wave = light.step(light.start(), empty, WaveOptions(), final=False)
    assert wave.shape == (0,)
    assert state.mel.shape == empty.shape
