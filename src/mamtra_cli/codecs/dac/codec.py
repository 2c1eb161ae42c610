"""The codec as speaking knows it: `codecs.base.Codec` over exact windows.

A clip that the speech goes on from is shown as its frames: their sound is not made again, but the
first new frames are decoded after them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mamtra_cli.codecs.base import Frame, SoundOptions
from mamtra_cli.codecs.dac.model import Dac
from mamtra_cli.codecs.dac.stream import DacState, DacStream


class DacCodec:
    """Frames of K codes to sound, and sound to frames.

    Args:
        dac: the codec.
    """

    def __init__(self, dac: Dac) -> None:
        self.stream = DacStream(dac)
        self.sample_rate = dac.config.sample_rate
        self.frame_rate = dac.config.frame_rate

    def start(self, voice: Sequence[Frame], options: SoundOptions) -> DacState:
        """Begin an utterance after the frames of a clip, often none.

        Raises:
            UsageError: a speed or steps are asked for: this codec has neither.
        """
        options.refuse_speed_and_steps()
        return self.stream.after(voice)

    def push(self, state: DacState, frames: Sequence[Frame]) -> tuple[DacState, Tensor]:
        """Add frames: the new state and (S,) float32 samples, often none."""
        return self.stream.push(state, frames)

    def finish(self, state: DacState) -> Tensor:
        """What is left of an utterance: (S,) samples."""
        return self.stream.finish(state)

    def whole(
        self, frames: Sequence[Frame], voice: Sequence[Frame], options: SoundOptions
    ) -> Tensor:
        """Frames that are all known: (hop * n,) samples."""
        state, wave = self.push(self.start(voice, options), frames)
        return torch.cat((wave, self.finish(state)))

    def encode(self, wave: Tensor) -> list[Frame]:
        """Frames of a clip (S,) at the codec's rate, its end filled with silence."""
        return self.stream.encode(wave)
