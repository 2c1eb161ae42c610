"""Speech to frames of the codec and voice vectors; see `families.base.SpeechEncoder`.

Clips are encoded one by one: the codec hears silence after a clip, not its company's padding.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mamtra_cli.audio import LISTENING_RATE, Samples
from mamtra_cli.families.zonos.sound import CodecModel
from mamtra_cli.families.zonos.speaker_encoder import N_FFT, SpeakerEncoder, clip_mels


class FrameEncoder:
    """The codec and, where it is there, the speaker encoder.

    Args:
        codec: the codec.
        speaker: the encoder of voices, or None.
    """

    def __init__(self, codec: CodecModel, speaker: SpeakerEncoder | None) -> None:
        self.codec = codec
        self.speaker = speaker
        self.rate = codec.config.sample_rate
        # Half a window of the speaker encoder is mirrored at each end.
        self.least = -(-(N_FFT // 2 + 1) * self.rate // LISTENING_RATE) + 1

    def encode(
        self, waves: Sequence[Samples]
    ) -> list[tuple[NDArray[np.int32], NDArray[np.float32] | None]]:
        """Encode clips (S,) float32 at the codec's rate: nine ids a frame, and the voice."""
        return [self._one(torch.from_numpy(wave)) for wave in waves]

    @torch.inference_mode()
    def _one(self, wave: torch.Tensor) -> tuple[NDArray[np.int32], NDArray[np.float32] | None]:
        device = self.codec.device
        ids = self.codec.encode(wave[None].to(device))[0].T.flatten().cpu().numpy().astype(np.int32)
        if self.speaker is None:
            return ids, None
        mels = clip_mels(wave, self.rate, self.speaker.config.n_mels)
        return ids, self.speaker(mels[None].to(device))[0].float().cpu().numpy()
