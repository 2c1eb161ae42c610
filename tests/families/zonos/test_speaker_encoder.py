"""The speaker encoder against the published one, and its full size against the published names."""

import json
from pathlib import Path

import torch
from tests.families.zonos.golden import read, under

from mamtra_cli.families.zonos.config import SpeakerConfig
from mamtra_cli.families.zonos.speaker_encoder import SpeakerEncoder, clip_mels
from mamtra_cli.features import resample_sinc


def test_voice_vectors_are_the_published_ones(goldens: Path) -> None:
    info, tensors = read(goldens, "speaker_tiny")
    config = SpeakerConfig(
        width=info["in_planes"],
        blocks=tuple(info["blocks"]),
        n_mels=info["acoustic_dim"],
        dim=info["embd_dim"],
        lda=info["lda_out"],
    )
    model = SpeakerEncoder(config).eval()
    lda = {f"lda.{name}": value for name, value in under(tensors, "lda.").items()}
    model.load_state_dict({**under(tensors, "w."), **lda})
    mels = clip_mels(tensors["in.wav16k"], 16_000, config.n_mels)
    torch.testing.assert_close(mels, tensors["mid.fbank"], atol=2e-3, rtol=0)
    slow = resample_sinc(tensors["in.wav24k"], 24_000, 16_000)
    torch.testing.assert_close(slow, tensors["mid.wav24k_resampled_16k"], atol=1e-4, rtol=0)
    with torch.no_grad():
        expected = {"embedding": model.embedding(mels), "lda": model(mels)}
        front = model.front(mels[:, None])
    torch.testing.assert_close(front, tensors["mid.front"], atol=1e-4, rtol=0)
    for name, value in expected.items():
        torch.testing.assert_close(value, tensors[f"out.{name}"], atol=1e-4, rtol=0)


def test_full_size_has_the_published_tensors(goldens: Path) -> None:
    manifest = json.loads((goldens / "zonos/manifest_speaker.json").read_text("utf-8"))
    with torch.device("meta"):
        model = SpeakerEncoder(SpeakerConfig())
    own = {name: list(value.shape) for name, value in model.state_dict().items()}
    lda = manifest["files"]["ResNet293_SimAM_ASP_base_LDA-128.pt"]
    published = {name: told["shape"] for name, told in manifest["tensors"].items()}
    assert own == published | {f"lda.{name}": shape for name, shape in lda.items()}
