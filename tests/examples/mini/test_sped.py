"""A mix at another speed is another speaker: pitch, phone times and codes go with the speed."""

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "mini"))

import sped
import supervised_codes
from dataset import SPED, Corpus

HERTZ, SECONDS, RATE = 200.0, 1.2, 24_000
PHONES = [("pau", 0, 0.2), ("aa", 1, 0.7), ("n", 0, 1.0), ("pau", 0, 1.2)]


def corpus(folder: Path) -> Corpus:
    (folder / "corpus").mkdir(parents=True)
    samples = round(SECONDS * RATE)
    row = {"id": "x000-natural-00000-000", "text": "On.", "start": 0, "samples": samples}
    row |= {"phones": PHONES, "words": [("on", ["aa", "n"])]}
    stem = folder / "corpus" / "x000-natural-00000"
    stem.with_suffix(".jsonl").write_text(json.dumps(row) + "\n")
    tone = 8000 * np.sin(2 * np.pi * HERTZ * np.arange(samples) / RATE)
    np.save(stem.with_suffix(".npy"), tone.astype(np.int16))
    np.save(stem.with_suffix(".pitch.npy"), np.full(60, HERTZ, dtype=np.float16))
    return Corpus(folder)


def test_everything_goes_with_the_speed(tmp_path: Path) -> None:
    (first,) = corpus(tmp_path).sentences
    for letter, (least, most) in sped.SPEEDS.items():
        sped.play(Corpus(tmp_path), [first], letter)
        read = Corpus(tmp_path)
        (s,) = read.select(SPED, voices=(f"x000{letter}",))
        wave, speed = read.audio(s), SECONDS * RATE / s.samples
        assert least <= speed <= most
        loudest = int(np.abs(np.fft.rfft(wave)).argmax()) * RATE / len(wave)
        assert abs(loudest / HERTZ - speed) < 0.02
        assert np.allclose(read.pitch(s), HERTZ * speed, rtol=1e-3)
        ends = [end for _, _, end in s.phones]
        assert np.allclose(ends, [end / speed for _, _, end in PHONES], atol=1e-3)
    assert supervised_codes.write_codes(Corpus(tmp_path))["phones_without_token"] == 0


def test_a_finished_batch_is_kept(tmp_path: Path) -> None:
    read = corpus(tmp_path)
    sped.play(read, read.sentences, "s")
    path = next((tmp_path / "corpus").glob("x000s-*0.npy"))
    before = path.stat().st_mtime_ns
    sped.play(read, read.sentences, "s")
    assert path.stat().st_mtime_ns == before
