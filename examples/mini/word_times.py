"""How far off mini's word times are: its alignment against the known times of its own corpus.

    python examples/mini/word_times.py --out work/natural

Sentences that were kept from training are made speech tokens of (natural ones have told tokens, by
`supervised_codes.py`), and the times that the model gives the words are compared with those of the
synthesizer that rendered them. Two ways are measured: the guided head, and mean durations stretched
to the tokens (what a student without that head has).
"""

import argparse
import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from dataset import SILENCES, Corpus, Sentence
from sources import in_turns

from mamtra_cli.engine.model import Engine
from mamtra_cli.families.cosyvoice2.alignment import stretched, token_counts
from mamtra_cli.families.cosyvoice2.encoder import TokenEncoder
from mamtra_cli.text.word_times import timed

FRAME = 0.04  # seconds


def spans(s: Sentence) -> list[tuple[str, int]]:
    """The words of a sentence over its symbols; pauses are no words."""
    left = [(word, len(phones)) for word, phones in s.words]
    found: list[tuple[str, int]] = []
    taken = 0
    for phone, _, _ in s.phones:
        if phone in SILENCES:
            found.append(("", 1))
        elif taken:
            taken -= 1
        else:
            word, size = left.pop(0)
            found.append((word, size))
            taken = size - 1
    return found


def known(s: Sentence, places: list[tuple[str, int]]) -> np.ndarray:
    """Start and end of each word in seconds, (words, 2)."""
    edges = [0.0, *(end for _, _, end in s.phones)]
    stops = list(accumulate(size for _, size in places))
    return np.array(
        [
            (edges[stop - size], edges[stop])
            for (word, size), stop in zip(places, stops, strict=True)
            if word
        ]
    )


def summary(errors: np.ndarray) -> dict[str, float]:
    """Of absolute errors in seconds."""
    return {
        "median_ms": round(1000 * float(np.median(errors)), 1),
        "mean_ms": round(1000 * float(errors.mean()), 1),
        "p95_ms": round(1000 * float(np.quantile(errors, 0.95)), 1),
        "within_80_ms": round(float((errors <= 0.08).mean()), 4),
    }


@torch.inference_mode()
def main() -> None:
    """Print what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/natural"))
    parser.add_argument("--model", default="mini")
    parser.add_argument("--sentences", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    engine = Engine.load(args.model, device="cpu")
    lm: Any = engine.part(engine.lm_part)
    encoder = TokenEncoder(engine.part("speech_tokenizer"), None, engine.device)
    corpus = Corpus(args.out)
    natural = in_turns(corpus.select("test-natural"))
    rows = (natural or corpus.select("valid", "test-closed", "test-open"))[: args.sentences]
    index = {symbol: i for i, symbol in enumerate(engine.front_end.vocabulary)}  # type: ignore[attr-defined]
    errors: dict[str, list[np.ndarray]] = {"guided head": [], "mean durations": []}
    for s in rows:
        places = spans(s)
        ids = [index[name] for name in s.symbols]
        if natural:
            tokens = corpus.codes(s).tolist()
        else:
            wave = soxr.resample(corpus.audio(s), 24_000, encoder.rate)
            tokens = encoder.encode([wave])[0][0].tolist()
        for way, counts in (
            ("guided head", token_counts(lm, ids, tokens)),
            ("mean durations", stretched(lm.config, ids, len(tokens))),
        ):
            assert counts is not None
            found = timed(places, counts, FRAME * len(tokens))
            times = np.array([(word.start, word.end) for word in found])
            errors[way].append(np.abs(times - known(s, places)).ravel())
    told = {way: summary(np.concatenate(each)) for way, each in errors.items()}
    words = sum(len(s.words) for s in rows)
    print(json.dumps({"sentences": len(rows), "words": words, **told}))


if __name__ == "__main__":
    main()
