"""The published schedule from tokens to sound, kept for parity; memory grows with the speech.

Every chunk runs the flow again from the first prompt token, the last one with full attention, and
the vocoder keeps 8 mel frames and their source. Two published faults are gone: the growing hop
belongs to the request, and the cross-fade can be corrected (the published Hamming halves sum to
1.08). For everything but comparison use token2wav.py. Source: the CosyVoice2Model class of
FunAudioLLM/CosyVoice, rewritten from its description.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.token2wav import VoicePrompt


@dataclass(frozen=True, kw_only=True)
class OfficialOptions:
    """Constants of the published schedule, in tokens and mel frames.

    `corrected` divides the cross-fade by the sum of its two weights.
    """

    hop_tokens: int = 25
    max_hop_tokens: int = 100
    hop_growth: int = 2
    cache_frames: int = 8
    corrected: bool = False
    source_noise: bool = True


@dataclass(frozen=True, kw_only=True)
class VocoderCache:
    """Mel (1, mel, 8), source (1, 1, S) and samples (1, S) of the last cached frames."""

    mel: Tensor
    source: Tensor
    wave: Tensor


@dataclass(frozen=True, kw_only=True)
class OfficialChunk:
    """One call of the vocoder: its mel (1, mel, T) and the samples (1, S) it gave."""

    mel: Tensor
    wave: Tensor


@dataclass(frozen=True, kw_only=True)
class OfficialTokenToWave:
    """Tokens to samples as published, in one pass or as a stream."""

    flow: Flow
    hift: HiFT
    options: OfficialOptions = field(default_factory=OfficialOptions)
    generator: Generator | None = None

    @torch.no_grad()
    def synthesize(
        self, tokens: Iterable[int], prompt: VoicePrompt, *, speed: float = 1.0
    ) -> OfficialChunk:
        """Speak tokens in one pass with full attention."""
        mel = self._mel(list(tokens), prompt, streaming=False, finalize=True)
        if speed != 1.0:
            mel = F.interpolate(mel, size=int(mel.shape[2] / speed), mode="linear")
        return self._vocode(mel, None, final=True)[0]

    @torch.no_grad()
    def stream(self, tokens: Iterable[int], prompt: VoicePrompt) -> Iterator[OfficialChunk]:
        """Speak tokens as they come, each chunk from the very beginning."""
        ratio, ahead = self.flow.ratio, self.flow.config.encoder.lookahead
        hop, offset, cache = self.options.hop_tokens, 0, None
        seen: list[int] = []
        for token in tokens:
            seen.append(int(token))
            step = hop + (-prompt.tokens.shape[1] % hop if offset == 0 else 0)
            if len(seen) - offset < step + ahead:
                continue
            mel = self._mel(seen, prompt, streaming=True, finalize=False)[:, :, ratio * offset :]
            chunk, cache = self._vocode(mel, cache, final=False)
            yield chunk
            offset += step
            hop = min(self.options.max_hop_tokens, hop * self.options.hop_growth)
        mel = self._mel(seen, prompt, streaming=False, finalize=True)[:, :, ratio * offset :]
        yield self._vocode(mel, cache, final=True)[0]

    def _mel(
        self, tokens: list[int], prompt: VoicePrompt, *, streaming: bool, finalize: bool
    ) -> Tensor:
        device = self.flow.input_embedding.weight.device
        return self.flow.inference(
            torch.tensor([tokens], dtype=torch.long, device=device),
            prompt.tokens.to(device),
            prompt.mel.to(device),
            prompt.speaker.to(device),
            streaming=streaming,
            finalize=finalize,
        )

    def _vocode(
        self, mel: Tensor, cache: VocoderCache | None, *, final: bool
    ) -> tuple[OfficialChunk, VocoderCache]:
        """Vocode (1, mel, T) after the cached frames; hold the last frames back unless final."""
        if cache is not None:
            mel = torch.cat((cache.mel, mel), dim=2)
        silent = None if self.options.source_noise else torch.zeros((1, 1, 1), device=mel.device)
        source = self.hift.source(self.hift.f0(mel), noise=silent, generator=self.generator)
        if cache is not None:
            source = torch.cat((cache.source, source[:, :, cache.source.shape[2] :]), dim=2)
        wave = self.hift.decode(mel, source)
        if cache is not None:
            size = cache.wave.shape[1]
            head = self._fade(cache.wave, wave[:, :size])
            wave = torch.cat((head, wave[:, size:]), dim=1)
        frames = self.options.cache_frames
        size = frames * self.hift.config.samples_per_frame
        kept = VocoderCache(
            mel=mel[:, :, -frames:], source=source[:, :, -size:], wave=wave[:, -size:]
        )
        return OfficialChunk(mel=mel, wave=wave if final else wave[:, :-size]), kept

    def _fade(self, old: Tensor, new: Tensor) -> Tensor:
        """Fade (1, S) into (1, S) with the two halves of a symmetric Hamming window."""
        size = old.shape[1]
        window = torch.hamming_window(
            2 * size, periodic=False, dtype=torch.float64, device=old.device
        )
        rise, fall = window[:size], window[size:]
        mixed = new * rise + old * fall
        if self.options.corrected:
            mixed = mixed / (rise + fall)
        return mixed.to(new.dtype)
