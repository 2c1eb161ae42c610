"""Speech tokens to waveform by the modules of flow and vocoder; see windows.py.

Knows no text and no files.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from mamtra_cli.codecs.flow_hift.flow import Flow, fixed_noise
from mamtra_cli.codecs.flow_hift.heard import HeardPrompts, digest_of
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.codecs.flow_hift.vocoder_stream import HiFTStream, SourceFilterStream, VocoderStream
from mamtra_cli.codecs.flow_hift.windows import StreamState, WaveOptions, Windows


@dataclass(frozen=True, kw_only=True)
class VoicePrompt:
    """Who speaks: a speaker vector, and the tokens and mel of a recording (may be empty).

    Shapes: speaker (1, speaker_dim); tokens (1, P); mel (1, ratio*P, mel).
    """

    speaker: Tensor
    tokens: Tensor
    mel: Tensor

    @cached_property
    def digest(self) -> bytes:
        """A hash of all three, made once."""
        return digest_of(self.tokens, self.mel, self.speaker)

    @classmethod
    def of_speaker(cls, speaker: Tensor, mel_bins: int = 80) -> "VoicePrompt":
        """Make a prompt without a recording from a vector (speaker_dim,) or (1, speaker_dim)."""
        return cls(
            speaker=speaker.reshape(1, -1).float(),
            tokens=torch.zeros((1, 0), dtype=torch.long),
            mel=torch.zeros((1, 0, mel_bins)),
        )


class TokenToWave(Windows):
    """Speech tokens to float32 samples on the CPU, in bounded memory.

    Args:
        flow: tokens to mel.
        vocoder: mel to samples.
        options: sizes of windows, speed, solver.
    """

    def __init__(
        self, flow: Flow, vocoder: HiFT | SourceFilter, options: WaveOptions | None = None
    ) -> None:
        super().__init__(flow.config, WaveOptions() if options is None else options)
        self.flow = flow
        self.vocoder = vocoder
        self.stream_vocoder = _in_pieces(vocoder, self.options)
        self.device = flow.input_embedding.weight.device
        self.prompts = HeardPrompts(flow, self.grid, self.options.prompt_bytes)

    def with_options(self, options: WaveOptions) -> Self:
        """The same road by other options."""
        other = super().with_options(options)
        other.stream_vocoder = _in_pieces(self.vocoder, options)
        return other

    def begun(self, prompt: VoicePrompt) -> tuple[VoicePrompt, int, Any]:
        """See `Windows.begun`."""
        device = self.device
        shown = VoicePrompt(
            speaker=prompt.speaker.to(device),
            tokens=prompt.tokens.to(device),
            mel=prompt.mel.to(device),
        )
        return shown, prompt.tokens.shape[1], self.stream_vocoder.start()

    def nothing(self) -> Tensor:
        """See `Windows.nothing`."""
        return torch.zeros((0,))

    @torch.no_grad()
    def voiced(self, state: Any, mel: Tensor, *, final: bool) -> tuple[Any, Tensor]:
        """See `Windows.voiced`."""
        state, wave = self.stream_vocoder.step(state, mel, final=final)
        return state, wave.float().cpu()

    def mel(self, state: StreamState, end: int, *, final: bool) -> Tensor:
        """See `Windows.mel`."""
        flow, ratio, before = self.flow, self.ratio, state.heard
        ahead = 0 if final else self.lookahead
        bins = flow.config.mel_bins
        noise = torch.cat(
            (
                fixed_noise(0, ratio * before, bins),
                fixed_noise(ratio * (before + state.first), ratio * (before + end), bins),
            ),
            dim=2,
        )
        tokens = state.tokens[: end - state.first + ahead]
        prompt, steps, guidance = state.prompt, self.options.steps, self.options.guidance
        voice = prompt.tokens, prompt.mel, prompt.speaker
        # A pass that makes the whole utterance needs no chunk masks.
        streaming = not (final and state.done == 0)
        heard = self.prompts.of(prompt, steps=steps, guidance=guidance) if streaming else None
        mel = flow.inference(
            torch.tensor([tokens], dtype=torch.long, device=self.device),
            *voice,
            streaming=streaming,
            finalize=final,
            steps=steps,
            guidance=guidance,
            noise=noise,
            heard=heard,
        )
        return mel[:, :, ratio * (state.done - state.first) :]


def _in_pieces(vocoder: HiFT | SourceFilter, options: WaveOptions) -> VocoderStream:
    """A vocoder as the options have it speak."""
    if isinstance(vocoder, SourceFilter):
        return SourceFilterStream(vocoder=vocoder, seed=options.noise_seed)
    return HiFTStream(
        hift=vocoder,
        context=options.vocoder_context,
        overlap=options.overlap_frames,
        guard=options.guard_frames,
        seed=options.noise_seed,
    )
