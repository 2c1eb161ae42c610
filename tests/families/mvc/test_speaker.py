"""MVC speaks: whole, streamed, steered, in a voice of a clip; without attention or its aligner."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.families.mvc.tiny import write_tiny_mvc
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.source_filter import SourceFilter
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.errors import CheckpointError, PlanError, UsageError
from mamtra_cli.families.registry import family
from mamtra_cli.voices.clip import Clip, measure
from mamtra_cli.voices.voice import Manner, Voice

TEXT = "One small boat drifted slowly across the quiet lake before the evening wind came."


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine.load(str(write_tiny_mvc(tmp_path_factory.mktemp("models"))), device="cpu")


def said(engine: Engine, text: str = TEXT, *words: str, **options: object) -> Tensor:
    manner = Manner(told=words)
    chosen = SpeechOptions(manner=manner, **options)  # type: ignore[arg-type]
    return torch.cat([part.audio for part in speak(engine, text, engine.voice("ann"), chosen)])


def test_flow_and_vocoder_are_those_of_the_other_family(engine: Engine) -> None:
    other = Engine.load(str(engine.folder.with_name("tiny")), device="cpu")
    for part, kind in (("flow", Flow), ("source_filter", SourceFilter)):
        mine, theirs = engine.part(part), other.part(part)
        assert type(mine) is type(theirs) is kind
        pairs = zip(mine.state_dict().items(), theirs.state_dict().items(), strict=True)
        assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_a_look_ahead_that_covers_the_text_streams_the_same_samples(engine: Engine) -> None:
    whole = said(engine)
    assert torch.equal(said(engine, TEXT, "lookahead=60", stream=True), whole)
    assert torch.equal(said(engine, TEXT, "lookahead=none", stream=True), whole)


def test_what_is_beyond_the_look_ahead_changes_no_earlier_sample(engine: Engine) -> None:
    start = "one small boat drifted slowly over the quiet lake"
    one, other = f"{start} before evening came", f"{start} until Saturday"
    ids = [engine.speaker.encode(text) for text in (one, other)]
    same = next(i for i, (a, b) in enumerate(zip(*ids, strict=False)) if a != b)
    voice, speaker = engine.voice("ann"), engine.speaker
    told = speaker.settings(voice, Manner(told=("lookahead=0.5",)))
    made = [list(speaker.made(row, voice, told, stream=True)) for row in ids]
    commit = engine.config.commit
    ahead = int(np.ceil(0.5 * engine.config.conditioner.symbol_rate))
    safe = (same - ahead) // commit
    assert safe >= 1
    for a, b in list(zip(*made, strict=False))[:safe]:
        assert [frame.owner for frame in a.frames] == [frame.owner for frame in b.frames]
        assert all(torch.equal(x.mu, y.mu) for x, y in zip(a.frames, b.frames, strict=True))
    count = sum(len(part.frames) for part in made[0][:safe])
    waves = [said(engine, text, "lookahead=0.5", stream=True) for text in (one, other)]
    sure = (count // 50 - 1) * 50 * 480  # whole windows of the flow, less what the vocoder hears on
    assert sure > 0
    assert torch.equal(waves[0][:sure], waves[1][:sure])


def test_every_phone_has_its_frames(engine: Engine) -> None:
    ids, voice = engine.speaker.encode(TEXT), engine.voice("ann")
    for stream in (False, True):
        parts = list(engine.speaker.made(ids, voice, stream=stream))
        assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
        frames = [frame for part in parts for frame in part.frames]
        counts = engine.speaker.counts(ids, frames, voice, None)
        assert counts is not None
        assert (len(counts), sum(counts)) == (len(ids), len(frames))
        assert min(counts) >= 1
    assert len(parts) > 1


def test_speed_pitch_and_energy_are_steered(engine: Engine) -> None:
    plain = said(engine)
    assert len(said(engine, speed=2.0)) == pytest.approx(len(plain) / 2, rel=0.15)
    for word in ("pitch=+3", "energy=1"):
        steered = said(engine, TEXT, word)
        assert len(steered) == len(plain)
        assert not torch.equal(steered, plain)
    with pytest.raises(UsageError, match="cannot be 99"):
        said(engine, TEXT, "pitch=99")


def test_a_clip_becomes_a_voice_that_only_this_model_takes(engine: Engine, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) / 10
    clip = Clip(samples=noise, rate=24_000, facts=measure(noise[:, None], 24_000))
    voice = engine.speaker.clone(clip, "mine")
    engine.speaker.fits(voice)
    assert len(voice.embedding) == engine.config.voice_dim
    with pytest.raises(CheckpointError, match="numbers"):
        engine.speaker.fits(Voice(name="other", embedding=torch.zeros(192)))


def test_the_conditioner_runs_no_attention_and_no_lstm(engine: Engine) -> None:
    seen: set[str] = set()

    class Trace(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.add(str(func))
            return func(*args, **(kwargs or {}))

    voice = engine.voice("ann")
    ids = engine.speaker.encode(TEXT)
    with Trace():
        list(engine.speaker.made(ids, voice))
    barred = ("attention", "softmax", "lstm", "gru", "rnn")
    assert seen
    assert not [name for name in seen if any(word in name for word in barred)]
    names = {type(module).__name__.lower() for module in engine.part("conditioner").modules()}
    assert not [name for name in names if any(word in name for word in barred)]


def test_it_speaks_where_the_aligner_cannot_be_imported(engine: Engine, tmp_path: Path) -> None:
    words = ["mamtra", "synth", "One.", "-m", str(engine.folder), "-o", str(tmp_path / "a.wav")]
    program = f"""
import sys
sys.modules["mamtra_cli.families.mvc.aligner"] = None
from mamtra_cli.cli.app import main
sys.argv = {words!r}
main()
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert (tmp_path / "a.wav").stat().st_size > 1000


def test_convert_has_nothing_to_exchange(engine: Engine) -> None:
    assert family("mvc").conversion(engine.config) is None
    with pytest.raises(PlanError, match="no layers to exchange"):
        _ = engine.model.conversion  # type: ignore[union-attr]
