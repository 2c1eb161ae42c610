"""A speaker encoder from an ordinary package: Resemblyzer's, built here from its weights alone.

Three LSTM layers over a mel of 40 bands, on windows of 1.6 s, their outputs averaged. The package
itself would want three more; of its preparation the loudness is kept, the cutting of pauses is not.
Source: generalized end-to-end loss (arXiv:1710.10467); hyperparameters of the package resemblyzer.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamtra_cli.audio import LISTENING_RATE
from mamtra_cli.engine.judging.packaged import Source, find_weights
from mamtra_cli.engine.judging.waves import Vector, narrow
from mamtra_cli.errors import ModelNotFoundError
from mamtra_cli.features import slaney_filters

FILE = "pretrained.pt"
SOURCE = Source(
    judge="Resemblyzer",
    distribution="resemblyzer",
    module="resemblyzer",
    install="pip install --no-deps resemblyzer",
)
N_FFT, MEL_HOP, BANDS = 400, 160, 40
WIDTH, LAYERS = 256, 3
WINDOW, WINDOW_HOP = 160, 77  # frames
LEAST_SHARE = 0.75  # of a last window that may be padded
LOUDNESS = 10 ** (-30 / 20)  # quieter sounds are made so loud


class Resemblyzer:
    """The encoder, on the CPU. folder: of its weights; "" for the package's."""

    reads_voices = False

    def __init__(self, folder: str = "") -> None:
        (path,), about = find_weights(SOURCE, [FILE], folder)
        self._layers = nn.LSTM(BANDS, WIDTH, LAYERS, batch_first=True)
        self._last = nn.Linear(WIDTH, WIDTH)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
            for name, module in (("lstm.", self._layers), ("linear.", self._last)):
                own = {k.removeprefix(name): v for k, v in state.items() if k.startswith(name)}
                module.load_state_dict(own)
        except Exception as error:
            raise ModelNotFoundError(f"`{path}` holds no weights of Resemblyzer") from error
        self._filters = slaney_filters(LISTENING_RATE, N_FFT, BANDS, 0.0, LISTENING_RATE / 2)
        self.about: Mapping[str, str] = {"name": "Resemblyzer", **about, "independent": "yes"}

    @torch.inference_mode()
    def embed(self, wave: Vector, rate: int) -> Vector:
        """A vector (256,) of length 1 for a wave."""
        mel = self._mel(torch.from_numpy(narrow(wave, rate)))
        windows = torch.stack([mel[start : start + WINDOW] for start in window_starts(len(mel))])
        outputs = self._layers(windows)[0][:, -1]
        vectors = F.normalize(torch.relu(self._last(outputs)), dim=1)
        vector: Vector = F.normalize(vectors.mean(0), dim=0).numpy()
        return vector

    def _mel(self, samples: Tensor) -> Tensor:
        """Powers in bands, padded to whole windows: (frames, BANDS)."""
        loud = float(samples.square().mean().sqrt())
        if 0 < loud < LOUDNESS:
            samples = samples * (LOUDNESS / loud)
        window = torch.hann_window(N_FFT)
        spectrum = torch.stft(
            samples, N_FFT, MEL_HOP, window=window, pad_mode="constant", return_complex=True
        )
        mel = (self._filters @ spectrum.abs().square()).T
        wanted = window_starts(len(mel))[-1] + WINDOW
        return F.pad(mel, (0, 0, 0, max(0, wanted - len(mel))))


def window_starts(frames: int) -> list[int]:
    """First frames of the windows over so many frames; a mostly empty last one is left out."""
    starts = list(range(0, max(1, frames - WINDOW + WINDOW_HOP), WINDOW_HOP))
    if len(starts) > 1 and (frames - starts[-1]) / WINDOW < LEAST_SHARE:
        starts.pop()
    return starts
