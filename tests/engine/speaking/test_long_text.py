"""A long text: spoken in order, joined without jumps, and holding no more the longer it gets."""

import gc
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.engine.speaking.test_speech import OPTIONS
from tests.engine.tiny import tiny_config, tiny_engine, tiny_voice
from torch import Tensor

from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.text.sentences import closed

SENTENCES = [text for text in closed(7, 32) if text.endswith(".") and len(text) < 60][:12]
LONG = replace(OPTIONS, silence=0.05, steps=1)


@pytest.fixture(scope="module")
def engine() -> Engine:
    """It speaks a token a letter: the end is masked before, and certain then."""
    made, eos = tiny_engine(), tiny_config().lm.eos_id
    made.part("lm").llm_decoder.bias[eos:] = -30.0
    made.part("lm").llm_decoder.bias[eos] = 30.0
    return made


def held() -> int:
    """Bytes of all tensors that are alive in this process; shared storage counts once."""
    storages = {
        value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()
        for value in gc.get_objects()
        if type(value) in (Tensor, torch.nn.Parameter)
    }
    return sum(storages.values())


@dataclass
class Spoken:
    """A long text: texts and sounds (S,) of its pieces, and tensor bytes held at each pause."""

    texts: list[str] = field(default_factory=list)
    sounds: list[NDArray[np.float32]] = field(default_factory=list)
    held: list[int] = field(default_factory=list)


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "stream"])
def spoken(request: pytest.FixtureRequest, engine: Engine) -> Spoken:
    """All sentences as one text. Sound is kept as arrays, so that it is no tensor held."""
    got, parts = Spoken(), []
    pause = round(LONG.silence * engine.sample_rate)
    options = replace(LONG, stream=request.param)
    for chunk in speak(engine, " ".join(SENTENCES), tiny_voice(8), options):
        if not parts and len(got.held) < len(got.sounds):
            assert len(chunk.audio) == pause
            assert not chunk.audio.any()
            got.held.append(held())
            continue
        parts.append(chunk.audio.numpy().copy())
        if chunk.piece is not None:
            got.texts.append(chunk.piece.text)
            got.sounds.append(np.concatenate(parts))
            parts = []
    assert not parts
    return got


def test_every_sentence_of_a_long_text_is_spoken_in_order(engine: Engine, spoken: Spoken) -> None:
    """Each piece sounds as it does alone; only the noise of its source is another."""
    assert spoken.texts == engine.speaker.pieces(" ".join(SENTENCES))
    assert spoken.texts == SENTENCES
    for number in (0, 6, 11):
        options = replace(LONG, seed=LONG.seed + number)
        alone = speak(engine, spoken.texts[number], tiny_voice(8), options)
        want = torch.cat([chunk.audio for chunk in alone]).numpy()
        got = spoken.sounds[number]
        assert got.shape == want.shape == (960 * len(SENTENCES[number]),)
        assert np.corrcoef(got, want)[0, 1] > 0.95


def test_pieces_of_a_long_text_begin_and_end_in_the_silence_between(spoken: Spoken) -> None:
    loudest = max(np.abs(sound).max() for sound in spoken.sounds)
    ends = [sound[place] for sound in spoken.sounds for place in (0, -1)]
    assert np.abs(ends).max() < 1e-3 * loudest


def test_what_is_held_between_pieces_does_not_add_up(spoken: Spoken) -> None:
    """Prompts, caches, windows and sound of a piece are gone when the next one begins."""
    assert len(spoken.held) == len(SENTENCES) - 1
    smallest = min(sound.nbytes for sound in spoken.sounds)
    assert smallest > 80_000
    by_length: dict[int, set[int]] = {}
    for text, held in zip(spoken.texts[1:], spoken.held, strict=True):
        by_length.setdefault(len(text), set()).add(held)
    # Only the next prompt is there, of one length or another.
    assert all(len(several) == 1 for several in by_length.values())
    assert len(by_length) < len(spoken.held) - 3
    assert max(spoken.held) - min(spoken.held) < smallest
