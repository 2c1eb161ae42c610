"""Device memory of the whole pipeline, stage by stage: ours, and the official one imitated.

Live bytes are measured on the stages in turn, with random tokens of a stated number, since the
peak of a pipeline is its weights and its largest stage. The imitation computes what the official
program computes: float32, logits of the text head at every position of the prompt, all hidden
states kept, and one pass with whole score matrices from tokens to sound. Numbers by name.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from mamtra_cli.codecs.flow_hift.token2wav import (
    StreamState,
    TokenToWave,
    VoicePrompt,
    WaveOptions,
)
from mamtra_cli.engine.decoding.loop import Utterance
from mamtra_cli.engine.measuring.live_bytes import live_peak
from mamtra_cli.engine.measuring.meter import tensor_bytes
from mamtra_cli.engine.model import Engine
from mamtra_cli.families.cosyvoice2.costs import Request
from mamtra_cli.families.cosyvoice2.official.flow import published_attention
from mamtra_cli.families.cosyvoice2.sequences import decode_sequence
from mamtra_cli.families.cosyvoice2.text_table import TextTable

Numbers = dict[str, float]


def own_memory(engine: Engine, request: Request) -> Numbers:
    """Bytes of our pipeline for a request, measured: weights, each stage, and their peak.

    The cache is measured as it is at the end of the request; tokens to sound as a stream that
    hands each window out.
    """
    device = engine.device
    utterance = _utterance(engine, request)

    def speak() -> object:
        scores, state = engine.prefill([utterance])
        for _ in range(request.tokens):
            scores, state = engine.step(torch.zeros(1, dtype=torch.long), state)
        return scores, state

    with torch.inference_mode():
        lm = live_peak(speak, device)[0]
        wave = window_peak(
            TokenToWave(engine.flow, engine.vocoder, wave_options(engine)),
            random_prompt(engine, request.prompt),
            request.tokens,
        )
    return _peaks(_weights(engine), lm, wave)


def official_memory(engine: Engine, request: Request) -> Numbers:
    """Bytes of the official pipeline for a request, imitated with a model's own sizes.

    The language model's weights are counted, and run, in float32; its text embedding is among
    them, wherever ours is.
    """
    device, lm = engine.device, engine.lm
    utterance = _utterance(engine, request)
    exact = sum(4 * p.numel() for part in _parts(engine) for p in part.parameters())
    embedding = lm.stack.embed_tokens
    if isinstance(embedding, TextTable):
        exact += 4 * embedding.weight.numel()
    table = embedding.weight.float().to(device)

    def read() -> object:
        sequence = utterance.prompt.to(device)
        kept = range(lm.config.n_layers)
        out = lm.stack(lm.embed(sequence), positions=sequence.positions, capture=kept)
        return out, out.hidden.float() @ table.T

    prompt = random_prompt(engine, request.prompt)
    tokens = random_tokens(engine, request.tokens)[None].to(device)

    def to_mel() -> Tensor:
        return engine.flow.inference(
            tokens, prompt.tokens.to(device), prompt.mel.to(device), prompt.speaker.to(device)
        )

    with torch.inference_mode(), published_attention(engine.flow):
        reading = live_peak(read, device)[0]
        flow, mel = live_peak(to_mel, device)
        vocoder = live_peak(lambda: engine.vocoder(mel), device)[0]
    return _peaks(exact, reading, max(flow, vocoder))


def wave_options(engine: Engine) -> WaveOptions:
    """The windows that a model's config asks for."""
    config = engine.config
    return WaveOptions(
        hop_tokens=config.hop_tokens,
        max_hop_tokens=config.max_hop_tokens,
        context_tokens=config.context_tokens,
        whole_tokens=config.whole_tokens,
    )


def window_peak(waver: TokenToWave, prompt: VoicePrompt, tokens: int, *, piece: int = 25) -> int:
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

        highest, state = live_peak(push, waver.device, carried=_state_bytes(held))
        peak = max(peak, highest)
    last = state
    final = live_peak(lambda: waver.finish(last), waver.device, carried=_state_bytes(last))[0]
    return max(peak, final)


def random_prompt(engine: Engine, tokens: int) -> VoicePrompt:
    """A voice prompt of so many random tokens."""
    flow, generator = engine.config.flow, torch.Generator().manual_seed(1)
    return VoicePrompt(
        speaker=torch.randn((1, flow.speaker_dim), generator=generator),
        tokens=torch.randint(flow.vocab_size, (1, tokens), generator=generator),
        mel=torch.randn((1, flow.encoder.upsample * tokens, flow.mel_bins), generator=generator),
    )


def random_tokens(engine: Engine, tokens: int) -> Tensor:
    """(N,) random speech tokens."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(engine.config.flow.vocab_size, (tokens,), generator=generator)


def _state_bytes(state: StreamState) -> int:
    """Bytes of a stream's state, the prompt included."""
    return tensor_bytes(state)


def _utterance(engine: Engine, request: Request) -> Utterance:
    """A request of random ids."""
    lm, generator = engine.config.lm, torch.Generator().manual_seed(2)
    known = len(lm.durations) or lm.vocab_size
    text = torch.randint(1, known, (request.text,), generator=generator).tolist()
    heard = torch.randint(lm.speech_vocab, (request.prompt,), generator=generator).tolist()
    spoken = request.text * request.prompt // max(1, request.prompt + request.tokens)
    prompt = decode_sequence(lm, text[spoken:], text[:spoken], heard)
    return replace(engine.utterance([1]), prompt=prompt, max_tokens=request.tokens)


def _weights(engine: Engine) -> int:
    """Bytes of all weights on the device."""
    return tensor_bytes([list(part.state_dict().values()) for part in _parts(engine)])


def _parts(engine: Engine) -> list[nn.Module]:
    """The parts that speaking needs."""
    return [engine.part(name) for name in engine.config.speaking_parts]


def _peaks(weights: int, lm: int, wave: int) -> Numbers:
    return {
        "weights_bytes": float(weights),
        "language_model_bytes": float(lm),
        "token_to_wave_bytes": float(wave),
        "peak_bytes": float(weights + max(lm, wave)),
    }
