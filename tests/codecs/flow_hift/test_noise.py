"""Noise over arrays is what torch draws for the same seeds."""

import numpy as np
import pytest
import torch

from mamtra_cli.codecs.flow_hift import flow, noise, vocoder_stream


@pytest.mark.parametrize(("start", "stop"), [(0, 77), (5, 6), (14_990, 16_005)], ids=str)
def test_fixed_noise_is_that_of_the_modules(start: int, stop: int) -> None:
    want = flow.fixed_noise(start, stop, 80).numpy()
    np.testing.assert_allclose(noise.fixed_noise(start, stop, 80), want, atol=2e-6)


def test_noise_of_frames_is_that_of_the_modules() -> None:
    want = torch.cat(vocoder_stream.frame_noise(7, range(3, 9), (480,))).numpy()
    np.testing.assert_allclose(noise.frame_noise(7, range(3, 9), 480), want, atol=2e-6)
