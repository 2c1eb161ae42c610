"""What a look-ahead costs a model without tokens: distance from the whole text, first sound, joins.

For each look-ahead, sentences are streamed and compared with the same sentences read whole: L1
between mu of both, relative to that of the whole and between phones' own frames (both are stretched
to the shorter of a phone's two durations); durations that differ by more than a frame; seconds to
the first sound. With `--asr` a recogniser hears the streamed sentences: word and character errors.
The last row speaks a text of some minutes as one piece.

    python benchmarks/lookahead.py                        # mini-mvc
    python benchmarks/lookahead.py --model my-mvc --seconds 0.1 0.25 0.5 1 2
    python benchmarks/lookahead.py --asr whisper-base
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from mamtra_cli.codecs.base import SoundOptions
from mamtra_cli.engine.judging.metrics import count
from mamtra_cli.engine.judging.recognise import Recogniser, english_rules, open_recogniser
from mamtra_cli.engine.loading.light import Wishes
from mamtra_cli.engine.loading.opening import open_talker
from mamtra_cli.engine.loading.talker import Talker
from mamtra_cli.engine.measuring.meter import metered
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.voices.voice import Manner, Voice

TEXTS = Path(__file__).with_name("everyday_sentences.txt")


def spoken(engine: Talker, text: str, voice: Voice, lookahead: str) -> dict[int, np.ndarray]:
    """Frames (n, mel) of each phone."""
    speaker = engine.speaker
    told = speaker.settings(voice, Manner(told=(f"lookahead={lookahead}",)))
    frames: dict[int, list[np.ndarray]] = {}
    for part in speaker.made(speaker.encode(text), voice, told, stream=lookahead != "none"):
        for frame in part.frames:
            frames.setdefault(frame.owner, []).append(np.asarray(frame.mu))
    return {owner: np.stack(rows) for owner, rows in frames.items()}


def first_sound(engine: Talker, text: str, voice: Voice, lookahead: str) -> float:
    """Seconds until the first samples."""
    speaker = engine.speaker
    told = speaker.settings(voice, Manner(told=(f"lookahead={lookahead}",)))
    start = time.perf_counter()
    state = speaker.codec.start(speaker.sound_prompt(voice, told), SoundOptions())
    for part in speaker.made(speaker.encode(text), voice, told, stream=True):
        state, wave = speaker.codec.push(state, part.frames)
        if len(wave):
            break
    else:
        speaker.codec.finish(state)
    return time.perf_counter() - start


def misheard(
    engine: Talker, texts: list[str], lookahead: str, recogniser: Recogniser, rules: str
) -> dict[str, float]:
    """Errors of what is heard in streamed texts."""
    manner = Manner(told=(f"lookahead={lookahead}",))
    options = SpeechOptions(stream=True, manner=manner)
    found = []
    for text in texts:
        parts = [np.asarray(part.audio) for part in speak(engine, text, engine.voice(), options)]
        words = recogniser.transcribe(np.concatenate(parts), engine.sample_rate)
        found.append(count(text, words, rules))
    return {
        "wer": round(sum(one.errors for one in found) / sum(one.words for one in found), 4),
        "cer": round(
            sum(one.character_errors for one in found) / sum(one.characters for one in found), 4
        ),
    }


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini-mvc")
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.0, 0.1, 0.25, 0.5, 1.0, 2.0])
    parser.add_argument("--sentences", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=12, help="of the sentences, as one piece")
    parser.add_argument("--backend", default="auto", help="torch, or graphs where they are")
    parser.add_argument("--asr", help="who listens, as `mamtra eval --asr` has it")
    args = parser.parse_args()
    wishes = Wishes(device="cpu", threads=1, backend=args.backend)
    engine = open_talker(args.model, wishes)
    engine.speaker.ready()
    voice = engine.voice()
    texts = sorted(TEXTS.read_text().split("\n"), key=len)[-args.sentences :]
    wholes = [spoken(engine, text, voice, "none") for text in texts]
    recogniser = open_recogniser(args.asr, texts, Engine.load(args.model)) if args.asr else None
    for seconds in (*args.seconds, 60.0):
        gaps, size, moved, phones = 0.0, 0.0, 0, 0
        for text, whole in zip(texts, wholes, strict=True):
            for owner, rows in spoken(engine, text, voice, f"{seconds}").items():
                shared = min(len(rows), len(whole[owner]))
                gaps += float(abs(rows[:shared] - whole[owner][:shared]).sum())
                size += float(abs(whole[owner][:shared]).sum())
                moved += abs(len(rows) - len(whole[owner])) > 1
                phones += 1
        waits = [first_sound(engine, text, voice, f"{seconds}") for text in texts[:6]]
        row = {
            "lookahead_s": seconds,
            "mu_off": round(gaps / size, 4),
            "durations_off": round(moved / phones, 4),
            "first_audio_s": round(sorted(waits)[len(waits) // 2], 3),
        }
        if recogniser is not None:
            rules = english_rules(args.asr)
            row |= misheard(engine, texts, f"{seconds}", recogniser, rules)
        print(json.dumps(row), flush=True)
    with metered() as memory:
        start = time.process_time()
        long = spoken(engine, " ".join(texts * args.repeats), voice, "none")
        spent = time.process_time() - start
    told = {"seconds": sum(map(len, long.values())) / engine.facts.frame_rate, "cpu_s": spent}
    print(json.dumps({"one_piece": told, "peak_mb": round((memory.peak or 0) / 1e6, 1)}))


if __name__ == "__main__":
    main()
