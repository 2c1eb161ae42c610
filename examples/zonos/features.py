"""Stage 3: what the language model learns from: frames, voices and pitch of every sentence.

A sentence's vector is that of its own sound. How lively it is, is the deviation of the pitch in Hz
that the vocoder finds where it is voiced. Everything is kept in one file.
"""

import argparse
from pathlib import Path

import torch
from rich.progress import track
from sentences import read
from sizes import SPEAKER
from train_codec import CodecTrainer
from train_speaker import RATE

from mamtra_cli.codecs.flow_hift.source_filter import PITCH_ZERO
from mamtra_cli.families.zonos.speaker_encoder import SpeakerEncoder, clip_mels

KINDS = ("closed", "open", "strings", "natural", "valid", "test-natural")
VOICES = ("f1", "n1", "n2", "n3", "n4")


def weights(path: Path, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors of a part in what `loop.train` left."""
    saved = torch.load(path, weights_only=True)["model"]
    return {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}


def main() -> None:
    """Compute what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, default=Path("work/zonos-small"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    codec, speaker = CodecTrainer().codec, SpeakerEncoder(SPEAKER)
    codec.load_state_dict(weights(args.out / "codec.pt", "codec."))
    speaker.load_state_dict(weights(args.out / "speaker.pt", "encoder."))
    codec.eval()
    speaker.eval()
    kept = args.out / "features.pt"
    found = torch.load(kept, weights_only=True) if kept.exists() else {}
    rows = read(args.corpus, args.out / "phones.json", KINDS)
    rows = [
        each for each in rows if each.sentence.voice in VOICES and each.sentence.id not in found
    ]
    with torch.inference_mode():
        for each in track(rows, "features"):
            wave = each.wave()
            mel = codec.mel(wave[None])
            voicing, pitch = codec.vocoder.pitch_of(mel)
            hertz = PITCH_ZERO * torch.exp2(pitch[voicing > 0])
            found[each.sentence.id] = {
                "codes": codec.quantizer.encode(codec.latent(mel))[0].T.short().clone(),
                "voice": speaker(clip_mels(wave, RATE, SPEAKER.n_mels)[None])[0].clone(),
                "pitch_std": float(hertz.std()) if len(hertz) > 1 else 0.0,
            }
    torch.save(found, kept)


if __name__ == "__main__":
    main()
