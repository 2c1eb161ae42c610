"""Stage 6b: the flow's own mels of some batches, for the last lesson of the vocoder.

Teacher forcing for the vocoder: the mel that the flow makes of a sentence's true tokens lies on
the time axis of the true speech, so the vocoder can learn to repair what the flow blurs.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from dataset import SPED, TOLD, Corpus, Sentence
from rich.progress import track
from sources import SOURCES, add_source
from train_flow import speaker_features, trained_flow


@torch.inference_mode()
def main() -> None:
    """Write BATCH.flowmel.npy for the first batches of every kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--threads", type=int, default=1)
    add_source(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    corpus = Corpus(args.out)
    model = trained_flow(args.out).eval()
    groups: dict[Path, list[Sentence]] = {}
    for s in (s for s in corpus.sentences if s.kind not in (TOLD, SPED)):
        groups.setdefault(s.batch, []).append(s)
    chosen = []
    for prefix, n in SOURCES[args.source](corpus).flowed.items():
        chosen += sorted(p for p in groups if p.name.startswith(prefix))[:n]
    empty = torch.zeros(1, 0, dtype=torch.long)
    for path in track(chosen, description="mels"):
        rows, mels = groups[path], []
        for s, other in zip(rows, [*rows[1:], rows[0]], strict=True):
            vector = model.speaker(speaker_features(corpus.audio(other))[None])
            codes = torch.from_numpy(corpus.codes(s))[None]
            made = model.flow.inference(codes, empty, torch.zeros(1, 0, 80), vector)
            mels.append(made[0].T.half().numpy())
        np.save(path.with_suffix(".flowmel.npy"), np.concatenate(mels))


if __name__ == "__main__":
    main()
