"""One model, stage by stage: what each holds, how long it takes. Numbers by name, no words.

Stages are measured apart, on work whose size is stated, so that the language model, the road
from tokens to sound and the whole can be told from each other. Tokens are random where only
their number matters.
"""

import time
from dataclasses import replace

import torch

from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.decoding.loop import Utterance
from mamtra_cli.engine.measuring.meter import metered, synchronise, tensor_bytes, timed
from mamtra_cli.engine.model import TOKENS_PER_SECOND, Engine
from mamtra_cli.engine.speaking.speech import SpeechOptions, speak
from mamtra_cli.errors import AudioRejectedError
from mamtra_cli.families.cosyvoice2.sequences import concatenate, decode_sequence
from mamtra_cli.voices.voice import Voice

STEPS = 24
WAVE_TOKENS = 100
TEXT = "The old clock in the kitchen was very slow, and nobody noticed it."
ANYTHING = GuardLimits(
    equal_run=1 << 30, loop_span=1 << 30, min_share=0.0, max_share=1e9, silence_rms=0.0
)

Numbers = dict[str, float]


def weights(engine: Engine) -> Numbers:
    """Bytes of each part, as it is held."""
    found: Numbers = {}
    parts = {"lm": engine.lm, "flow": engine.flow, "vocoder": engine.vocoder}
    for name, part in parts.items():
        found[f"{name}_parameters"] = sum(p.numel() for p in part.parameters())
        found[f"{name}_bytes"] = tensor_bytes(list(part.state_dict().values()))
    return found


def language_model(
    engine: Engine, context: int, *, batch: int = 1, runs: int = 3, warmup: int = 1
) -> dict[str, Numbers]:
    """Reading a context, what it leaves in memory, and single tokens after it.

    Args:
        engine: the model.
        context: positions read before the timed tokens.
        batch: sequences at once.
        runs, warmup: repetitions of the reading.
    """
    utterances = [_context(engine, context, seed) for seed in range(batch)]
    sequence = concatenate([utterance.prompt for utterance in utterances]).to(engine.device)
    with metered(engine.device) as memory, torch.inference_mode():
        timing = timed(
            lambda: engine.lm.extend(sequence), runs=runs, warmup=warmup, device=engine.device
        )
        scores, state = engine.prefill(utterances)
    prefill = {
        "positions": float(sequence.ids.shape[1]),
        "ms": 1e3 * timing.median,
        "cold_ms": 1e3 * timing.first,
        "positions_per_second": batch * sequence.ids.shape[1] / timing.median,
        **_peaks(memory.peak, memory.device),
    }
    held = {
        "positions": float(sequence.ids.shape[1]),
        "bytes": float(tensor_bytes(state)),
    }
    tokens = torch.zeros(batch, dtype=torch.long)
    seconds = []
    with torch.inference_mode():
        for _ in range(4 + STEPS):
            synchronise(engine.device)
            start = time.perf_counter()
            scores, state = engine.step(tokens, state)
            synchronise(engine.device)
            seconds.append(time.perf_counter() - start)
    assert bool(torch.isfinite(scores).all())
    median = sorted(seconds[4:])[STEPS // 2]
    step = {
        "context": float(sequence.ids.shape[1]),
        "ms": 1e3 * median,
        "tokens_per_second": batch / median,
        "rtf": TOKENS_PER_SECOND * median,
    }
    return {"prefill": prefill, "cache": held, "step": step}


def token_to_wave(engine: Engine, *, runs: int = 3, warmup: int = 1) -> dict[str, Numbers]:
    """Flow and vocoder on a few seconds of speech tokens."""
    generator = torch.Generator().manual_seed(0)
    size = engine.config.flow.vocab_size
    tokens = torch.randint(size, (1, WAVE_TOKENS), generator=generator).to(engine.device)
    prompt = engine.voice_prompt(_anyone(engine))
    flow, vocoder = engine.flow, engine.vocoder
    made: list[torch.Tensor] = []

    def to_mel() -> None:
        made[:] = [
            flow.inference(
                tokens,
                prompt.tokens.to(engine.device),
                prompt.mel.to(engine.device),
                prompt.speaker.to(engine.device),
            )
        ]

    seconds = WAVE_TOKENS / TOKENS_PER_SECOND
    found = {}
    with metered(engine.device) as memory, torch.inference_mode():
        timing = timed(to_mel, runs=runs, warmup=warmup, device=engine.device)
    found["flow"] = {
        "seconds": seconds,
        "ms": 1e3 * timing.median,
        "cold_ms": 1e3 * timing.first,
        "rtf": timing.median / seconds,
        **_peaks(memory.peak, memory.device),
    }
    with metered(engine.device) as memory, torch.inference_mode():
        timing = timed(lambda: vocoder(made[0]), runs=runs, warmup=warmup, device=engine.device)
    found["vocoder"] = {
        "seconds": seconds,
        "ms": 1e3 * timing.median,
        "cold_ms": 1e3 * timing.first,
        "rtf": timing.median / seconds,
        **_peaks(memory.peak, memory.device),
    }
    return found


def speech(engine: Engine, voice: Voice | None = None, *, text: str = TEXT) -> Numbers:
    """Text to sound, streamed: time to the first sound and of the whole, cold and warm."""
    who = voice or _anyone(engine)
    options = SpeechOptions(stream=True, retries=0, limits=ANYTHING, max_seconds=30.0)
    found: Numbers = {}
    for when in ("cold", "warm"):
        start = time.perf_counter()
        first, samples = None, 0
        try:
            for chunk in speak(engine, text, who, options):
                first = first or time.perf_counter() - start
                samples += len(chunk.audio)
        except AudioRejectedError:
            # A model that does not end its speech still has a speed.
            found["capped"] = 1.0
        spent = time.perf_counter() - start
        seconds = samples / engine.sample_rate
        found[f"{when}_first_audio_s"] = first if first is not None else spent
        if seconds:
            found[f"{when}_rtf"] = spent / seconds
            found["seconds"] = seconds
    return found


def _context(engine: Engine, positions: int, seed: int) -> Utterance:
    """A prompt of random speech that fills so many positions."""
    lm = engine.config.lm
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(1, min(lm.vocab_size, 40), (8,), generator=generator).tolist()
    heard = max(0, positions - 2 * len(text) - 2)
    speech = torch.randint(lm.speech_vocab, (heard,), generator=generator).tolist()
    utterance = engine.utterance(text)
    return replace(
        utterance,
        prompt=decode_sequence(lm, text, text, speech),
        max_tokens=STEPS + 8,
    )


def _anyone(engine: Engine) -> Voice:
    """The model's first voice, or a speaker of ones where it has none."""
    if engine.voices():
        return engine.voice()
    return Voice(name="none", embedding=torch.ones(engine.config.flow.speaker_dim))


def _peaks(resident: int | None, device: int | None) -> Numbers:
    peaks = {"peak_bytes": resident, "device_peak_bytes": device}
    return {name: float(value) for name, value in peaks.items() if value is not None}
