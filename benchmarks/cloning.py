"""Does a copied voice sound like its speaker? Each built-in speaker of mini, copied from one clip.

    python benchmarks/cloning.py                       # festival and flite speak the clips
    python benchmarks/cloning.py --source mini         # mini's own voices speak them

For each speaker one clip is copied as `mamtra voice add` does, then sentences that are in no clip
are spoken in every mode. Two judges compare them with the reference clips of all speakers (other
sentences than the prompt's):

- `encoder`: cosine of mini's own speaker vectors. Not independent: the flow was trained on them.
- `cepstra`: distance of the mean cepstra (20 coefficients of the log filter bank, louder frames
  only), each scaled by its spread between clips of one speaker; nothing of it was trained.

Beside them: median pitch and the share of frames with a clear pitch, of the copy and of the
speaker, and the word errors of pocketsphinx, which knows the vocabulary. A row `original` judges
further clips of the speakers, the best that can be reached; `stored` the built-in voices. The goal:
each copied voice is nearer to its speaker than to any other. Prints a table, and one JSON object.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "mini"))

from pitch import track

from mamtra_cli.audio import LISTENING_RATE
from mamtra_cli.engine.judging.metrics import score
from mamtra_cli.engine.judging.recognise import WordRecogniser
from mamtra_cli.engine.model import Engine
from mamtra_cli.engine.speaking.options import SpeechOptions
from mamtra_cli.engine.speaking.speech import speak
from mamtra_cli.errors import AudioRejectedError
from mamtra_cli.families.cosyvoice2.cloning import speaker_vector, to_rate
from mamtra_cli.features import fbank80
from mamtra_cli.text import sentences
from mamtra_cli.voices.clip import read_clip
from mamtra_cli.voices.voice import Manner, Voice

SPEAKERS = ("f1", "m1", "m2", "m3", "m4")
MODES = ("zero-shot", "cross-lingual", "speaker")
ROWS = ("original", "stored", *MODES)
FURTHER = 4
CEPSTRA = 20
LOUD = 30.0  # dB below the loudest frame that still count

Waves = dict[str, list[torch.Tensor]]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How near one speaker's speech of one row is to all speakers, by one judge.

    own, other: mean nearness to the speaker and to the nearest other one; cosines for `encoder`
    (more is nearer), distances for `cepstra` (less is nearer). right: share of sentences whose
    nearest speaker is the right one. mistaken: for whom, where it is not. pitch, voiced: median Hz
    of the frames with a clear pitch, and their share.
    """

    row: str
    speaker: str
    judge: str
    own: float
    other: float
    right: float
    mistaken: dict[str, int]
    pitch: float
    voiced: float
    sentences: int


def rendered(texts: Sequence[str]) -> Waves:
    """Texts spoken by the synthesizers that taught mini (festival, flite)."""
    from corpus import Batch, render

    waves: Waves = {}
    with tempfile.TemporaryDirectory() as scratch:
        for speaker in SPEAKERS:
            rows = [(f"{speaker}-{i}", text) for i, text in enumerate(texts)]
            batch = Batch(voice=speaker, name=speaker, rows=rows, folder=Path(scratch))
            render(batch)
            samples = np.load(Path(scratch) / f"{speaker}.npy").astype(np.float32) / 32768
            table = (Path(scratch) / f"{speaker}.jsonl").read_text().splitlines()
            found = [json.loads(line) for line in table]
            waves[speaker] = [
                torch.from_numpy(samples[row["start"] : row["start"] + row["samples"]].copy())
                for row in found
            ]
    return waves


def say(engine: Engine, texts: Sequence[str], voice: Voice, manner: Manner) -> list[torch.Tensor]:
    """Texts spoken by a model; one that every guard refuses is left out, and told."""
    waves = []
    for number, text in enumerate(texts):
        options = SpeechOptions(seed=1000 * number, manner=manner)
        try:
            waves.append(torch.cat([c.audio for c in speak(engine, text, voice, options)]))
        except AudioRejectedError as error:
            print(f"{voice.name} {manner.mode}: {error.message}", file=sys.stderr)
    return waves


def cepstra(wave: torch.Tensor, rate: int) -> np.ndarray:
    """Mean cepstra of the louder frames of samples (S,): (CEPSTRA,)."""
    bank = fbank80(to_rate(wave, rate, LISTENING_RATE)).double().numpy()
    level = bank.mean(axis=1) * 10 / np.log(10)
    bank = bank[level > level.max() - LOUD]
    bins = bank.shape[1]
    angles = np.pi / bins * (np.arange(bins) + 0.5)
    basis = np.cos(np.arange(1, CEPSTRA + 1)[:, None] * angles[None])
    mean: np.ndarray = basis @ bank.mean(axis=0) * np.sqrt(2 / bins)
    return mean


