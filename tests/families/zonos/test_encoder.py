"""Clips become frames and voices that do not depend on their company."""

import numpy as np
import torch
from tests.families.zonos.tiny import CODEC, SPEAKER

from mamtra_cli.codecs.dac.model import Dac
from mamtra_cli.families.zonos.encoder import FrameEncoder
from mamtra_cli.families.zonos.family import FAMILY
from mamtra_cli.families.zonos.speaker_encoder import SpeakerEncoder

torch.manual_seed(0)
PARTS = {"codec": Dac(CODEC).eval(), "speaker": SpeakerEncoder(SPEAKER).eval()}


def test_clips_become_nine_ids_a_frame_and_a_voice() -> None:
    encoder = FAMILY.encoder(None, PARTS.__getitem__, PARTS, torch.device("cpu"))  # type: ignore[arg-type]
    assert isinstance(encoder, FrameEncoder)
    draw = np.random.default_rng(0)
    waves = [draw.normal(size=size).astype(np.float32) / 9 for size in (4000, encoder.least, 900)]
    together = encoder.encode(waves)
    for wave, (ids, voice) in zip(waves, together, strict=True):
        assert len(ids) == 9 * CODEC.padded(len(wave)) // CODEC.hop
        assert ids.max() < CODEC.codes
        assert voice is not None
        assert voice.shape == (SPEAKER.lda,)
        [(alone, same)] = encoder.encode([wave])
        assert np.array_equal(ids, alone)
        assert np.array_equal(voice, same)


def test_without_a_speaker_encoder_voices_are_none() -> None:
    encoder = FAMILY.encoder(None, PARTS.__getitem__, ["codec"], torch.device("cpu"))  # type: ignore[arg-type]
    assert encoder is not None
    assert encoder.encode([np.zeros(800, np.float32)])[0][1] is None
    assert FAMILY.encoder(None, PARTS.__getitem__, ["lm"], torch.device("cpu")) is None  # type: ignore[arg-type]
