"""One model, stage by stage: what each holds, how long it takes. Numbers by name, no words.

Stages are measured apart, on work whose size is stated, so that the language model, the road
from tokens to sound and the whole can be told from each other. Tokens are random where only
their number matters.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from mamtra_cli.backbone import costs
from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.measuring.meter import metered, read_seconds, synchronise, timed
from mamtra_cli.engine.measuring.planner import Pace
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.errors import AudioRejectedError
from mamtra_cli.families.measures import Request
from mamtra_cli.live_bytes import tensor_bytes
from mamtra_cli.voices.voice import Voice

STEPS = 24
MANY = 8  # utterances of the second step that a pace is taken from
WAVE_TOKENS = 100
TEXT_IDS = 8
TEXT = "The old clock in the kitchen was very slow, and nobody noticed it."
ANYTHING = GuardLimits(
    equal_run=1 << 30, loop_span=1 << 30, min_share=0.0, max_share=1e9, silence_rms=0.0
)

Numbers = dict[str, float]


def weights(engine: Engine) -> Numbers:
    """Bytes of each part, as it is held."""
    found: Numbers = {}
    for name, part_name in engine.family.speech_parts(engine.config).items():
        part = engine.part(part_name)
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
    reads = [_context(engine, context, seed) for seed in range(batch)]
    model, new = engine.speaker.tokens, [None] * batch
    assert model is not None
    with metered(engine.device) as memory, torch.inference_mode():
        timing = timed(
            lambda: model.read(reads, None, range(batch), new),
            runs=runs,
            warmup=warmup,
            device=engine.device,
        )
        scores, rows = model.read(reads, None, range(batch), new)
    prefill = {
        "positions": float(context),
        "ms": 1e3 * timing.median,
        "cold_ms": 1e3 * timing.first,
        "positions_per_second": batch * context / timing.median,
        **_peaks(memory.peak, memory.device),
    }
    held = {
        "positions": float(context),
        "bytes": float(tensor_bytes(rows)),
    }
    columns = np.zeros((batch, model.codebooks), np.int64)
    seconds = []
    with torch.inference_mode():
        for _ in range(4 + STEPS):
            synchronise(engine.device)
            start = time.perf_counter()
            scores, rows = model.step(columns, rows)
            synchronise(engine.device)
            seconds.append(time.perf_counter() - start)
    assert not bool(scores.isnan().any())
    median = sorted(seconds[4:])[STEPS // 2]
    step = {
        "context": float(context),
        "ms": 1e3 * median,
        "tokens_per_second": batch / median,
        "rtf": engine.facts.frame_rate * median,
    }
    floor = _floor(engine, context, batch, median)
    return {"prefill": prefill, "cache": held, "step": step, "floor": floor}


def pace(engine: Engine, context: int) -> Pace:
    """Seconds of work for a second of sound, from steps of one and of `MANY` utterances."""
    shared, each = 0.0, 0.0
    rate = engine.facts.frame_rate
    if engine.lm_part:
        one, many = (
            language_model(engine, context, batch=batch, runs=1, warmup=0)["step"]["ms"] / 1e3
            for batch in (1, MANY)
        )
        each = max(0.0, (many - one) / (MANY - 1))
        shared = max(0.0, one - each)
    sound = sum(stage["rtf"] for stage in frames_to_sound(engine, runs=1).values())
    return Pace(shared=rate * shared, stream=rate * each + sound)


def _floor(engine: Engine, context: int, batch: int, spent: float) -> Numbers:
    """A step beside a plain read of the bytes that it cannot do without."""
    stack, head = engine.facts.stack, engine.facts.head
    if stack is None:
        return {}
    precision = costs.Precision.of(engine.compute.torch_dtype.itemsize)
    count = costs.decode_bytes(stack, context, batch=batch, head=head, precision=precision)
    least = read_seconds(count, engine.device)
    return {
        "bytes": float(count),
        "bandwidth": count / least,
        "ms": 1e3 * least,
        "share": least / spent,
    }


def frames_to_sound(engine: Engine, *, runs: int = 3, warmup: int = 1) -> dict[str, Numbers]:
    """The stages from a few seconds of frames to sound; one where the family tells none apart."""
    measures = engine.family.measures(engine.config)
    seconds = WAVE_TOKENS / engine.facts.frame_rate
    stages: Mapping[str, Callable[[], object]]
    if engine.speaker.tokens is None:
        stages, count = _made(engine)
        seconds = count / engine.facts.frame_rate
    elif measures is None:
        stages = {"codec": partial(_whole, engine, WAVE_TOKENS)}
    else:
        stages = measures.stages(engine.config, engine.part, engine.device, WAVE_TOKENS)
    found = {}
    for name, work in stages.items():
        with metered(engine.device) as memory, torch.inference_mode():
            timing = timed(work, runs=runs, warmup=warmup, device=engine.device)
        found[name] = {
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
    options = SpeechOptions(
        stream=True,
        retries=0,
        limits=ANYTHING,
        max_seconds=None if engine.speaker.tokens is None else 30.0,
    )
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


def _context(engine: Engine, positions: int, seed: int) -> Any:
    """A prompt of random ids that fills so many positions, as the token model reads it."""
    measures = engine.family.measures(engine.config)
    if measures is None:
        known = min(engine.facts.text_ids, 40)
        ids = [1 + (seed + place) % (known - 1) for place in range(positions)]
        return engine.speaker.begin(ids, most=STEPS + 8).reads
    text = 2 * TEXT_IDS
    heard = max(0, positions - text - 2)
    request = Request(tokens=heard, prompt=heard, text=text)
    return measures.prompt(engine.config, request, seed, room=STEPS + 8)


def _whole(engine: Engine, count: int) -> object:
    """Sound of so many random frames."""
    facts, generator = engine.facts, torch.Generator().manual_seed(0)
    ids = torch.randint(facts.codes, (count, facts.codebooks), generator=generator)
    voice = engine.speaker.sound_prompt(_anyone(engine))
    frames = [tuple(frame) for frame in ids.tolist()]
    return engine.speaker.codec.whole(frames, voice, SoundOptions())


def _made(engine: Engine) -> tuple[dict[str, Callable[[], object]], int]:
    """The stages of a model without a token loop, from a text on, and how many frames it makes."""
    speaker, voice = engine.speaker, _anyone(engine)
    ids = speaker.encode(TEXT)

    def frames() -> list[Any]:
        return [frame for part in speaker.made(ids, voice) for frame in part.frames]

    said, prompt = frames(), speaker.sound_prompt(voice)
    sound = partial(speaker.codec.whole, said, prompt, SoundOptions())
    return {"frames": frames, "codec": sound}, len(said)


def _anyone(engine: Engine) -> Voice:
    """The model's first voice, or a speaker of ones where it has none."""
    if engine.voices():
        return engine.voice()
    return Voice(name="none", embedding=torch.ones(engine.facts.speaker_dim))


def _peaks(resident: int | None, device: int | None) -> Numbers:
    peaks = {"peak_bytes": resident, "device_peak_bytes": device}
    return {name: float(value) for name, value in peaks.items() if value is not None}
