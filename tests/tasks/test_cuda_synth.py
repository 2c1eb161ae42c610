"""Commands that speak, on a GPU: what they make is what the processor makes.

On a pretended device (tests/pretended_cuda.py), so that machines without one notice.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.pretended_cuda import pretended_cuda
from tests.sounds import speech, write, write_sound
from tests.tasks.test_evaluate import stop_early
from tests.tiny_model import tiny_config, write_tiny_model

from mamtra_cli.codecs.flow_hift.flow import Flow
from mamtra_cli.codecs.flow_hift.hift import HiFT
from mamtra_cli.codecs.flow_hift.token2wav import VoicePrompt
from mamtra_cli.engine.judging.similarity import OwnEncoder
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.preparing.shards import read_rows
from mamtra_cli.engine.speaking.arrival import speak_arriving
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak_frames
from mamtra_cli.families.cosyvoice2.family import FAMILY
from mamtra_cli.families.cosyvoice2.official.token2wav import OfficialTokenToWave
from mamtra_cli.recipes import (
    ConvertRecipe,
    DoctorRecipe,
    PrepareRecipe,
    ProfileRecipe,
    SynthRecipe,
    VoiceAddRecipe,
)
from mamtra_cli.recording import decode_file
from mamtra_cli.tasks.convert import convert
from mamtra_cli.tasks.doctor import doctor
from mamtra_cli.tasks.prepare import prepare
from mamtra_cli.tasks.profile import profile
from mamtra_cli.tasks.synth import synth
from mamtra_cli.tasks.voice import add_voice
from mamtra_cli.voices.voice import load_voice

TEXT = "The old clock was slow."


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a hybrid of it, and voices kept by each device."""
    folder = tmp_path_factory.mktemp("models")
    write_tiny_model(folder / "tiny", copies=True)
    stop_early(folder / "tiny" / "lm.safetensors")
    convert(
        ConvertRecipe(
            placement="block-begin",
            teacher=str(folder / "tiny"),
            output=folder / "hybrid",
            calibrate="none",
            check_tokens=0,
            device="cpu",
        )
    )
    clip = write(folder / "clip.wav", speech(3.2))
    voice = VoiceAddRecipe(
        clip=clip, text=TEXT, consent="Ann agreed.", voices=folder / "voices", prefill=True
    )
    for model in ("tiny", "hybrid"):
        recipe = replace(voice, model=str(folder / model))
        add_voice(replace(recipe, name=f"{model}-cpu", device="cpu", dtype="bfloat16"))
        with pretended_cuda():
            add_voice(replace(recipe, name=f"{model}-cuda"))
    return folder


def spoken(models: Path, output: Path, **knobs: Any) -> np.ndarray:
    recipe = SynthRecipe(
        text="It was late.",
        output=str(output),
        model=str(models / "hybrid"),
        voices=models / "voices",
        retries=9,
    )
    synth(replace(recipe, **knobs))
    return decode_file(output)[0]


@pytest.mark.parametrize(
    ("voice", "stream"), [("ann", False), ("hybrid-cpu", True)], ids=["whole", "stream"]
)
def test_speech_is_the_processors(models: Path, tmp_path: Path, voice: str, stream: bool) -> None:
    knobs = {"voice": voice, "stream": stream, "dtype": "float32", "speed": 1.2}
    here = spoken(models, tmp_path / "here.wav", device="cpu", **knobs)
    with pretended_cuda():
        there = spoken(models, tmp_path / "there.wav", device="auto", **knobs)
    assert here.shape == there.shape
    assert np.abs(here - there).max() < 1e-3


@pytest.mark.parametrize("voice", ["tiny-cpu", "tiny-cuda", "hybrid-cpu", "hybrid-cuda"])
def test_kept_states_go_from_device_to_device(models: Path, tmp_path: Path, voice: str) -> None:
    model = str(models / voice.split("-")[0])
    knobs = {"voice": voice, "model": model, "dtype": "bfloat16", "zero_shot": True}
    if voice.endswith("cuda"):
        assert len(spoken(models, tmp_path / "here.wav", device="cpu", **knobs))
    with pretended_cuda():
        assert len(spoken(models, tmp_path / "there.wav", **knobs))


def test_voices_of_both_devices_are_alike(models: Path) -> None:
    here, there = (
        load_voice(models / "voices" / f"tiny-{name}.safetensors") for name in ("cpu", "cuda")
    )
    assert torch.equal(here.prompt_tokens, there.prompt_tokens)
    torch.testing.assert_close(here.embedding, there.embedding)
    torch.testing.assert_close(here.prompt_mel, there.prompt_mel)


def test_judge_of_voices_hears_on_the_device(models: Path) -> None:
    wave = speech(1.0).astype(np.float32)

    def judged(device: str) -> np.ndarray:
        return OwnEncoder(Engine.load(str(models / "tiny"), device=device)).embed(wave, 16_000)

    here = judged("cpu")
    with pretended_cuda():
        there = judged("cuda")
    assert np.abs(here - there).max() < 1e-4


