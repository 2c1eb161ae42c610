"""Device memory of the whole pipeline, stage by stage: ours, and the official one imitated.

Live bytes are measured on the stages in turn, with random ids of a stated number, since the peak
of a pipeline is its weights and its largest stage. What only a family can tell, its road to sound
and what its authors' program computes, is its `Measures`. Numbers by name.
"""

import numpy as np
import torch

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
    """Bytes of our pipeline for a request, measured: weights, each stage, and their peak.

    The cache is measured as it is at the end of the request; tokens to sound as a stream that
    hands each window out.
    """
    measures = measures_of(engine)
    reads = measures.prompt(engine.config, request, seed=2, room=request.tokens)
    model = engine.speaker.tokens
    assert model is not None

    def speak() -> object:
        scores, rows = model.read([reads], None, [0], [None])
        for _ in range(request.tokens):
            scores, rows = model.step(np.zeros((1, model.codebooks), np.int64), rows)
        return scores, rows

    parts = [engine.part(name).state_dict().values() for name in engine.speech_parts]
    with torch.inference_mode():
        lm = live_peak(speak, engine.device)[0]
        sound = measures.sound_peak(engine.config, engine.part, request)
    return _numbers(
        Peaks(
            weights=tensor_bytes([list(values) for values in parts]), language_model=lm, sound=sound
        )
    )


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
