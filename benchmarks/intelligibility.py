"""Word errors of mini, stage by stage, on sentences that it was not trained on.

    python benchmarks/intelligibility.py --corpus work/mini --rows original,copy,teacher
    python benchmarks/intelligibility.py --rows teacher,student --student ./student

Rows: `original` (the synthesizer that taught the first mini), `vocoder` (its mel through our
vocoder), `copy` (its speech tokens through flow and vocoder), `teacher` (text through the whole of
`--model`) and `student` (the same of `--student`, repeatable). The first three need the rendered
test sentences, `python examples/mini/corpus.py --size 0` (festival); the last two need nothing.

Test sets: 100 sentences of the closed vocabulary and 40 whose content words never occur in
training, both from seeds that no training set uses. The recogniser is pocketsphinx with a trigram
over the vocabulary of the set (see docs/mini.md). Prints one JSON object a row and a table.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "mini"))


from mamtra_cli.engine.judging.metrics import plain_words, score
from mamtra_cli.engine.judging.recognise import WordRecogniser
from mamtra_cli.text import sentences

Speaker = Callable[[list[str]], list[np.ndarray]]
RATE = 24_000
DISTRACTORS = 1700
CLOSED_SEED = 1000


def distractors() -> list[str]:
    """Return random words of the recogniser's own dictionary."""
    import pocketsphinx

    path = Path(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"))
    words = [line.split(" ")[0] for line in path.read_text("utf-8").splitlines()]
    words = sorted({w for w in words if w.isalpha() and w.isascii() and len(w) > 2})
    return random.Random(5).sample(words, DISTRACTORS)


def recognisers(tests: dict[str, list[str]], order: int) -> dict[str, WordRecogniser]:
    """Return a recogniser for each test set, over its vocabulary and no test sentence."""
    from mamtra_cli.families.phones import PhoneFrontEnd
    from mamtra_cli.hub import BUILT_IN

    front = PhoneFrontEnd.load(BUILT_IN["mini"])
    closed = sentences.closed(0, 8000)
    known = {w for text in closed for w in plain_words(text).split()}
    new = sorted({w for t in tests["open"] for w in plain_words(t).split()} - known)
    spelled = {w: [p for p in front.symbols(w) if p[0].isalpha()] for w in new}
    # The unseen words hide among DISTRACTORS others, in sentences of the same grammar.
    mixed = sentences.open_vocabulary(5, 6000, sorted({*new, *distractors()}))
    build = WordRecogniser.from_texts
    return {
        "closed": build(closed, order),
        "open": build(closed + mixed, order, pronunciations=spelled, extra_words=new),
    }


def original(folder: Path, model: str, voice: str) -> dict[str, Speaker]:
    """Return the rows that start from the synthesizer's own speech."""
    from dataset import Corpus

    from mamtra_cli import features
    from mamtra_cli.codecs.flow_hift.token2wav import TokenToWave
    from mamtra_cli.engine.model import Engine

    corpus = Corpus(folder)
    by_text = {s.text: s for s in corpus.select("test-closed", "test-open", voices=("f1",))}
    engine = Engine.load(model)

    def clean(texts: list[str]) -> list[np.ndarray]:
        return [corpus.audio(by_text[t]) for t in texts]

    def vocoder(texts: list[str]) -> list[np.ndarray]:
        waves = []
        for wave in clean(texts):
            mel = features.mel24k(torch.from_numpy(wave)[None])
            waves.append(engine.part(engine.config.vocoder_part)(mel)[0].reshape(-1).numpy())
        return waves

    def copy(texts: list[str]) -> list[np.ndarray]:
        import soxr

        tokenizer = engine.model.load("speech_tokenizer")
        prompt = engine.speaker.sound_prompt(engine.voice(voice))
        waves = []
        for wave in clean(texts):
            narrow = torch.from_numpy(soxr.resample(wave, RATE, 16_000))
            codes, _ = tokenizer.encode(features.logmel128(narrow)[None])
            made = TokenToWave(
                engine.part("flow"), engine.part(engine.config.vocoder_part)
            ).synthesize(codes[0].tolist(), prompt)
            waves.append(made.numpy())
        return waves

    return {"original": clean, "vocoder": vocoder, "copy": copy}


def main() -> None:
    """Score the rows that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--student", action="append", default=[])
    parser.add_argument("--rows", default="original,vocoder,copy,teacher,student")
    parser.add_argument("--voice", default="anna")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--order", type=int, default=3, help="of the recogniser; 0: word loop")
    parser.add_argument(
        "--temperature", type=float, help="of the tokens; the model's own if absent"
    )
    parser.add_argument("--sentences-seed", type=int, default=CLOSED_SEED, help="of the closed set")
    parser.add_argument("--closed", type=int, default=100, help="closed-vocabulary sentences")
    parser.add_argument("--open", type=int, default=40, help="open-vocabulary sentences")
    args = parser.parse_args()
    torch.set_num_threads(max(1, torch.get_num_threads()))
    listed = Path(__file__).with_name("open_sentences.txt").read_text().splitlines()
    tests = {
        "closed": sentences.closed(args.sentences_seed, 100)[: args.closed],
        "open": listed[: args.open],
    }
    hear = recognisers(tests, args.order)
    rows: dict[str, Speaker] = {}
    wanted = args.rows.split(",")
    if args.corpus and {"original", "vocoder", "copy"} & set(wanted):
        found = original(args.corpus, args.model, args.voice)
        rows |= {k: v for k, v in found.items() if k in wanted}
    if "teacher" in wanted:
        rows["teacher"] = speaker(args.model, args.voice, args.seed, args.temperature)
    for folder in args.student if "student" in wanted else []:
        rows[folder] = speaker(folder, args.voice, args.seed, args.temperature)
    print("| row | set | WER % | 95 % interval | CER % | words | seconds of audio | RTF |")
    print("|---|---|---|---|---|---|---|---|")
    for name, speak in rows.items():
        for kind, texts in tests.items():
            if not texts:
                continue
            start = time.perf_counter()
            waves = speak(texts)
            spent = time.perf_counter() - start
            heard = [hear[kind].transcribe(w.astype(np.float32), RATE) for w in waves]
            found = score(texts, heard)
            audio = sum(map(len, waves)) / RATE
            print(
                f"| {name} | {kind} | {100 * found.wer:.1f} | {100 * found.ci_low:.1f}-"
                f"{100 * found.ci_high:.1f} | {100 * found.cer:.1f} | {found.n_words} | "
                f"{audio:.1f} | {spent / audio:.3f} |",
                flush=True,
            )
            row = {"row": name, "set": kind, "wer": found.wer, "cer": found.cer}
            print(json.dumps(row | {"audio_s": audio, "rtf": spent / audio}), file=sys.stderr)


def speaker(name: str, voice: str, seed: int, temperature: float | None) -> Speaker:
    """Return a row that speaks texts with a model, one after the other, as `mamtra synth` does."""
    from mamtra_cli.engine.model import Engine
    from mamtra_cli.engine.speaking.options import SpeechOptions
    from mamtra_cli.engine.speaking.speech import speak

    engine = Engine.load(name)
    chosen = engine.voice(voice)
    sampling = engine.sampling_with(temperature=temperature)

    def run(texts: list[str]) -> list[np.ndarray]:
        waves = []
        for i, text in enumerate(texts):
            options = SpeechOptions(seed=seed * 1000 + i, sampling=sampling)
            chunks = [chunk.audio for chunk in speak(engine, text, chosen, options)]
            waves.append(torch.cat(chunks).numpy())
        return waves

    return run


if __name__ == "__main__":
    main()
