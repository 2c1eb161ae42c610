"""Stage 7: one model folder from the trained parts, compressed to int8 rows.

Folds the language model's factored tables, averages a speaker vector for every voice over
VOICE_CLIPS sentences, and writes the folder that `mamtra synth --model` speaks with, its graphs
among the files (for a folder that is there: `mamtra export DIR -o OTHER`, and copy its `*.onnx`).
"""

import argparse
import json
from pathlib import Path

import torch
from dataset import Corpus
from loop import begin, trained
from sizes import SOURCE_FILTER, mini
from sources import SOURCES, add_source
from train_flow import speaker_features, trained_flow
from train_lm import trained_lm
from train_tokenizer import trained_tokenizer

from mamtra_cli import config as configs
from mamtra_cli.checkpoint import FolderWriter
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.engine.loading.exporting import compare, write_graphs
from mamtra_cli.engine.model import Engine

FRONT_END = ("lexicon.txt.xz", "symbols.json", "letter_to_sound.safetensors")
VOICE_CLIPS = 24


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--front-end", type=Path, required=True, help="folder of its three files")
    parser.add_argument("--target", type=Path, help="folder to write, default OUT/mini")
    parser.add_argument("--vocoder", metavar="MODEL", help="packed model whose vocoder it gets")
    add_source(parser)
    parser.add_argument("--storage", default="int8", choices=("int8", "float16", "float32"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = tuple(json.loads((args.out / "durations.json").read_text()))
    corpus = Corpus(args.out)
    source = SOURCES[args.source](corpus)
    config = mini(table, natural=source.natural)
    symbols = json.loads((args.front_end / "symbols.json").read_text())

    lm = trained_lm(args.out, config.lm, len(symbols))
    flow = trained_flow(args.out).eval()
    vocoder = SourceFilter(SOURCE_FILTER)
    if args.vocoder:
        begin(args.vocoder, {"source_filter": vocoder})
    else:
        vocoder.load_state_dict(trained(args.out, "vocoder2"))
    parts = {
        "lm": lm.folded(),
        "flow": flow.flow,
        "source_filter": vocoder,
        "speaker_encoder": flow.speaker,
        "speech_tokenizer": trained_tokenizer(args.out).tokenizer,
    }
    with FolderWriter(args.target or args.out / "mini", force=True) as writer:
        for name, part in parts.items():
            state = part.state_dict()
            writer.write_tensors(f"{name}.safetensors", state.items(), storage=args.storage)
        writer.write_config("cosyvoice2", configs.to_dict(config))
        for name in FRONT_END:
            writer.copy(args.front_end / name, name)
        for voice, speaker, description in source.voices:
            known = [s for s in source.main + source.others if s.voice == speaker]
            vectors = []
            with torch.inference_mode():
                for s in [s for s in known if s.tokens > 50][:VOICE_CLIPS]:
                    vectors.append(flow.speaker(speaker_features(corpus.audio(s))[None])[0])
            writer.write_tensors(
                f"voices/{voice}.safetensors",
                [("embedding", torch.stack(vectors).mean(0))],
                metadata={"name": voice, "description": description},
            )
        card = Path(__file__).with_name("CARD.md")
        if card.exists():
            writer.copy(card, "README.md")
        engine = Engine.load(str(writer.path), device="cpu")
        write_graphs(engine, writer.path)
        print(compare(engine, writer.path))
    total = sum(f.stat().st_size for f in writer.target.rglob("*") if f.is_file())
    print(f"{writer.target}: {total / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
