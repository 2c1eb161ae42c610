"""mini beside Kokoro-82M, its own source: processor seconds a second of speech, one thread.

    python benchmarks/kokoro_speed.py --tables package/voices --work work/natural

Both say the first everyday sentences as one speaker, in turns, in one process: mini by its graphs
as `synth` does, Kokoro by the int8 graph of its packages (examples/mini/kokoro.py) with our front
end. The first round warms both; of each sentence the least of the others counts. Bytes are those of
mini's folder, all parts and voices, and of Kokoro's graph, without its style tables. How both sound
is a table of docs/mini.md.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import protocol

from mamtra_cli.engine.loading.light import opened
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.hub import BUILT_IN

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "mini"))

import kokoro
import natural
from sources import NATURAL_VOICES

VOICE, RATE = "anna", 24_000
TEXTS = Path(__file__).with_name("everyday_sentences.txt")
Speak = Callable[[str], int]


def mini() -> Speak:
    """Return what says a text as mini and counts its samples."""
    engine, reason = opened(BUILT_IN["mini"], "mini")
    if engine is None:
        raise SystemExit(f"mini does not speak without torch here: {reason}")
    voice = engine.voice(VOICE)
    return lambda text: sum(len(chunk.audio) for chunk in speak(engine, text, voice))


def source(graph: Path, tables: Path) -> Speak:
    """Return what says a text as Kokoro and counts its samples."""
    model = kokoro.Kokoro(graph, tables, BUILT_IN["mini"])
    style = natural.speakers(tables)[NATURAL_VOICES[VOICE][0]]

    def said(text: str) -> int:
        audio = model.speak(text, style).audio
        assert audio is not None
        return len(audio)

    return said


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, required=True, help="voices/ of npm's kokoro-js")
    parser.add_argument("--work", type=Path, default=Path("work/natural"), help="Kokoro's graph")
    parser.add_argument("--sentences", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3, help="the first warms")
    protocol.out_option(parser)
    args = parser.parse_args()
    graph = kokoro.exposed_graph(args.work)
    sides = {"mini": mini(), "Kokoro-82M, int8": source(graph, args.tables)}
    sizes = [sum(p.stat().st_size for p in BUILT_IN["mini"].rglob("*")), graph.stat().st_size]
    texts = TEXTS.read_text("utf-8").splitlines()[: args.sentences]
    least = {name: dict.fromkeys(texts, float("inf")) for name in sides}
    seconds = {name: dict.fromkeys(texts, 0.0) for name in sides}
    for turn in range(args.rounds):
        for text in texts:
            for name, say in sides.items():
                start = time.process_time()
                seconds[name][text] = say(text) / RATE
                took = time.process_time() - start
                if turn:
                    least[name][text] = min(least[name][text], took)
    speech = {name: sum(each.values()) for name, each in seconds.items()}
    cpu = {name: sum(each.values()) for name, each in least.items()}
    pace = {name: cpu[name] / speech[name] for name in sides}
    rows = [
        [name, size / 1e6, speech[name], cpu[name], pace[name], pace[name] / pace["mini"]]
        for name, size in zip(sides, sizes, strict=True)
    ]
    head = ["model", "MB", "speech, s", "processor, s", "real-time factor", "times mini's"]
    kept = protocol.record("kokoro_speed", __doc__ or "", rows=rows, head=head)
    protocol.publish(kept, protocol.markdown(head, rows), args.out)


if __name__ == "__main__":
    main()
