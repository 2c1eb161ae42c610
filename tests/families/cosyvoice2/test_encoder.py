"""Batched tokenisation gives each clip what it gets alone, in bounded batches."""

import numpy as np
import pytest
import torch
from tests.engine.tiny import tiny_engine
from tests.sounds import buzz

from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.preparing.audio_rows import open_encoder
from mamtra_cli.errors import CheckpointError
from mamtra_cli.families.cosyvoice2.encoder import TokenEncoder

SECONDS = (0.5, 2.31, 0.04, 1.0, 1.0, 3.2, 0.77)


@pytest.fixture(scope="module")
def mini() -> Engine:
    return Engine.load("mini", device="cpu", dtype="float32")


def encoder(engine: Engine, frames: int) -> TokenEncoder:
    parts = engine.part("speech_tokenizer"), engine.part("speaker_encoder")
    return TokenEncoder(*parts, engine.device, frames=frames)


def waves() -> list[np.ndarray]:
    return [buzz(seconds, seed, 16_000) for seed, seconds in enumerate(SECONDS)]


@pytest.mark.parametrize("frames", [1, 400, 12_000])
def test_tokens_of_a_batch_are_those_of_each_clip_alone(mini: Engine, frames: int) -> None:
    alone = [open_encoder(mini).encode([wave])[0] for wave in waves()]
    together = encoder(mini, frames).encode(waves())
    for (tokens, speaker), (wanted, vector) in zip(together, alone, strict=True):
        assert tokens.tolist() == wanted.tolist()
        assert speaker is not None
        assert vector is not None
        np.testing.assert_allclose(speaker, vector, rtol=1e-4, atol=1e-4)


def test_tokens_come_at_25_a_second_and_lie_in_the_codebook(mini: Engine) -> None:
    for seconds, (tokens, speaker) in zip(SECONDS, open_encoder(mini).encode(waves()), strict=True):
        assert abs(len(tokens) - 25 * seconds) <= 1
        assert 0 <= tokens.min() <= tokens.max() < 1225
        assert speaker is not None
        assert speaker.shape == (192,)


def test_a_batch_holds_no_more_frames_than_asked(
    mini: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = encoder(mini, 400)
    sizes = []
    encode = watching.tokenizer.encode

    def watched(mel: torch.Tensor, lens: torch.Tensor) -> object:
        sizes.append((mel.shape[0], mel.shape[0] * mel.shape[2]))
        return encode(mel, lens)

    monkeypatch.setattr(watching.tokenizer, "encode", watched)
    watching.encode(waves())
    assert len(sizes) > 1
    assert all(frames <= 400 for _, frames in sizes)


def test_a_model_without_tokenizer_says_what_to_do() -> None:
    with pytest.raises(CheckpointError, match="no speech tokenizer") as caught:
        open_encoder(tiny_engine())
    assert "--synthetic" in str(caught.value.hint)
