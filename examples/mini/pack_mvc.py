"""mini-mvc: a model folder from the trained conditioner; everything else is mini's, by reference.

Its voices are those of mini: the speaker vector that mini's file has, and the style that the
conditioner hears in sentences of the same voice.

    python examples/mini/pack_mvc.py --out work/mini
"""

import argparse
from pathlib import Path

import torch
from dataset import Corpus
from train_conditioner import KINDS, REFERENCE_FRAMES, Recordings, sizes

from mamtra_cli import config as configs
from mamtra_cli.checkpoint import FolderWriter, Shared, sha256
from mamtra_cli.engine.model import Engine
from mamtra_cli.families.mvc.conditioner import Conditioner
from mamtra_cli.families.mvc.config import PRESETS, MVCConfig
from mamtra_cli.families.phones import LETTERS, LEXICON, SYMBOLS
from mamtra_cli.voices.voice import list_voices

PARTS = ("flow.safetensors", "source_filter.safetensors", "speaker_encoder.safetensors")
CLIPS = 24  # that a style is the mean of


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--name", default="conditioner", help="of the trained file")
    parser.add_argument("--preset", default="mini", choices=sorted(PRESETS))
    parser.add_argument("--target", type=Path, help="folder to write, default OUT/mini-mvc")
    parser.add_argument("--storage", default="int8", choices=("int8", "float16", "float32"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    engine = Engine.load("mini")
    recordings = Recordings(Corpus(args.out), engine)
    rows = recordings.usable(*KINDS)
    config = sizes(recordings, rows, args.preset)
    model = Conditioner(config).eval().requires_grad_(False)
    model.load_state_dict(torch.load(args.out / f"{args.name}.pt", weights_only=True)["model"])
    mini = engine.config
    whole = MVCConfig(
        conditioner=config,
        mel=mini.mel,
        flow=mini.flow,
        source_filter=mini.source_filter,
        speaker_encoder=mini.speaker_encoder,
    )
    names = (*PARTS, SYMBOLS, LEXICON, LETTERS)
    shared = Shared(model="mini", files={name: sha256(engine.folder / name) for name in names})
    with FolderWriter(args.target or args.out / "mini-mvc", force=True) as writer:
        writer.write_tensors(
            "conditioner.safetensors", model.state_dict().items(), storage=args.storage
        )
        writer.write_config("mvc", configs.to_dict(whole), shared)
        for name in list_voices(engine.folder):
            voice = engine.voice(name)
            mels = [
                torch.from_numpy(recordings.corpus.mel(s))[:REFERENCE_FRAMES]
                for s in rows
                if s.voice == name
            ][:CLIPS]
            style = torch.stack([model.style(mel[None])[0] for mel in mels]).mean(0)
            writer.write_tensors(
                f"voices/{name}.safetensors",
                [("embedding", torch.cat((voice.embedding, style)))],
                metadata=dict(voice.metadata),
            )
        writer.copy(Path(__file__).with_name("CARD-mvc.md"), "README.md")
    total = sum(f.stat().st_size for f in writer.target.rglob("*") if f.is_file())
    print(f"{writer.target}: {total / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
