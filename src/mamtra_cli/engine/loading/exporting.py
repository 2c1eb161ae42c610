"""A model's graphs written beside its weights, and how close they come to its modules.

Any family that is `families.light.Exporting` can be exported; what reads the folder afterwards
without torch is light.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mamtra_cli.checkpoint import GRAPH
from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.engine.loading.light import opened
from mamtra_cli.engine.model import Engine
from mamtra_cli.errors import CheckpointError, MissingDependencyError, PlanError
from mamtra_cli.families.light import Exporting
from mamtra_cli.ops.arrays import like
from mamtra_cli.voices.voice import Voice

PARITY_TEXT = "The birch canoe slid on the smooth planks."
PARITY_STEPS = 60
SCORES, SOUND = 1e-3, 1e-2  # largest difference of log-probabilities, and of samples
KL = {"none": 1e-6, "int8": 1e-3, "int4": 2e-2}  # largest mean, by the bits of the step


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Graphs beside modules, over the steps of one text and the sound of the same tokens.

    Attributes:
        scores: largest difference of log-probabilities, or of frames where no tokens are drawn.
        kl: mean divergence of what the graph says from what the modules say.
        top1: share of steps whose likeliest token is the same.
        samples: largest difference of samples; full scale is 1.
    """

    scores: float
    kl: float
    top1: float
    samples: float


def write_graphs(engine: Engine, folder: Path, quant: str = "none") -> list[Path]:
    """Write a model's graphs into the folder that holds its weights in our format.

    Args:
        engine: the model.
        folder: where.
        quant: bits of the step's matrices: none, int8 or int4.

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
    if not isinstance(engine.family, Exporting):
        raise PlanError(f"`{engine.name}` is a {engine.family.name} model, which has no graphs")
    paths = []
    for name, graph in engine.family.made_graphs(engine.loaded, folder, quant):
        paths.append(folder / f"{name}{GRAPH}")
        paths[-1].write_bytes(graph.SerializeToString())
    return paths


def compare(engine: Engine, folder: Path, quant: str = "none") -> Parity:
    """Speak a text by modules and by the graphs of a folder, token for token.

    Args:
        engine: the model.
        folder: with its graphs.
        quant: bits that the step was written with; few of them may say a little else.

    Raises:
        CheckpointError: they differ by more than rounding.
    """
    light, reason = opened(folder, engine.name, engine.compute.threads)
    if light is None:
        raise CheckpointError(f"the exported folder cannot be opened: {reason}")
    roads: list[Any] = [engine, light]
    if engine.speaker.tokens is None:
        parity = _frames(roads)
    else:
        parity = _steps(roads, engine.facts.codes)
    exact = quant != "none" or parity.scores <= SCORES
    if not exact or parity.kl > KL[quant] or parity.samples > SOUND:
        raise CheckpointError(f"the graphs do not say what the model says: {parity}")
    return parity


def _steps(roads: list[Any], codes: int) -> Parity:
    """Over the steps of models that draw tokens; both read what the modules find likeliest."""
    tokens: list[int] = []
    states: list[Any] = []
    worst, divergence, same = 0.0, 0.0, 0
    for step in range(PARITY_STEPS):
        found = []
        for place, road in enumerate(roads):
            if step == 0:
                ids = road.speaker.encode(PARITY_TEXT)
                reads = road.speaker.begin(ids, some_voice(road)).reads
                with torch.inference_mode():
                    scores, state = road.speaker.tokens.read([reads], None, [0], [None])
                states.append(state)
            else:
                columns = np.array([[tokens[-1]]])
                with torch.inference_mode():
                    scores, states[place] = road.speaker.tokens.step(columns, states[place])
            found.append(torch.as_tensor(scores)[0, 0].float().cpu().log_softmax(-1))
        worst = max(worst, float((found[0] - found[1]).abs().max()))
        divergence += float((found[0].exp() * (found[0] - found[1])).sum())
        same += int(found[0].argmax() == found[1].argmax())
        tokens.append(int(found[0][:codes].argmax()))
    frames = [(token,) for token in tokens]
    return Parity(
        scores=worst,
        kl=divergence / PARITY_STEPS,
        top1=same / PARITY_STEPS,
        samples=_apart(roads, [frames, frames]),
    )


def some_voice(road: Any) -> Voice:
    """The first voice of a model; where it has none, one that is nobody's."""
    if road.voices():
        voice: Voice = road.voice()
        return voice
    nobody = np.zeros(road.facts.speaker_dim, np.float32)
    return Voice(name="nobody", embedding=like(nobody, road.silence(0.0)))


def _frames(roads: list[Any]) -> Parity:
    """Over the frames of models that draw no tokens, as many of each phone on both roads."""
    made = []
    for road in roads:
        parts = road.speaker.made(road.speaker.encode(PARITY_TEXT), some_voice(road))
        made.append([frame for part in parts for frame in part.frames])
    owners = [[frame.owner for frame in frames] for frames in made]
    if owners[0] != owners[1]:
        raise CheckpointError("the graphs give phones other lengths than the model does")
    rows = [np.stack([np.asarray(frame.mu) for frame in frames]) for frames in made]
    worst = float(abs(rows[0] - rows[1]).max())
    return Parity(scores=worst, kl=0.0, top1=1.0, samples=_apart(roads, made))


def _apart(roads: list[Any], frames: list[Any]) -> float:
    """Largest difference of the samples of frames, those of each road."""
    waves = [
        np.asarray(
            road.speaker.codec.whole(
                some, road.speaker.sound_prompt(some_voice(road)), SoundOptions()
            )
        )
        for road, some in zip(roads, frames, strict=True)
    ]
    return float(abs(waves[0] - waves[1]).max())
