"""A model's graphs written beside its weights, and how close they come to its modules.

Any family that states how (`made_graphs`) can be exported; what reads the folder afterwards without
torch is light.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.engine.loading.light import GRAPH, opened
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import CheckpointError, MissingDependencyError, PlanError

PARITY_TEXT = "The birch canoe slid on the smooth planks."
PARITY_STEPS = 20
SCORES, SOUND = 1e-3, 1e-2  # largest difference of log-probabilities, and of samples


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Graphs beside modules: largest difference of log-probabilities over the steps of one text,
    and of samples (full scale is 1) over the sound of the same tokens."""

    scores: float
    samples: float


def write_graphs(engine: Engine, folder: Path) -> list[Path]:
    """Write a model's graphs into the folder that holds its weights in our format.

    Raises:
        MissingDependencyError: the package `onnx` is not installed.
        PlanError: a part, or the whole kind of model, has no graph.
    """
    try:
        import onnx as onnx
    except ImportError as error:
        raise MissingDependencyError(
            "`mamtra export` needs onnx, which is not installed", "pip install 'mamtra-cli[onnx]'"
        ) from error
    made = getattr(engine.family, "made_graphs", None)
    if made is None:
        raise PlanError(f"`{engine.name}` is a {engine.family.name} model, which has no graphs")
    paths = []
    for name, graph in made(engine.loaded, folder):
        paths.append(folder / f"{name}{GRAPH}")
        paths[-1].write_bytes(graph.SerializeToString())
    return paths


def compare(engine: Engine, folder: Path) -> Parity:
    """Speak a text by modules and by the graphs of a folder, token for token.

    Raises:
        CheckpointError: they differ by more than rounding.
    """
    light, reason = opened(folder, engine.name, engine.compute.threads)
    if light is None:
        raise CheckpointError(f"the exported folder cannot be opened: {reason}")
    roads: list[Any] = [engine, light]
    tokens: list[int] = []
    states: list[Any] = []
    worst = 0.0
    for step in range(PARITY_STEPS):
        found = []
        for place, road in enumerate(roads):
            if step == 0:
                ids = road.speaker.encode(PARITY_TEXT)
                reads = road.speaker.begin(ids, road.voice()).reads
                with torch.inference_mode():
                    scores, state = road.speaker.tokens.read([reads], None, [0], [None])
                states.append(state)
            else:
                columns = np.array([[tokens[-1]]])
                with torch.inference_mode():
                    scores, states[place] = road.speaker.tokens.step(columns, states[place])
            found.append(torch.as_tensor(scores)[0, 0].float().cpu().log_softmax(-1))
        worst = max(worst, float((found[0] - found[1]).abs().max()))
        tokens.append(int(found[0][: engine.facts.codes].argmax()))
    waves = [
        np.asarray(
            road.speaker.codec.whole(
                [(token,) for token in tokens],
                road.speaker.sound_prompt(road.voice()),
                SoundOptions(),
            )
        )
        for road in roads
    ]
    parity = Parity(scores=worst, samples=float(abs(waves[0] - waves[1]).max()))
    if parity.scores > SCORES or parity.samples > SOUND:
        raise CheckpointError(f"the graphs do not say what the model says: {parity}")
    return parity
