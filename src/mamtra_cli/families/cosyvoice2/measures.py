"""Speed and memory of the road from speech tokens to sound; see `families.measures.Measures`.

Tokens are random where only their number matters. What the official program computes is in
`official/memory.py`.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.codecs.flow_hift.token2wav import TokenToWave, VoicePrompt
from mamtra_cli.codecs.flow_hift.windows import StreamState
from mamtra_cli.families.cosyvoice2.config import CosyVoice2Config
from mamtra_cli.families.cosyvoice2.costs import Formulas
from mamtra_cli.families.cosyvoice2.official.memory import official_peaks
from mamtra_cli.families.cosyvoice2.rows import decode_row
from mamtra_cli.families.cosyvoice2.scripts import Reads
from mamtra_cli.families.cosyvoice2.sequences import to_sequence
from mamtra_cli.families.cosyvoice2.texts import wave_options
from mamtra_cli.families.measures import Parts, Peaks, Request
from mamtra_cli.live_bytes import live_peak, tensor_bytes

PUSHED = 25  # tokens pushed at once


class PipelineMeasures(Formulas):
    """See `families.measures.Measures`."""

    def prompt(self, config: CosyVoice2Config, request: Request, seed: int, *, room: int) -> Reads:
        """A prompt of random ids; the prompt's share of the text is its share of the speech."""
        lm, generator = config.lm, torch.Generator().manual_seed(seed)
        known = len(lm.durations) or lm.vocab_size
        text = torch.randint(1, known, (request.text,), generator=generator).tolist()
        heard = torch.randint(lm.speech_vocab, (request.prompt,), generator=generator).tolist()
        spoken = request.text * request.prompt // max(1, request.prompt + request.tokens)
        return Reads(row=decode_row(lm, text[spoken:], text[:spoken], heard), room=room)

    def stages(
        self, config: CosyVoice2Config, part: Parts, device: torch.device, frames: int
    ) -> Mapping[str, Callable[[], object]]:
        """Flow and vocoder, without a voice prompt."""
        tokens = random_tokens(config, frames)[None].to(device)
        nobody = VoicePrompt.of_speaker(torch.ones(config.flow.speaker_dim), config.flow.mel_bins)
        prompt = [value.to(device) for value in (nobody.tokens, nobody.mel, nobody.speaker)]
        flow, vocoder = part("flow"), part(config.vocoder_part)
        assert isinstance(flow, Flow)
        made: list[Tensor] = []

        def to_mel() -> None:
            made[:] = [flow.inference(tokens, *prompt, steps=config.flow.steps_on(device.type))]

        return {"flow": to_mel, "vocoder": lambda: vocoder(made[0])}

    def sound_peak(self, config: CosyVoice2Config, part: Parts, request: Request) -> int:
        """The windows that the config asks for."""
        flow, vocoder = part("flow"), part(config.vocoder_part)
        assert isinstance(flow, Flow)
        assert isinstance(vocoder, HiFT | SourceFilter)
        waver = TokenToWave(
            flow, vocoder, wave_options(config, flow.input_embedding.weight.device.type)
        )
        return window_peak(waver, random_prompt(config, request.prompt), request.tokens)

    def official(
        self, config: CosyVoice2Config, part: Parts, device: torch.device, request: Request
    ) -> Peaks:
        """The official program, imitated."""
        return official_peaks(
            [part(name) for name in config.speaking_parts],
            device,
            to_sequence(config.lm, [self.prompt(config, request, seed=2, room=0).row]),
            random_prompt(config, request.prompt),
            random_tokens(config, request.tokens),
        )


def window_peak(
    waver: TokenToWave, prompt: VoicePrompt, tokens: int, *, piece: int = PUSHED
) -> int:
    """Most live bytes while a stream of random tokens becomes sound that is handed out.

    Args:
        waver: the road from tokens to sound.
        prompt: who speaks.
        tokens: how many.
        piece: tokens pushed at once.
    """
    ids = torch.randint(
        waver.flow.config.vocab_size, (tokens,), generator=torch.Generator().manual_seed(0)
    ).tolist()
    state, peak = waver.start(prompt), 0
    for start in range(0, tokens, piece):
        more, held = ids[start : start + piece], state

        def push(more: list[int] = more, held: StreamState = held) -> StreamState:
            return waver.push(held, more)[0]

        highest, state = live_peak(push, waver.device, carried=tensor_bytes(held))
        peak = max(peak, highest)
    last = state
    final = live_peak(lambda: waver.finish(last), waver.device, carried=tensor_bytes(last))[0]
    return max(peak, final)


def random_prompt(config: CosyVoice2Config, tokens: int) -> VoicePrompt:
    """A voice prompt of so many random tokens."""
    flow, generator = config.flow, torch.Generator().manual_seed(1)
    return VoicePrompt(
        speaker=torch.randn((1, flow.speaker_dim), generator=generator),
        tokens=torch.randint(flow.vocab_size, (1, tokens), generator=generator),
        mel=torch.randn((1, flow.encoder.upsample * tokens, flow.mel_bins), generator=generator),
    )


def random_tokens(config: CosyVoice2Config, tokens: int) -> Tensor:
    """(N,) random speech tokens."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(config.flow.vocab_size, (tokens,), generator=generator)
