"""Recordings that are given as voices, and sound that goes into pipes."""

import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from faults.forks import Ran
from numpy.typing import NDArray
from tests.voices.test_clip import RATE, speech

from cases.case import TRIES, Place, case, first, told

SECONDS = 5.5


def heard(place: Place, samples: NDArray[np.floating], *words: str, subtype: str = "PCM_16",
          code: int | tuple[int, ...] = 1) -> str:  # fmt: skip
    """What is wrong with how a clip was taken, or refused."""
    path = place.home / "clip.wav"
    soundfile.write(path, samples, RATE, subtype=subtype)
    return told(add(place, path), *words, code=code)


def add(place: Place, path: Path) -> Ran:
    line = ("voice", "add", "z", path, "-m", place.model, "--consent", "mine", "--force")
    return place.run(*line, "--text", place.words, "--voices", "v")


def said_well(place: Place, samples: NDArray[np.floating], **options: str) -> str:
    return heard(place, samples, code=0, **options)


@case("clip-1")
def a_constant_under_faint_speech(place: Place) -> str:
    return heard(place, 0.03 * speech(SECONDS) + 0.2, "silent or nearly so")


@case("clip-noise-1", "clip-noise-3", "clip-noise-4")
def sounds_that_are_no_speech(place: Place) -> str:
    time = np.arange(int(SECONDS * RATE)) / RATE
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(time))
    hum = 0.3 * np.sin(2 * np.pi * 50 * time)
    sines = sum(0.1 * np.sin(2 * np.pi * f * time) for f in (220, 440, 660))
    found = {"noise": noise, "hum": hum, "sines": sines}
    return first(*(f"{name}: {wrong}" for name, samples in found.items()
                   if (wrong := heard(place, samples, "speech"))))  # fmt: skip


@case("clip-phase-1", "clip-phase-2")
def channels_that_cancel(place: Place) -> str:
    sound = speech(SECONDS)
    six = np.zeros((len(sound), 6))
    six[:, 2] = sound
    return first(said_well(place, np.stack([sound, -sound], 1)), said_well(place, six))


@case("clip-fmt-1", "clip-fmt-2", "clip-fmt-4")
def formats_that_ffmpeg_reads(place: Place) -> str:
    soundfile.write(place.home / "x.wav", speech(SECONDS), RATE)
    there = any((Path(folder) / "ffmpeg").is_file() for folder in os.get_exec_path())
    for name in ("x.m4a", "x.aac", "x.webm"):
        path = place.home / name
        if there:
            make = ["ffmpeg", "-v", "error", "-y", "-i", place.home / "x.wav", path]
            subprocess.run(make, check=True)
            wrong = told(add(place, path), code=0)
        else:
            path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(1000))
            wrong = told(add(place, path), "ffmpeg -i", name)
        if wrong:
            return f"{name}: {wrong}"
    return ""


def _wave(place: Place, change: Callable[[bytearray], None]) -> Path:
    path = place.home / "raw.wav"
    soundfile.write(path, speech(SECONDS), RATE, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return path


@case("clip-hdr-1")
def a_recorder_that_was_killed(place: Place) -> str:
    def no_length(data: bytearray) -> None:
        at = data.index(b"data") + 4
        data[at : at + 4] = struct.pack("<I", 0)

    return told(add(place, _wave(place, no_length)), code=0)


@case("clip-hdr-2")
def a_file_that_was_cut_off(place: Place) -> str:
    def half(data: bytearray) -> None:
        del data[len(data) // 2 :]

    return told(add(place, _wave(place, half)), "cut off", code=(0, 1))


@case("clip-hot")
def loud_floats(place: Place) -> str:
    loud = speech(SECONDS)
    return said_well(place, 2.0 * loud / np.abs(loud).max(), subtype="FLOAT")


@case("pipe-1")
def a_clip_from_a_pipe(place: Place) -> str:
    soundfile.write(place.home / "x.wav", speech(SECONDS), RATE)
    line = f"mamtra voice add z <(cat x.wav) -m '{place.model}' --consent mine --voices v"
    return told(place.shell(f'{line} --text "{place.words}"'), code=0)


@case("pipe-3")
def sound_into_a_descriptor(place: Place) -> str:
    line = f"mamtra synth 'Hi there.' -m '{place.model}' {' '.join(TRIES)}"
    ran = place.shell(f"{line} -o /dev/stdout > a.wav && {line} -o /dev/fd/3 3> b.wav")
    if ran.code:
        return told(ran, code=0)
    sizes = [len(soundfile.read(place.home / name)[0]) for name in ("a.wav", "b.wav")]
    return "" if all(sizes) else f"samples: {sizes}"