def pitch_of(waves: Sequence[torch.Tensor], rate: int) -> tuple[float, float]:
    """Median pitch in Hz of the frames that have a clear one (0 for none), and their share."""
    tracks = torch.cat([track(wave, rate, rate // 50) for wave in waves])
    voiced = tracks[tracks > 0]
    return float(voiced.median()) if len(voiced) else 0.0, len(voiced) / len(tracks)


def judges(engine: Engine, references: Waves) -> dict[str, Callable[[torch.Tensor], np.ndarray]]:
    """Return functions from samples to their nearness to each speaker; more is nearer."""
    rate = engine.sample_rate

    def vector(wave: torch.Tensor) -> np.ndarray:
        found = speaker_vector(engine, to_rate(wave, rate, LISTENING_RATE)).double().numpy()
        return np.asarray(found / np.linalg.norm(found))

    vectors = np.stack([np.mean([vector(w) for w in references[s]], axis=0) for s in SPEAKERS])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    points = {s: np.stack([cepstra(wave, rate) for wave in references[s]]) for s in SPEAKERS}
    centres = np.stack([points[s].mean(axis=0) for s in SPEAKERS])
    spread = np.sqrt(np.mean([points[s].var(axis=0, ddof=1) for s in SPEAKERS], axis=0))

    def by_encoder(wave: torch.Tensor) -> np.ndarray:
        return np.asarray(vectors @ vector(wave))

    def by_cepstra(wave: torch.Tensor) -> np.ndarray:
        away = (centres - cepstra(wave, rate)) / spread
        return -np.sqrt(np.square(away).mean(axis=1))

    return {"encoder": by_encoder, "cepstra": by_cepstra}


def judge(
    row: str,
    speaker: str,
    name: str,
    near: Callable[[torch.Tensor], np.ndarray],
    waves: Sequence[torch.Tensor],
    rate: int,
) -> Verdict:
    """Judge the sentences of one speaker."""
    place = SPEAKERS.index(speaker)
    scores = np.stack([near(wave) for wave in waves])
    means = scores.mean(axis=0)
    nearest = scores.argmax(axis=1)
    wrong = [SPEAKERS[i] for i in nearest if i != place]
    pitch, voiced = pitch_of(waves, rate)
    return Verdict(
        row=row,
        speaker=speaker,
        judge=name,
        own=abs(float(means[place])) if name == "cepstra" else float(means[place]),
        other=abs(float(np.delete(means, place).max()))
        if name == "cepstra"
        else float(np.delete(means, place).max()),
        right=float((nearest == place).mean()),
        mistaken={other: wrong.count(other) for other in sorted(set(wrong))},
        pitch=pitch,
        voiced=voiced,
        sentences=len(waves),
    )


def main() -> None:
    """Copy, speak and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--source", choices=("render", "mini"), default="render")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--sentences", type=int, default=6, help="spoken by each copied voice")
    parser.add_argument("--prompt", type=int, default=0, help="which sentence is the prompt")
    parser.add_argument("--references", type=int, default=8, help="clips of each speaker, over 1")
    parser.add_argument("--save", type=Path, help="folder for the sound")
    args = parser.parse_args()
    engine = Engine.load(args.model, device="cpu")
    rate = engine.sample_rate
    known = args.references
    heard = sentences.closed(1000, 1 + known + FURTHER)
    # The prompt is one of them; the others are references and the row `original`.
    prompt_text = heard.pop(args.prompt)
    texts = sentences.closed(3000, args.sentences)
    if set(texts) & {prompt_text, *heard}:
        raise SystemExit("a sentence to speak is among the clips")
    if args.source == "render":
        clips = rendered([prompt_text, *heard])
    else:
        clips = {s: say(engine, [prompt_text, *heard], engine.voice(s), Manner()) for s in SPEAKERS}
    near = judges(engine, {s: clips[s][1 : 1 + known] for s in SPEAKERS})
    verdicts = []
    hear = WordRecogniser.from_texts(sentences.closed(0, 8000), 3)
    errors = {}
    own_pitch = {s: pitch_of(clips[s][1 : 1 + known], rate) for s in SPEAKERS}
    print("| row | speaker | judge | own | best other | nearest is right | pitch | clear pitch |")
    print("|---|---|---|---|---|---|---|---|")
    for row in args.rows.split(","):
        said: list[str] = []
        understood: list[str] = []
        for speaker in SPEAKERS:
            spoken = texts
            if row == "original":
                waves, spoken = clips[speaker][1 + known :], heard[known:]
            elif row == "stored":
                waves = say(engine, texts, engine.voice(speaker), Manner())
            else:
                with tempfile.TemporaryDirectory() as scratch:
                    path = Path(scratch) / f"{speaker}.wav"
                    soundfile.write(path, clips[speaker][0].numpy(), rate)
                    copied = engine.speaker.clone(read_clip(path), speaker, transcript=prompt_text)
                waves = say(engine, texts, copied, Manner(mode=row))
            if args.save:
                args.save.mkdir(parents=True, exist_ok=True)
                for number, wave in enumerate(waves):
                    soundfile.write(args.save / f"{row}-{speaker}-{number}.wav", wave.numpy(), rate)
            if not waves:
                print(f"| {row} | {speaker} | nothing was spoken |", flush=True)
                continue
            if len(waves) == len(spoken):
                said += spoken
                understood += [hear.transcribe(wave.numpy(), rate) for wave in waves]
            for name, function in near.items():
                found = judge(row, speaker, name, function, waves, rate)
                verdicts.append(found)
                took = ", ".join(f"{who} {n}" for who, n in found.mistaken.items())
                print(
                    f"| {row} | {speaker} | {name} | {found.own:.3f} | {found.other:.3f} | "
                    f"{round(found.right * found.sentences)} of {found.sentences}"
                    f"{f' (taken for {took})' if took else ''} | "
                    f"{found.pitch:.0f} Hz ({own_pitch[speaker][0]:.0f}) | "
                    f"{found.voiced:.0%} ({own_pitch[speaker][1]:.0%}) |",
                    flush=True,
                )
        errors[row] = score(said, understood).wer if said else None
        if said:
            print(f"| {row} | all | word errors | {errors[row]:.1%} | | | | |", flush=True)
    result = {
        "model": args.model,
        "source": args.source,
        "prompt": prompt_text,
        "word_errors": errors,
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }
    print(json.dumps(result), file=sys.stderr)


if __name__ == "__main__":
    main()
