"""Put a newly trained vocoder into a packed model; every other file stays as it is.

python examples/mini/swap_vocoder.py --model OLD --vocoder work/mini/vocoder2.pt --target NEW
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from sizes import SOURCE_FILTER

from mamtra_cli import config as configs
from mamtra_cli.checkpoint import FolderWriter
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.families import registry

CONFIG, VOCODERS = "config.json", ("hift.safetensors", "source_filter.safetensors")


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder to take the rest from")
    parser.add_argument("--vocoder", type=Path, required=True, help="of train_vocoder.py")
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--storage", default="int8", choices=("int8", "float16", "float32"))
    args = parser.parse_args()
    vocoder = SourceFilter(SOURCE_FILTER)
    vocoder.load_state_dict(torch.load(args.vocoder, weights_only=True)["model"])
    model = registry.open_model(args.model)
    config = replace(model.config, source_filter=SOURCE_FILTER)
    kept = [path for path in sorted(args.model.rglob("*")) if path.is_file()]
    with FolderWriter(args.target, force=True) as writer:
        writer.write_tensors(VOCODERS[1], vocoder.state_dict().items(), storage=args.storage)
        writer.write_config(model.family.name, configs.to_dict(config))
        for path in kept:
            name = path.relative_to(args.model).as_posix()
            if name not in (CONFIG, *VOCODERS):
                writer.copy(path, name)


if __name__ == "__main__":
    main()
