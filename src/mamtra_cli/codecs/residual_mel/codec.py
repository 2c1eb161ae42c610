"""The codec as speaking knows it: `codecs.base.Codec`. Any cut of the frames gives the same sound.

A clip that the speech goes on from is decoded first and its sound thrown away, so that what follows
starts where it ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamtra_cli.codecs.base import Frame, SoundOptions
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilterState
from mamtra_cli.codecs.flow_hift.vocoder_stream import SourceFilterStream
from mamtra_cli.codecs.frames import frame_ids
from mamtra_cli.codecs.residual_mel.config import WINDOW
from mamtra_cli.codecs.residual_mel.model import Contexts, ResidualMel

HEARD = 25  # frames of a clip that the sound after it depends on


@dataclass(frozen=True, kw_only=True)
class MelState:
    """One utterance under way.

    Attributes:
        stream: the vocoder with the seed of its noise.
        contexts: of the decoder.
        sound: of the vocoder.
        silent: samples of the clip before it, still to be dropped.
    """

    stream: SourceFilterStream
    contexts: tuple[Contexts, Contexts]
    sound: SourceFilterState
    silent: int


class ResidualMelCodec:
    """Frames of K codes to sound, and sound to frames.

    Args:
        model: the codec.
    """

    def __init__(self, model: ResidualMel) -> None:
        self.model = model
        self.sample_rate = model.config.sample_rate
        self.frame_rate = model.config.frame_rate

    def start(self, voice: Sequence[Frame], options: SoundOptions) -> MelState:
        """Begin an utterance after the frames of a clip, often none.

        Raises:
            UsageError: a speed or steps are asked for: this codec has neither.
        """
        options.refuse_speed_and_steps()
        stream = SourceFilterStream(vocoder=self.model.vocoder, seed=options.seed)
        heard = list(voice)[-HEARD:]
        state = MelState(
            stream=stream,
            contexts=self.model.first_contexts(),
            sound=stream.start(),
            silent=len(heard) * self.model.config.hop,
        )
        return self.push(state, heard)[0]

    def push(self, state: MelState, frames: Sequence[Frame]) -> tuple[MelState, Tensor]:
        """Add frames: the new state and (S,) float32 samples, often none."""
        return self._speak(state, frames, final=False) if frames else (state, torch.zeros(0))

    def finish(self, state: MelState) -> Tensor:
        """What is left of an utterance: (S,) samples."""
        return self._speak(state, (), final=True)[1]

    def whole(
        self, frames: Sequence[Frame], voice: Sequence[Frame], options: SoundOptions
    ) -> Tensor:
        """Frames that are all known: (hop * n,) samples."""
        return self._speak(self.start(voice, options), frames, final=True)[1]

    @torch.no_grad()
    def encode(self, wave: Tensor) -> list[Frame]:
        """Frames of a clip (S,) at the codec's rate, its end filled with silence."""
        ids = self.model.encode(wave[None].to(self.model.device))[0]
        return [tuple(frame) for frame in ids.T.tolist()]

    @torch.no_grad()
    def _speak(
        self, state: MelState, frames: Sequence[Frame], *, final: bool
    ) -> tuple[MelState, Tensor]:
        """Decode as far as the frames to come allow, in windows: scratch is that of one."""
        sizes, device = self.model.config, self.model.device
        ids = frame_ids(frames, codebooks=sizes.codebooks, codes=sizes.codes, device=device)
        windows, waves = torch.split(ids[None], WINDOW, dim=2), []
        for place, window in enumerate(windows, 1):
            last = final and place == len(windows)
            latent = self.model.quantizer.decode(window)
            contexts, mel = self.model.mel_of(state.contexts, latent, final=last)
            sound, wave = state.stream.step(state.sound, mel.float(), final=last)
            silent = min(state.silent, len(wave))
            state = MelState(
                stream=state.stream, contexts=contexts, sound=sound, silent=state.silent - silent
            )
            waves.append(wave[silent:].float().cpu())
        return state, torch.cat(waves)
