"""Speak a long text piece by piece: memory, dropped sentences, clicks at joins.

    python benchmarks/long_text.py --minutes 10
    python benchmarks/long_text.py --minutes 1 --stream

The text is new sentences of mini's closed vocabulary, spoken as one text. After every piece the
resident set is read; a recogniser (pocketsphinx, trigram over the vocabulary, see docs/mini.md)
writes down what the piece says: a sentence counts as dropped when less than half of its words
are heard. Jumps are differences of neighbouring samples: at joins (between chunks, within 10 ms)
and everywhere else. Prints one JSON object; `resident_mb_tenths` are medians of ten equal parts.
"""

import argparse
import json
import time
from dataclasses import dataclass, field

import numpy as np

from mamtra_cli.engine.judging.metrics import plain_words, score
from mamtra_cli.engine.judging.recognise import WordRecogniser
from mamtra_cli.engine.measuring.meter import environment, resident_bytes
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.text import sentences

RATE = 24_000
NEAR = RATE // 100
SECONDS_A_SENTENCE = 3.5
MB = 1_000_000


@dataclass
class Heard:
    """What the run gave, piece by piece; samples are kept for one piece at a time."""

    seconds: list[float] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    join_jumps: list[float] = field(default_factory=list)
    other_jump: float = 0.0
    loudest: float = 0.0


def jumps(audio: np.ndarray, joins: list[int], heard: Heard) -> None:
    """Add the sample jumps of a stretch (S,) with joins at these samples."""
    steps = np.abs(np.diff(audio))
    near = np.zeros(len(steps), dtype=bool)
    for join in joins:
        part = slice(max(0, join - NEAR), join + NEAR)
        near[part] = True
        heard.join_jumps.append(float(steps[part].max(initial=0.0)))
    heard.other_jump = max(heard.other_jump, float(steps[~near].max(initial=0.0)))
    heard.loudest = max(heard.loudest, float(np.abs(audio).max(initial=0.0)))


def recogniser(texts: list[str]) -> WordRecogniser:
    """Return a recogniser over the closed vocabulary, trained on none of the texts."""
    known = [text for text in sentences.closed(0, 8000) if text not in set(texts)]
    return WordRecogniser.from_texts(known, 3)


def run(texts: list[str], model: str, options: SpeechOptions, hear: WordRecogniser | None) -> Heard:
    """Speak sentences as one text."""
    engine = Engine.load(model)
    voice = engine.voice()
    engine.ready(*engine.config.speaking_parts)
    heard, chunks, joins, before = Heard(), [], [], np.zeros(0, np.float32)
    for chunk in speak(engine, " ".join(texts), voice, options):
        joins.append(sum(map(len, chunks)))
        chunks.append(chunk.audio.numpy())
        if chunk.piece is None:
            continue
        audio = np.concatenate(chunks)
        # The end of the piece before makes the join between them a join like any other.
        jumps(np.concatenate((before, audio)), [len(before) + join for join in joins], heard)
        before = audio[-NEAR:]
        heard.seconds.append(len(audio) / RATE)
        heard.wanted.append(chunk.piece.text)
        if hear is not None:
            heard.words.append(hear.transcribe(audio.astype(np.float32), RATE))
        heard.resident.append(resident_bytes() or 0)
        chunks, joins = [], []
    return heard


def report(heard: Heard, texts: list[str], spent: float) -> dict[str, object]:
    """Return the facts of a run."""
    seconds = sum(heard.seconds)
    quarter = max(1, len(heard.resident) // 4)
    growth = np.median(heard.resident[-quarter:]) - np.median(heard.resident[quarter : 2 * quarter])
    facts: dict[str, object] = {
        "audio_s": round(seconds, 1),
        "sentences": len(texts),
        "pieces": len(heard.wanted),
        "words_in": len(plain_words(" ".join(texts)).split()),
        "words_in_pieces": len(plain_words(" ".join(heard.wanted)).split()),
        "spent_s": round(spent, 1),
        "resident_mb_first": heard.resident[0] / MB,
        "resident_mb_most": max(heard.resident) / MB,
        "resident_mb_tenths": [
            round(float(np.median(part)) / MB) for part in np.array_split(heard.resident, 10)
        ],
        "resident_mb_growth_second_to_last_quarter": float(growth) / MB,
        "largest_jump_at_joins": max(heard.join_jumps, default=0.0),
        "largest_jump_elsewhere": heard.other_jump,
        "joins": len(heard.join_jumps),
        "loudest_sample": heard.loudest,
    }
    if heard.words:
        parts = [score([want], [got]) for want, got in zip(heard.wanted, heard.words, strict=True)]
        shares = [recall(want, got) for want, got in zip(heard.wanted, heard.words, strict=True)]
        facts["word_errors"] = score(heard.wanted, heard.words).wer
        facts["worst_piece_word_errors"] = max(part.wer for part in parts)
        facts["dropped_sentences"] = sum(share < 0.5 for share in shares)
        facts["least_share_of_words_heard"] = min(shares)
    return facts


def recall(wanted: str, got: str) -> float:
    """Return the share of words that were heard, in whatever order."""
    left, words = plain_words(got).split(), plain_words(wanted).split()
    found = 0
    for word in words:
        if word in left:
            left.remove(word)
            found += 1
    return found / max(1, len(words))


def main() -> None:
    """Speak and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--no-recogniser", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    texts = sentences.closed(4000, max(2, round(60 * args.minutes / SECONDS_A_SENTENCE)))
    hear = None if args.no_recogniser else recogniser(texts)
    start = time.perf_counter()
    heard = run(texts, args.model, SpeechOptions(seed=args.seed, stream=args.stream), hear)
    facts = report(heard, texts, time.perf_counter() - start)
    import torch

    print(json.dumps({**facts, "environment": environment(torch.device("cpu"))}, indent=1))


if __name__ == "__main__":
    main()
