"""mini-mvc: a model folder from the trained conditioner; everything else is a packed mini's.

Its voices are those of that mini: the speaker vector that its file has, and the style that the
conditioner hears in sentences of the same voice. Files that the mini of the package has too are
shared with it, by reference; the others are copied. Where that one has got a file anew that fits,
`--refresh` notes what is shared (all that the folder lacks) and writes its own graphs.

    python examples/mini/pack_mvc.py --out work/mini --model work/mini/mini
    python examples/mini/pack_mvc.py --refresh src/mamtra_cli/models/mini-mvc
"""

import argparse
from pathlib import Path

import torch
from dataset import Corpus
from loop import trained
from train_conditioner import KINDS, REFERENCE_FRAMES, Recordings, sizes

from mamtra_cli import config as configs
from mamtra_cli.backbone.decoding.stored_weights import StoredWeights
from mamtra_cli.checkpoint import CONFIG, GRAPH, SUFFIX, FolderWriter, Shared, read_json, sha256
from mamtra_cli.engine.model import Engine
from mamtra_cli.families.mvc.conditioner import Conditioner
from mamtra_cli.families.mvc.config import PRESETS, MVCConfig
from mamtra_cli.families.mvc.graphs import conditioner_graphs
from mamtra_cli.families.phones import LETTERS, LEXICON, SYMBOLS
from mamtra_cli.hub import BUILT_IN
from mamtra_cli.voices.voice import list_voices

SHARED = (
    *("flow.safetensors", "source_filter.safetensors", "speaker_encoder.safetensors"),
    *("flow_estimator.onnx", "source_filter.onnx", SYMBOLS, LEXICON, LETTERS),
)
CLIPS = 24  # that a style is the mean of


def refresh(folder: Path) -> None:
    """Note the files that a folder shares with mini as those are now, and write its own graphs."""
    mini = Engine.load("mini")
    data = read_json(folder / CONFIG)
    lacking = [name for name in SHARED if not (folder / name).exists()]
    data["shares"]["files"] = {name: sha256(mini.folder / name) for name in lacking}
    (folder / CONFIG).write_text(configs.dump_json(data), "utf-8")
    model = Engine.load(str(folder), device="cpu").part("conditioner")
    assert isinstance(model, Conditioner)
    weights = StoredWeights(folder / f"conditioner{SUFFIX}", model)
    for name, graph in conditioner_graphs(model, weights):
        (folder / f"{name}{GRAPH}").write_bytes(graph.SerializeToString())


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--model", default="mini", help="packed mini that it was trained on")
    parser.add_argument("--name", default="conditioner", help="of the trained file")
    parser.add_argument("--preset", default="mini", choices=sorted(PRESETS))
    parser.add_argument("--target", type=Path, help="folder to write, default OUT/mini-mvc")
    parser.add_argument("--storage", default="int8", choices=("int8", "float16", "float32"))
    parser.add_argument("--refresh", type=Path, help="a packed folder; nothing else is done")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.refresh:
        refresh(args.refresh)
        return
    engine = Engine.load(args.model)
    recordings = Recordings(Corpus(args.out), engine)
    rows = recordings.usable(*KINDS)
    config = sizes(recordings, rows, args.preset)
    model = Conditioner(config).eval().requires_grad_(False)
    model.load_state_dict(trained(args.out, args.name))
    mini = engine.config
    whole = MVCConfig(
        conditioner=config,
        mel=mini.mel,
        flow=mini.flow,
        source_filter=mini.source_filter,
        speaker_encoder=mini.speaker_encoder,
    )
    shared = Shared(model="mini", files={})
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
        for name in SHARED:
            if sha256(engine.folder / name) != sha256(BUILT_IN["mini"] / name):
                writer.copy(engine.folder / name, name)
        writer.copy(Path(__file__).with_name("CARD-mvc.md"), "README.md")
    refresh(writer.target)
    total = sum(f.stat().st_size for f in writer.target.rglob("*") if f.is_file())
    print(f"{writer.target}: {total / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
