"""Frames to sound in windows of bounded size: any cut of the frames gives the same samples.

The decoder is convolutions alone, so a frame's sound depends on `config.reach` frames on either
side and on nothing else: a window that hears so many again is exact, and sound comes out so many
frames late. Memory depends on the window, never on the length. A stream is a value.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mamtra_cli.codecs.dac.config import WINDOW
from mamtra_cli.codecs.dac.model import Dac
from mamtra_cli.codecs.frames import frame_ids


@dataclass(frozen=True, kw_only=True)
class DacState:
    """One utterance under way.

    Attributes:
        ids: (K, n) frames that are sound already and still heard, then those that are not.
        heard: how many are sound already.
    """

    ids: Tensor
    heard: int


class DacStream:
    """Codes to float32 samples on the CPU.

    Args:
        dac: the codec.
        first: new frames that the first sound waits for, beside those it has to see ahead.
        window: most new frames that are decoded at once.
    """

    def __init__(self, dac: Dac, *, first: int = 16, window: int = WINDOW) -> None:
        if not 1 <= first <= window:
            raise ValueError(f"first must lie in 1..{window}, got {first}")
        self.dac = dac
        self.first = first
        self.window = window
        self.sample_rate = dac.config.sample_rate
        self.frame_rate = dac.config.frame_rate
        self.device = dac.device

    def start(self) -> DacState:
        """Begin an utterance."""
        return DacState(ids=self._ids(()), heard=0)

    def after(self, frames: Iterable[Sequence[int]]) -> DacState:
        """Begin an utterance that goes on from frames; their own sound is not made."""
        ids = self._ids(list(frames)[-self.dac.config.reach :])
        return DacState(ids=ids, heard=ids.shape[1])

    def push(self, state: DacState, frames: Iterable[Sequence[int]]) -> tuple[DacState, Tensor]:
        """Add frames of K ids and speak what is certain.

        Returns:
            the new state and (S,) samples, often none.
        """
        ids = torch.cat((state.ids, self._ids(frames)), dim=1)
        state = DacState(ids=ids, heard=state.heard)
        waves = []
        while state.ids.shape[1] - state.heard - self.dac.config.reach >= self._least(state):
            state, wave = self._speak(state, final=False)
            waves.append(wave)
        return state, torch.cat(waves) if waves else torch.zeros((0,))

    def finish(self, state: DacState) -> Tensor:
        """Speak what is left: (S,) samples."""
        waves = []
        while state.ids.shape[1] > state.heard:
            state, wave = self._speak(state, final=True)
            waves.append(wave)
        return torch.cat(waves) if waves else torch.zeros((0,))

    def whole(self, frames: Iterable[Sequence[int]]) -> Tensor:
        """Speak frames that are all known: (hop * n,) samples."""
        state, wave = self.push(self.start(), frames)
        return torch.cat((wave, self.finish(state)))

    @torch.no_grad()
    def encode(self, wave: Tensor) -> list[tuple[int, ...]]:
        """Frames of a clip (S,) at the codec's rate, its end filled with silence."""
        ids = self.dac.encode(wave[None].to(self.device))[0]
        return [tuple(frame) for frame in ids.T.tolist()]

    def _least(self, state: DacState) -> int:
        """New frames that the next window waits for: the first is short, later ones grow."""
        return min(self.first << (state.heard > 0), self.window)

    def _ids(self, frames: Iterable[Sequence[int]]) -> Tensor:
        """Frames as (K, n)."""
        sizes = self.dac.config
        return frame_ids(frames, codebooks=sizes.codebooks, codes=sizes.codes, device=self.device)

    @torch.no_grad()
    def _speak(self, state: DacState, *, final: bool) -> tuple[DacState, Tensor]:
        """Decode the next window."""
        config = self.dac.config
        known = state.ids.shape[1]
        end = min(state.heard + self.window, known if final else known - config.reach)
        wave = self.dac.decode(state.ids[None, :, : end + config.reach])[0]
        wave = wave[state.heard * config.hop : end * config.hop]
        kept = max(0, end - config.reach)
        return DacState(ids=state.ids[:, kept:], heard=end - kept), wave.float().cpu()
