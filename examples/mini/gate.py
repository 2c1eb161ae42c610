"""How many words are lost from sound to tokens and back, part by part, on held-out sentences.

    python examples/mini/gate.py --out work/natural --supervised --limit 100

Rows, each through the same vocoder but the first: the recording; its true mel; the mel that the
tokenizer's own decoder makes of the codes, which tells what the codes still hold; and the flow's
mel of them, in the voice of the speaker's last held-out sentence. With `--supervised` the codes are
those of `supervised_codes.py` through the flow, and those that the tokenizer finds, where it has
been taught. Parts are the lessons' own (OUT/tokenizer.pt, OUT/flow.pt, and OUT/vocoder2.pt or the
vocoder of the packed `--vocoder`). Word errors are Whisper base's, the opinion is DNSMOS' with
`--mos`, intervals 95 %, by the bootstrap over sentences; OUT/gate.json has what was heard. A
language model is worth training once the flow's row is at most 10 %.
"""

import argparse
import json
import sys
from collections.abc import Callable
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from dataset import Corpus, Sentence
from judge import span, word_errors
from loop import begin, trained
from sizes import SOURCE_FILTER
from sources import SOURCES, Source, add_source
from torch import Tensor
from train_flow import speaker_features, trained_flow
from train_tokenizer import TokenizerTrainer, plain, trained_tokenizer

from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.engine.judging.bootstrap import Ratio, interval
from mamtra_cli.engine.judging.faster_whisper import FasterWhisper
from mamtra_cli.engine.judging.opinion import open_opinions


class Copies:
    """Mels (1, 80, T) of recordings, by each part."""

    def __init__(self, corpus: Corpus, source: Source) -> None:
        self.corpus, self.source = corpus, source
        self.flow = trained_flow(corpus.folder).eval()
        self.clips = {s.voice: s for s in source.tested}

    @cached_property
    def tokenizer(self) -> TokenizerTrainer:
        """The tokenizer and what it was taught with."""
        return trained_tokenizer(self.corpus.folder).eval()

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
        return self._flowed(s, self._tokens(s)[1])

    def told(self, s: Sentence) -> Tensor:
        """What the flow makes of the codes beside the corpus."""
        return self._flowed(s, torch.from_numpy(self.corpus.codes(s))[None])

    def _flowed(self, s: Sentence, codes: Tensor) -> Tensor:
        vector = self.flow.speaker(speaker_features(self.corpus.audio(self.clips[s.voice]))[None])
        empty = torch.zeros(1, 0, dtype=torch.long)
        return self.flow.flow.inference(codes, empty, torch.zeros(1, 0, 80), vector)

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
    parser.add_argument("--supervised", action="store_true", help="codes that are told")
    parser.add_argument("--row", action="append", help="only this one; may be given again")
    parser.add_argument("--mos", action="store_true", help="DNSMOS of every row too")
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
    (judge,) = open_opinions("dnsmos") if args.mos else (None,)

    def through(mel: Tensor) -> np.ndarray:
        return vocoder(mel, generator=torch.Generator().manual_seed(0))[0].numpy()

    made: dict[str, Callable[[Sentence], np.ndarray]] = {
        "source": corpus.audio,
        "vocoder": lambda s: through(copies.true(s)),
    }
    if args.supervised:
        made["flow"] = lambda s: through(copies.told(s))
        if (args.out / "tokenizer.pt").exists():
            made["tokenizer, flow"] = lambda s: through(copies.flowed(s))
    else:
        made["tokenizer's decoder"] = lambda s: through(copies.decoder(s))
        made["flow"] = lambda s: through(copies.flowed(s))
    chosen = {name: make for name, make in made.items() if name in (args.row or made)}
    texts, told = [s.text for s in rows], {}
    print("| row | WER % |" + " OVRL |" * args.mos + "\n|" + "---|" * (2 + args.mos))
    for name, make in chosen.items():
        waves = [make(s) for s in rows]
        ratio, heard = word_errors(ears, texts, waves)
        cells = [name, f"{100 * ratio.value:.1f} ({span(interval(ratio), 100)})"]
        if args.mos:
            found = [judge.score(np.clip(wave, -1, 1), 24_000)["dnsmos_ovrl"] for wave in waves]
            opinion = Ratio(above=np.array(found), below=np.ones(len(found)))
            cells.append(f"{opinion.value:.2f} ({span(interval(opinion), 1)})")
        print(f"| {' | '.join(cells)} |", flush=True)
        told[name] = [
            {"said": text, "heard": hyp, "errors": errors, "words": words}
            for text, hyp, errors, words in zip(texts, heard, ratio.above, ratio.below, strict=True)
        ]
    about = {"asr": dict(ears.about), "date": date.today().isoformat(), "command": sys.argv}
    (args.out / "gate.json").write_text(json.dumps(about | {"rows": told}, indent=1))


if __name__ == "__main__":
    main()
