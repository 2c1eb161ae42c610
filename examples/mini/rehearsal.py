"""mini itself in the place of the synthesizers, for `run.py --smoke` on any machine.

Speech of a small model teaches nothing new; it shows that every stage runs and that what comes out
is a model. Phones are those of the front end; their times are even. Speakers of the plan are voices
of mini, whatever their names.
"""

import re
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import torch
from kokoro import PITCH_RATE, Spoken, Style
from pitch import track

from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.families.phones import PhoneFrontEnd
from mamtra_cli.hub import BUILT_IN

TEXTS = Path(__file__).parents[2] / "benchmarks" / "everyday_sentences.txt"
SENTENCES = 4  # of each part of the plan
HELD_OUT = 8
PAUSES = (",", ".", "?")
Said = tuple[np.ndarray, list[tuple[str, int, float, str]]]


@cache
def _engine() -> Engine:
    torch.set_num_threads(1)
    return Engine.load("mini", device="cpu", threads=1)


@cache
def _front_end() -> PhoneFrontEnd:
    return PhoneFrontEnd.load(BUILT_IN["mini"])


def known_words() -> list[str]:
    """Return words of ordinary sentences, in place of the system's list."""
    return sorted(set(re.findall(r"\b[a-z]{3,}\b", TEXTS.read_text("utf-8"))))


def texts() -> tuple[list[str], list[str]]:
    """Return sentences to hold out and to learn from, in place of WordNet's."""
    lines = [line for line in TEXTS.read_text("utf-8").splitlines() if line.strip()]
    return lines[:HELD_OUT], lines[HELD_OUT:]


def say(text: str, speaker: str) -> Said:
    """Speak a sentence: samples (S,) at 24 kHz, and phone, stress, end and word of each phone.

    speaker: any name; different names need not be different voices.
    """
    engine = _engine()
    voices = engine.voices()
    voice = engine.voice(voices[sum(map(ord, speaker)) % len(voices)])
    chunks = speak(engine, text, voice)
    audio = torch.cat([chunk.audio for chunk in chunks]).numpy()
    said = [("pau", 0, "0")]
    for word, names in _front_end().words(text):
        if word in PAUSES:
            said.append(("pau", 0, "0"))
        else:
            said += [(n.rstrip("1"), int(n.endswith("1")), word) for n in names]
    ends = np.linspace(0, len(audio) / engine.sample_rate, len(said) + 1)[1:].tolist()
    return audio, [(n, s, end, w) for (n, s, w), end in zip(said, ends, strict=True)]


def rehearsed(rows: list[tuple[str, str]], voice: str, scratch: Path) -> list[list[list[str]]]:
    """Speak sentences into SCRATCH/i.wav; return phone, stress, end and word, a row a phone."""
    tables = []
    for i, (_, text) in enumerate(rows):
        audio, phones = say(text, voice)
        soundfile.write(scratch / f"{i}.wav", audio, _engine().sample_rate)
        tables.append([[n, str(s), f"{end:.4f}", w] for n, s, end, w in phones])
    return tables


def spoken(text: str, style: Style, *, sound: bool = True) -> Spoken:
    """Speak a sentence as `kokoro.Kokoro` does; of a style only that styles differ is heeded."""
    audio, phones = say(text, "".join(style.timbre))
    frames = track(torch.from_numpy(audio)).numpy()
    places = np.arange(len(audio) * PITCH_RATE // _engine().sample_rate) * 50 // PITCH_RATE
    words = [(word, [n.rstrip("1") for n in names]) for word, names in _front_end().words(text)]
    return Spoken(
        audio=audio if sound else None,
        pitch=frames[np.minimum(places, len(frames) - 1)],
        phones=[(n, s, round(end, 4)) for n, s, end, _ in phones],
        words=[(word, names) for word, names in words if word not in PAUSES],
    )
