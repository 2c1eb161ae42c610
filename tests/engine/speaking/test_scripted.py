"""Segments: pauses of their length, voices and rates in turn, and one plain segment as ever."""

from dataclasses import replace

import pytest
import torch
from tests.engine.tiny import tiny_engine, tiny_voice

from mamtra_cli.engine.decoding.guards import GuardLimits
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.pieces import Chunk
from mamtra_cli.engine.speaking.scripted import Reader, speak_read
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.errors import TextError, UsageError
from mamtra_cli.ops.sampling import Sampling
from mamtra_cli.text.respelling import Respelling
from mamtra_cli.text.segments import Script, Segment
from mamtra_cli.text.signs import Sieve, pictorial
from mamtra_cli.voices.voice import Manner, Voice

OPEN = GuardLimits(equal_run=1000, loop_span=1000, min_share=0.0, max_share=1000.0, silence_rms=0.0)
OPTIONS = SpeechOptions(limits=OPEN, sampling=Sampling(), retries=20, silence=0.1)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


def spoken(engine: Engine, *segments: Segment) -> list[Chunk]:
    asked: list[str] = []

    def voices(name: str) -> tuple[Voice, Manner]:
        asked.append(name)
        voice = tiny_voice()
        return voice, engine.speaker.settings(voice)

    reader = Reader(engine, voices)
    return list(speak_read(reader, reader.pieces(Script(segments=segments)), OPTIONS))


def test_one_plain_segment_is_spoken_as_its_text(engine: Engine) -> None:
    voice = tiny_voice()
    options = replace(OPTIONS, manner=engine.speaker.settings(voice))
    whole = torch.cat([c.audio for c in speak(engine, "one two. three.", voice, options)])
    script = torch.cat([c.audio for c in spoken(engine, Segment(text="one two. three."))])
    torch.testing.assert_close(script, whole, rtol=0, atol=0)


def test_a_pause_lasts_as_long_as_it_says(engine: Engine) -> None:
    chunks = spoken(engine, Segment(text="one."), Segment(pause=0.3), Segment(text="two."))
    gaps = [len(c.audio) for c in chunks if not c.audio.any()]
    assert round(0.3 * engine.sample_rate) in gaps
    assert round(OPTIONS.silence * engine.sample_rate) not in gaps


def test_segments_of_two_voices_are_parted_by_the_usual_silence(engine: Engine) -> None:
    chunks = spoken(engine, Segment(text="one.", voice="a"), Segment(text="two.", rate=2.0))
    assert sum(chunk.piece is not None for chunk in chunks) == 2
    assert round(OPTIONS.silence * engine.sample_rate) in [len(c.audio) for c in chunks]


def test_what_cannot_be_is_told_before_any_sound(engine: Engine) -> None:
    reader = Reader(engine, lambda name: (tiny_voice(), None))
    with pytest.raises(TextError, match="empty"):
        reader.whole("[pause:1s]", Sieve(pictorial))
    with pytest.raises(UsageError, match="outside"):
        spoken(engine, Segment(text="one.", rate=5.0))


def test_parts_of_a_text_go_on_in_its_voice_and_keep_its_pauses(engine: Engine) -> None:
    def voices(name: str) -> tuple[Voice, None]:
        return replace(tiny_voice(), name=name), None

    sentences = ["one.", "[voice:a] two.", "[pause:1s]", "three.", "[/voice] four.", "[pause:2s]"]
    parts, whole = Reader(engine, voices), Reader(engine, voices)
    found = [piece for sentence in sentences for piece in parts.part(sentence)]
    same = whole.whole(" ".join(sentences), Sieve(pictorial))
    assert [(p.text.strip(), p.voice.name, p.pause) for p in found] == [
        (p.text.strip(), p.voice.name, p.pause) for p in same
    ]
    assert [(p.voice.name, p.pause) for p in found] == [
        ("", None), ("a", None), ("a", 1.0), ("", None)
    ]  # fmt: skip
    assert parts.silence == whole.silence == 2.0
    with pytest.raises(TextError, match="whole"):
        parts.part("<speak>one.")


def test_a_lexicon_is_heard(engine: Engine) -> None:
    reader = Reader(engine, lambda name: (tiny_voice(), None), lexicon=Respelling.parse("ab = one"))
    (piece,) = reader.whole("ab.", Sieve(pictorial))
    assert list(piece.ids) == engine.encode("one.")
