"""Stage 5: one model folder from the trained parts, with a voice for each speaker it learned.

A voice is the mean vector of its first sentences. `mamtra synth -m FOLDER` speaks with the folder.
"""

import argparse
import json
from pathlib import Path

import torch
from features import VOICES, weights
from sizes import SPEAKER, small
from train_codec import CodecTrainer
from train_lm import LMTrainer

from mamtra_cli import config as configs
from mamtra_cli.checkpoint import FolderWriter
from mamtra_cli.families.zonos.speaker_encoder import SpeakerEncoder

CLIPS = 200
DESCRIPTIONS = {
    "f1": "US English, synthetic, clear",
    "n1": "US English, natural, a woman",
    "n2": "US English, natural, a man",
    "n3": "US English, natural, a woman",
    "n4": "US English, natural, a man",
}


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/zonos-small"))
    parser.add_argument("--voice", action="append", help="of these alone (default: all)")
    parser.add_argument("--target", type=Path, help="folder to write, default OUT/model")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = small(tuple(json.loads((args.out / "durations.json").read_text("utf-8"))))
    lm, codec = LMTrainer(config.lm.durations).lm, CodecTrainer().codec
    speaker = SpeakerEncoder(SPEAKER)
    lm.load_state_dict(weights(args.out / "lm.pt", "lm."))
    codec.load_state_dict(weights(args.out / "codec.pt", "codec."))
    speaker.load_state_dict(weights(args.out / "speaker.pt", "encoder."))
    found = torch.load(args.out / "features.pt", weights_only=True)
    with FolderWriter(args.target or args.out / "model", force=True) as writer:
        for name, part in {"lm": lm, "codec": codec, "speaker": speaker}.items():
            state = part.state_dict()
            writer.write_tensors(f"{name}.safetensors", state.items(), storage="float32")
        writer.write_config("zonos", configs.to_dict(config))
        for voice in args.voice or VOICES:
            rows = [row["voice"] for name, row in found.items() if name.startswith(f"{voice}-")]
            if not rows:
                continue
            writer.write_tensors(
                f"voices/{voice}.safetensors",
                [("embedding", torch.stack(rows[:CLIPS]).mean(0))],
                metadata={"name": voice, "description": DESCRIPTIONS[voice]},
            )
    print(writer.target)


if __name__ == "__main__":
    main()
