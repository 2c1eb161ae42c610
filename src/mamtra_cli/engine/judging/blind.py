"""Two models side by side for people's ears: a folder with a page that does not say which is which.

Every sentence is spoken by both, made equally loud, and put in an order drawn by the seed. The page
(`blind.html`) needs no server and no network: keys to play and to choose, the outcome with its
interval at the end, and a table to keep. Which sound is whose stands in `key.json` and, out of
sight, in the page.
"""

import base64
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mamtra_cli.audio import AudioWriter
from mamtra_cli.checkpoint import FolderWriter
from mamtra_cli.engine.judging.seed_tts import Sentence
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.lines import Line, speak_lines
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.errors import AudioRejectedError
from mamtra_cli.events import Advance, Note, Report, Stage, ignore
from mamtra_cli.ownership import Kind

KIND = Kind(name="blind", words="a blind comparison")
LOUDNESS = 0.08  # root mean square of what is not silent
Wave = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A sentence as both models said it."""

    id: str
    text: str
    waves: tuple[Wave, Wave]


def write_blind(
    folder: Path,
    engines: tuple[Engine, Engine],
    sentences: Sequence[Sentence],
    *,
    voice: str = "",
    seed: int = 0,
    retries: int = 2,
    audio_format: str = "flac",
    force: bool = False,
    report: Report = ignore,
) -> int:
    """Let both models say the sentences, and write the page; returns how many it compares.

    Args:
        folder: new or empty, unless `force`.
        engines: the two models.
        sentences: what to say; those that a model could not say are left out and told.
        voice: of both; "" for the first of each.
        seed: of the speech and of the order.
        retries: new attempts for what a guard refused.
        audio_format: flac, opus, mp3 or wav.
        force: replace a comparison that is there.
        report: hears of the progress.

    Raises:
        AudioRejectedError: no sentence was spoken by both.
        OutputError: the folder is not empty, or cannot be written.
    """
    options = SpeechOptions(seed=seed, retries=retries)
    first, second = (dict(_spoken(engine, sentences, voice, options, report)) for engine in engines)
    pairs = [
        Pair(id=one.id, text=one.text, waves=(first[one.id], second[one.id]))
        for one in sentences
        if one.id in first and one.id in second
    ]
    if not pairs:
        raise AudioRejectedError("no sentence was spoken by both models", "try another `--seed`")
    order = random.Random(seed)
    key = []
    with FolderWriter(folder, kind=KIND, force=force) as writer:
        for number, pair in enumerate(order.sample(pairs, len(pairs))):
            swapped = order.random() < 0.5
            names = tuple(f"{number:03d}-{side}.{audio_format}" for side in "12")
            for name, which in zip(names, (1, 0) if swapped else (0, 1), strict=True):
                with AudioWriter(
                    writer.path / name,
                    sample_rate=engines[which].sample_rate,
                    format=audio_format,
                    tags={"ICMT": "synthetic speech"},
                ) as sound:
                    sound.write(loud(pair.waves[which]))
            key.append({"id": pair.id, "text": pair.text, "files": names, "swapped": swapped})
        told = {"models": [engine.name for engine in engines], "seed": seed, "pairs": key}
        writer.write_text("key.json", json.dumps(told, ensure_ascii=False, indent=1) + "\n")
        writer.write_text("index.html", page(json.dumps(told)))
    return len(pairs)


def page(told: str) -> str:
    """The page over the JSON of `key.json`; in base64, so that nobody reads it by chance."""
    hidden = base64.b64encode(told.encode()).decode()
    template = files("mamtra_cli.engine.judging").joinpath("blind.html").read_text("utf-8")
    return template.replace("@KEY@", hidden)


def loud(wave: Wave) -> Wave:
    """A wave at the loudness of all, by what of it is not silent; never beyond 1."""
    heard = wave[np.abs(wave) > 0.01]
    if not len(heard):
        return wave
    factor = LOUDNESS / float(np.sqrt(np.mean(np.square(heard))))
    return wave * min(factor, 1 / float(np.abs(wave).max()))


def _spoken(
    engine: Engine,
    sentences: Sequence[Sentence],
    voice: str,
    options: SpeechOptions,
    report: Report,
) -> Iterator[tuple[str, Wave]]:
    """Sentences by id as a model says them; what it cannot is told."""
    report(Stage(name=f"speaking {engine.name}", total=len(sentences), unit="sentences"))
    who = engine.voice(voice)
    lines = (Line(id=one.id, text=one.text, voice=who, seed=options.seed) for one in sentences)
    for made in speak_lines(engine, lines, options):
        report(Advance())
        if made.error is None:
            yield made.line.id, made.audio.numpy()
        else:
            told = f"left out `{made.line.id}`, {engine.name}: {made.error.message}"
            report(Note(text=told, warning=True))
