"""Device memory of the whole pipeline, stage by stage: ours, and the official one imitated.

Live bytes are measured on the stages in turn, with random ids of a stated number, since the peak
of a pipeline is its weights and its largest stage. What only a family can tell, its road to sound
and what its authors' program computes, is its `Measures`. Numbers by name.
"""

from typing import Any

import numpy as np
import torch

from mamtra_cli.engine.measuring.planner import Footprint
from mamtra_cli.engine.measuring.speed import weights
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import UsageError
from mamtra_cli.families.measures import Measures, Peaks, Request
from mamtra_cli.live_bytes import live_peak, tensor_bytes

Numbers = dict[str, float]


def measures_of(engine: Engine) -> Measures:
    """What can be measured of a model's whole pipeline.

    Raises:
        UsageError: its family tells nothing of it.
    """
    found = engine.family.measures(engine.config)
    if found is None:
        raise UsageError(
            f"no official pipeline of {engine.family.name} models is known",
            "leave out `--savings` and `--imitate-official`",
        )
    return found


def own_memory(engine: Engine, request: Request) -> Numbers:
    """Bytes of our pipeline for a request, measured: weights, each stage, and their peak."""
    return _numbers(own_peaks(engine, request)[0])


def footprint(engine: Engine, request: Request, libraries: int) -> Footprint:
    """The same as a footprint: what a stream holds at its end apart from what its stages add."""
    peaks, held = own_peaks(engine, request)
    loaded = weights(engine)
    roles = engine.family.speech_parts(engine.config)
    return Footprint(
        weights={
            "language model" if part == engine.lm_part else role: round(loaded[f"{role}_bytes"])
            for role, part in roles.items()
        },
        scratch={
            "reading and stepping": peaks.language_model - held,
            "frames to sound": peaks.sound,
        },
        stream=held,
        libraries=libraries,
    )


def own_peaks(engine: Engine, request: Request) -> tuple[Peaks, int]:
    """Peaks of our pipeline, and the bytes that one stream holds at the end of the request.

    Tokens to sound run as a stream that hands each window out.
    """
    measures = measures_of(engine)
    reads = measures.prompt(engine.config, request, seed=2, room=request.tokens)
    model = engine.speaker.tokens
    assert model is not None

    def speak() -> tuple[Any, Any]:
        scores, rows = model.read([reads], None, [0], [None])
        for _ in range(request.tokens):
            scores, rows = model.step(np.zeros((1, model.codebooks), np.int64), rows)
        return scores, rows

    parts = [engine.part(name).state_dict().values() for name in engine.speech_parts]
    with torch.inference_mode():
        lm, (_, rows) = live_peak(speak, engine.device)
        sound = measures.sound_peak(engine.config, engine.part, request)
    total = tensor_bytes([list(values) for values in parts])
    return Peaks(weights=total, language_model=lm, sound=sound), tensor_bytes(rows)


def official_memory(engine: Engine, request: Request) -> Numbers:
    """Bytes of the official pipeline for a request, imitated with a model's own sizes."""
    measures = measures_of(engine)
    return _numbers(measures.official(engine.config, engine.part, engine.device, request))


def _numbers(peaks: Peaks) -> Numbers:
    return {
        "weights_bytes": float(peaks.weights),
        "language_model_bytes": float(peaks.language_model),
        "token_to_wave_bytes": float(peaks.sound),
        "peak_bytes": float(peaks.highest),
    }
