"""What students say, written down by Whisper base, sentence by sentence.

Sentences are everyday ones, in no lesson, the first so many of a file; words are counted as Whisper
is scored.

Only the language model is a row's own: its tokens go through the teacher's flow and vocoder as
they are installed now, so that rows and teacher differ in nothing else. A sentence that the
guards refuse counts as nothing heard, and as no tokens. Transcripts are kept, so that intervals
and paired differences can be had later.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mamtra_cli.config import to_dict
from mamtra_cli.engine.judging.faster_whisper import MODELS, FasterWhisper
from mamtra_cli.engine.judging.metrics import count
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import Piece
from mamtra_cli.engine.speaking.speech import speak_frames
from mamtra_cli.engine.speaking.utterances import Utterances
from mamtra_cli.errors import UsageError
from study.recipe import Listening, digest_of
from study.train import Lab

RECOGNISER = "whisper-base"
RULES = "whisper-en"
SENTENCES = Path(__file__).parents[1] / "everyday_sentences.txt"
SEEDS_APART = 100_000
ROWS = 32  # sentences spoken together


class Ears:
    """A recogniser that is built when it is first needed."""

    def __init__(self) -> None:
        self._recogniser: FasterWhisper | None = None

    def write_down(self, wave: np.ndarray, rate: int) -> str:
        """Words of a mono wave (T,)."""
        if self._recogniser is None:
            self._recogniser = FasterWhisper(RECOGNISER)
        return self._recogniser.transcribe(wave.astype(np.float32), rate)


def hear(
    lab: Lab, ears: Ears, digest: str, name: str, folder: Path | None, how: Listening
) -> dict[str, Any]:
    """Let a student, or with no folder the teacher, speak, and write down what is heard."""
    key = hearing_key(lab, digest, how)
    done = lab.ledger.get("heard", key)
    if done is not None:
        return done
    lab.say(f"{name}: {how.sentences} sentences")
    engine = lab.teacher
    if folder is not None:
        engine = engine.with_lessons(
            Engine.load(str(folder), device="cpu", dtype="float32").lessons, name
        )
    texts = sentences(how.sentences) * how.seeds
    heard, lengths = _speak(engine, ears, texts, how)
    return lab.ledger.put("heard", key, row=name, said=texts, heard=heard, tokens=lengths)


def hearing_key(lab: Lab, digest: str, how: Listening) -> str:
    """Of a row, what it says, how its tokens are drawn, what makes sound of them, and who hears."""
    voice = f"voices/{lab.teacher.voices()[0]}"
    drawn = asdict(lab.teacher.sampling)
    ears = MODELS[RECOGNISER].sha256
    said = [to_dict(how), sentences(how.sentences)]
    return digest_of([digest, said, drawn, lab.hash_of(*lab.sound, voice), ears])


def sentences(number: int) -> list[str]:
    """The first so many of the sentences.

    Raises:
        UsageError: there are fewer.
    """
    every = SENTENCES.read_text(encoding="utf-8").splitlines()
    if number > len(every):
        raise UsageError(
            f"`{SENTENCES.name}` has {len(every)} sentences, not {number}",
            "say them more than once: `--set listening.seeds=3`",
        )
    return every[:number]


def _speak(
    engine: Engine, ears: Ears, texts: Sequence[str], how: Listening
) -> tuple[list[str], list[int]]:
    voice, utterances = engine.voice(), Utterances(engine, rows=ROWS)
    places: dict[int, int] = {}
    for i, text in enumerate(texts):
        seed = how.seed + i // how.sentences * SEEDS_APART + i % how.sentences
        options = SpeechOptions(seed=seed, retries=how.retries, mute=True)
        said = Piece(ids=tuple(engine.speaker.encode(text)), voice=voice)
        places[utterances.say(options, [said])] = i
    heard, lengths = [""] * len(texts), [0] * len(texts)
    while utterances.busy:
        for news in utterances.step():
            if news.chunk is not None:
                frames, place = list(news.chunk.frames), places[news.id]
                lengths[place] = len(frames) * engine.facts.codebooks
                wave = speak_frames(engine, frames, voice).numpy()
                heard[place] = ears.write_down(wave, engine.sample_rate)
            elif news.error is not None and news.refused is None:
                raise news.error
    return heard, lengths


def word_errors(said: Sequence[str], heard: Sequence[str]) -> tuple[list[float], list[float]]:
    """Errors and words of each sentence."""
    counts = [count(one, other, RULES) for one, other in zip(said, heard, strict=True)]
    return [float(c.errors) for c in counts], [float(c.words) for c in counts]


def listening_of(how: Listening, sentences: int | None) -> Listening:
    """The study's listening with a row's own number of sentences."""
    return how if sentences is None else replace(how, sentences=sentences)