def test_text_that_arrives_is_spoken(models: Path) -> None:
    with pretended_cuda():
        engine = Engine.load(str(models / "hybrid"), lean=True)
        options = SpeechOptions(retries=9)
        chunks = list(speak_arriving(engine, ["It was ", "late. So", "."], engine.voice(), options))
    assert all(chunk.audio.device.type == "cpu" for chunk in chunks)


def test_long_speech_in_windows_is_the_processors(models: Path) -> None:
    tokens = [(7 * i) % 49 for i in range(270)]
    options = SpeechOptions(steps=1)

    def made(device: str) -> torch.Tensor:
        engine = Engine.load(str(models / "tiny"), device=device, dtype="float32")
        return speak_frames(engine, [(token,) for token in tokens], engine.voice(), options)

    here = made("cpu")
    with pretended_cuda():
        there = made("cuda")
    assert float((here - there).abs().max()) < 1e-4


@pytest.fixture
def parts() -> Iterator[tuple[Flow, HiFT]]:
    torch.manual_seed(0)
    config = tiny_config()
    flow, hift = FAMILY.build_part(config, "flow"), FAMILY.build_part(config, "hift")
    assert isinstance(flow, Flow)
    assert isinstance(hift, HiFT)
    with pretended_cuda():
        yield flow.to("cuda").eval(), hift.to("cuda").eval()


def test_official_schedule_runs_on_the_device(parts: tuple[Flow, HiFT]) -> None:
    prompt = VoicePrompt(
        speaker=torch.ones(1, 192), tokens=torch.ones(1, 5).long(), mel=torch.zeros(1, 10, 80)
    )
    road = OfficialTokenToWave(
        flow=parts[0], hift=parts[1], generator=torch.Generator("cuda").manual_seed(0)
    )
    chunks = [*road.stream(range(49), prompt), road.synthesize(range(9), prompt, speed=1.5)]
    assert len(chunks) > 2
    assert all(chunk.wave.is_cuda for chunk in chunks)


def test_flow_and_vocoder_learn_on_the_device(parts: tuple[Flow, HiFT]) -> None:
    flow, hift = parts
    tokens, lengths = torch.ones(2, 6).long().cuda(), torch.tensor([6, 4]).cuda()
    mel, frames = torch.randn(2, 12, 80).cuda(), torch.tensor([12, 8]).cuda()
    generator = torch.Generator().manual_seed(0)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        loss = flow.loss(tokens, lengths, mel, frames, torch.ones(2, 192).cuda(), generator)
        wave = hift(mel.transpose(1, 2), generator=torch.Generator("cuda"))
    (loss + wave.square().mean()).backward()
    learned = [p for p in (*flow.parameters(), *hift.parameters()) if p.grad is not None]
    assert len(learned) > 50
    assert all(p.grad.is_cuda for p in learned if p.grad is not None)


def test_profile_measures_the_device(models: Path) -> None:
    with pretended_cuda():
        timed = profile(ProfileRecipe(model=str(models / "tiny"), seq=32, runs=1, warmup=0))
        beside = profile(
            ProfileRecipe(
                model=str(models / "hybrid"), imitate_official=True, seconds=1, prompt_seconds=1
            )
        )
    assert (timed.device, timed.environment["gpu"]) == ("cuda:0", "Pretended GPU")
    rows = {row.stage: row.values for row in timed.rows if row.measured}
    assert rows["prefill"]["device_peak_bytes"] >= rows["weights"]["lm_bytes"] > 0
    assert {row.stage for row in beside.rows} == {"official_memory", "memory"}


def test_doctor_names_device_and_implementations() -> None:
    with pretended_cuda():
        told = doctor(DoctorRecipe())
    assert (told.device, told.dtype) == ("cuda:0", "bfloat16")
    assert told.ops["ssd_scan"].startswith("torch: ")


def test_prepared_rows_are_the_processors(models: Path, tmp_path: Path) -> None:
    for number, text in enumerate(["Hello there.", "A cat sat.", "Go on."]):
        write_sound(tmp_path / "corpus" / f"c{number}.wav", 0.6 + 0.1 * number, number)
        (tmp_path / "corpus" / f"c{number}.txt").write_text(text)
    recipe = PrepareRecipe(
        input=str(tmp_path / "corpus"), model=str(models / "tiny"), plot=False, threads=1
    )
    prepare(replace(recipe, output=tmp_path / "here", device="cpu"))
    with pretended_cuda():
        prepare(replace(recipe, output=tmp_path / "there"))
    here, there = (
        [row for path in sorted((tmp_path / name).glob("*.parquet")) for row in read_rows(path)]
        for name in ("here", "there")
    )
    assert len(here) == 3
    for one, two in zip(here, there, strict=True):
        assert one["speech_tokens"].tolist() == two["speech_tokens"].tolist()
