"""mini itself in the place of festival and flite, for `run.py --smoke` on any machine.

Speech of a model that learned from synthesizers teaches nothing new; it shows that every stage
runs and that what comes out is a model. Phones are those of the front end; their times are even.
"""

import re
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import torch

from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.families.phones import PhoneFrontEnd
from mamtra_cli.hub import BUILT_IN

WORDS = Path(__file__).parents[2] / "benchmarks" / "everyday_sentences.txt"
SENTENCES = 4  # of each part of the plan
PAUSES = (",", ".", "?")
Table = list[list[str]]


@cache
def _engine() -> Engine:
    torch.set_num_threads(1)
    return Engine.load("mini", device="cpu", threads=1)


@cache
def _front_end() -> PhoneFrontEnd:
    return PhoneFrontEnd.load(BUILT_IN["mini"])


def known_words() -> list[str]:
    """Return words of ordinary sentences, in place of the system's list."""
    return sorted(set(re.findall(r"\b[a-z]{3,}\b", WORDS.read_text("utf-8"))))


def rehearsed(rows: list[tuple[str, str]], voice: str, scratch: Path) -> list[Table]:
    """Speak sentences into SCRATCH/i.wav; return phone, stress, end and word, a row a phone."""
    engine, front, tables = _engine(), _front_end(), []
    for i, (_, text) in enumerate(rows):
        chunks = speak(engine, text, engine.voice(voice))
        audio = torch.cat([chunk.audio for chunk in chunks]).numpy()
        soundfile.write(scratch / f"{i}.wav", audio, engine.sample_rate)
        said = [("pau", "0", "0")]
        for word, names in front.words(text):
            if word in PAUSES:
                said.append(("pau", "0", "0"))
            else:
                said += [(n.rstrip("1"), str(int(n.endswith("1"))), word) for n in names]
        ends = np.linspace(0, len(audio) / engine.sample_rate, len(said) + 1)[1:]
        tables.append([[n, s, f"{end:.4f}", w] for (n, s, w), end in zip(said, ends, strict=True)])
    return tables
