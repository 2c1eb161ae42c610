"""How many words are lost from sound to tokens and back, part by part, on held-out sentences.

    python examples/mini/gate.py --source natural --out work/natural --limit 100

Rows, each through the same vocoder but the first: the recording; its true mel; the mel that the
tokenizer's own decoder makes of the codes, which tells what the codes still hold; and the flow's
mel of them, in the voice of the speaker's last held-out sentence. Parts are the lessons' own
(OUT/tokenizer.pt, OUT/flow.pt, and OUT/vocoder2.pt or the vocoder of the packed `--vocoder`). Word
errors are Whisper base's, intervals 95 %, by the bootstrap over sentences; OUT/gate.json has what
was heard. A language model is worth training once the last row is at most 10 %.
"""

import argparse
import json
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch
from dataset import Corpus, Sentence
from judge import span, word_errors
from loop import begin, trained
from sizes import SOURCE_FILTER
from sources import SOURCES, Source, add_source
from torch import Tensor
from train_flow import FlowTrainer, speaker_features
from train_tokenizer import plain, trained_tokenizer

from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.engine.judging.bootstrap import interval
from mamtra_cli.engine.judging.faster_whisper import FasterWhisper


class Copies:
    """Mels (1, 80, T) of recordings, by each part."""

    def __init__(self, corpus: Corpus, source: Source) -> None:
        self.corpus, self.source = corpus, source
        self.tokenizer = trained_tokenizer(corpus.folder).eval()
        self.flow = FlowTrainer().eval()
        self.flow.load_state_dict(trained(corpus.folder, "flow"))
        self.clips = {s.voice: s for s in source.tested}

    def true(self, s: Sentence) -> Tensor:
        """What was recorded."""
        return torch.from_numpy(self.corpus.mel(s)).T[None]

    def decoder(self, s: Sentence) -> Tensor:
        """What the tokenizer's decoder makes of its codes."""
        digits = self._tokens(s)[0]
        row = torch.tensor([self.source.rows[s.voice]])
        return plain(self.tokenizer.decode(digits, row)).transpose(1, 2)

    def flowed(self, s: Sentence) -> Tensor:
        """What the flow makes of the codes."""
        vector = self.flow.speaker(speaker_features(self.corpus.audio(self.clips[s.voice]))[None])
        empty = torch.zeros(1, 0, dtype=torch.long)
        return self.flow.flow.inference(self._tokens(s)[1], empty, torch.zeros(1, 0, 80), vector)

    def _tokens(self, s: Sentence) -> tuple[Tensor, Tensor]:
        logmel = torch.from_numpy(self.corpus.logmel(s)).T[None]
        found = self.tokenizer.tokenizer(logmel, torch.tensor([logmel.shape[-1]]))
        return found.digits[:, : s.tokens], found.codes[:, : s.tokens]


@torch.inference_mode()
def main() -> None:
    """Print the table, and write what was heard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    add_source(parser)
    parser.add_argument("--vocoder", metavar="MODEL", help="packed model whose vocoder speaks")
    parser.add_argument("--limit", type=int, default=100, help="sentences")
    args = parser.parse_args()
    torch.set_num_threads(1)
    corpus = Corpus(args.out)
    source = SOURCES[args.source](corpus)
    rows, copies = source.tested[: args.limit], Copies(corpus, source)
    vocoder, ears = SourceFilter(SOURCE_FILTER).eval(), FasterWhisper("whisper-base")
    if args.vocoder:
        begin(args.vocoder, {"source_filter": vocoder})
    else:
        vocoder.load_state_dict(trained(args.out, "vocoder2"))

    def through(mel: Tensor) -> np.ndarray:
        return vocoder(mel, generator=torch.Generator().manual_seed(0))[0].numpy()

    made: dict[str, Callable[[Sentence], np.ndarray]] = {
        "source": corpus.audio,
        "vocoder": lambda s: through(copies.true(s)),
        "tokenizer's decoder": lambda s: through(copies.decoder(s)),
        "flow": lambda s: through(copies.flowed(s)),
    }
    texts, told = [s.text for s in rows], {}
    print("| row | WER % |\n|---|---|")
    for name, make in made.items():
        ratio, heard = word_errors(ears, texts, [make(s) for s in rows])
        print(f"| {name} | {100 * ratio.value:.1f} ({span(interval(ratio), 100)}) |", flush=True)
        told[name] = [
            {"said": text, "heard": hyp, "errors": errors, "words": words}
            for text, hyp, errors, words in zip(texts, heard, ratio.above, ratio.below, strict=True)
        ]
    about = {"asr": dict(ears.about), "date": date.today().isoformat(), "command": sys.argv}
    (args.out / "gate.json").write_text(json.dumps(about | {"rows": told}, indent=1))


if __name__ == "__main__":
    main()
