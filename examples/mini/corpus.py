"""Stage 1 and 2 of mini's recipe: texts, then speech with its phones, from free synthesizers.

Needs the Debian packages listed in README.md (festival, flite, their voices, festlex-cmu,
wamerican), or `--rehearse` (rehearsal.py). Rendering is deterministic, resumable (a finished batch
is kept) and runs `--jobs` synthesizers at once. Each batch is two files: `NAME.npy`, the 24 kHz
int16 samples of all its sentences end to end, and `NAME.jsonl`, one row a sentence: id, text,
start, samples, phones [[name, stress, end in seconds]], words [[word, [phones]]].
"""

import argparse
import json
import multiprocessing
import random
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rehearsal
import soundfile
import soxr

from mamtra_cli.text import sentences

SAMPLE_RATE = 24_000
BATCH = 60
LEXICON = Path("/usr/share/festival/dicts/cmu/cmudict-0.4.out")
WORDS = Path("/usr/share/dict/words")
FESTIVAL_VOICES = {"f1": "cmu_us_slt_arctic_hts", "m4": "ked_diphone"}
FLITE_VOICES = {"m1": "rms", "m2": "awb", "m3": "kal16"}

DUMP = """
(voice_{voice})
(define (dump utt fd)
  (mapcar (lambda (s)
    (format fd "S\\t%s\\t%s\\t%s\\t%s\\n" (item.name s)
      (item.feat s "R:SylStructure.parent.stress") (item.feat s "end")
      (item.feat s "R:SylStructure.parent.parent.name")))
    (utt.relation.items utt 'Segment)))
"""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One unit of rendering: sentences of one voice."""

    voice: str
    name: str
    rows: list[tuple[str, str]]
    folder: Path
    rehearsed: bool = False


def lexicon_words() -> list[str]:
    """Return lower-case words that are both in the word list and in the lexicon."""
    entries = set(re.findall(r'^\("([a-z]+)"', LEXICON.read_text("latin-1"), re.MULTILINE))
    words = {w for w in WORDS.read_text("utf-8").split() if w in entries and len(w) > 2}
    return sorted(words)


def plan(size: float, folder: Path, *, rehearse: bool = False) -> list[Batch]:
    """Lay out every sentence of the corpus; `size` scales the training parts."""
    words = rehearsal.known_words() if rehearse else lexicon_words()
    random.Random(0).shuffle(words)
    held_out, known = words[: len(words) // 10], words[len(words) // 10 :]
    n = {key: max(int(size * k), 20) for key, k in PARTS.items()}
    texts = {
        "f1/closed": sentences.closed(0, n["closed"]),
        "f1/open": sentences.open_vocabulary(0, n["open"], known),
        "f1/strings": sentences.word_strings(0, n["strings"], known),
        "f1/valid": sentences.open_vocabulary(77, 60, known),
        "f1/test-closed": sentences.closed(1000, 100),
        "f1/test-open": sentences.open_vocabulary(1000, 40, held_out),
    }
    for seed, voice in enumerate(("m1", "m2", "m3", "m4"), start=10):
        half = n["voices"] // 2
        mixed = sentences.closed(seed, half) + sentences.open_vocabulary(seed, half, known)
        texts[f"{voice}/mixed"] = mixed
        texts[f"{voice}/test-closed"] = sentences.closed(1000, 100)[:20]
    batches = []
    for part, lines in texts.items():
        voice, kind = part.split("/")
        if rehearse:
            lines = lines[: rehearsal.SENTENCES]
        rows = [(f"{voice}-{kind}-{i:05d}", text) for i, text in enumerate(lines)]
        for start in range(0, len(rows), BATCH):
            name = f"{voice}-{kind}-{start:05d}"
            some = rows[start : start + BATCH]
            batches.append(
                Batch(voice=voice, name=name, rows=some, folder=folder, rehearsed=rehearse)
            )
    return batches


PARTS = {"closed": 4000, "open": 6400, "strings": 1600, "voices": 1000}


def _festival(batch: Batch, scratch: Path) -> list[list[list[str]]]:
    lines = [DUMP.format(voice=FESTIVAL_VOICES[batch.voice])]
    for i, (_, text) in enumerate(batch.rows):
        clean = re.sub(r'["\\]', "", text)
        lines.append(f'(set! u (utt.synth (Utterance Text "{clean}")))')
        lines.append(f'(utt.save.wave u "{scratch}/{i}.wav" \'riff)')
        lines.append(f'(set! fd (fopen "{scratch}/{i}.txt" "w")) (dump u fd) (fclose fd)')
    script = scratch / "batch.scm"
    script.write_text("\n".join(lines))
    subprocess.run(["festival", "-b", str(script)], check=True, capture_output=True)
    dumps = []
    for i in range(len(batch.rows)):
        table = (scratch / f"{i}.txt").read_text("latin-1").splitlines()
        dumps.append([line.split("\t")[1:] for line in table])
    return dumps


def _flite(batch: Batch, scratch: Path) -> list[list[list[str]]]:
    dumps = []
    for i, (_, text) in enumerate(batch.rows):
        command = ["flite", "-voice", FLITE_VOICES[batch.voice], "-psdur", "-t", text]
        done = subprocess.run(
            [*command, "-o", f"{scratch}/{i}.wav"], check=True, capture_output=True, text=True
        )
        rows, end = [], 0.0
        for pair in done.stdout.split():
            phone, _, duration = pair.rpartition(":")
            end = max(end, float(duration))
            rows.append([phone, "0", f"{end:.4f}", "0"])
        dumps.append(rows)
    return dumps


def _words(table: list[list[str]]) -> list[tuple[str, list[str]]]:
    words: list[tuple[str, list[str]]] = []
    for phone, _, _, word in table:
        if word == "0":
            continue
        if words and words[-1][0] == word:
            words[-1][1].append(phone)
        else:
            words.append((word, [phone]))
    return words


def render(batch: Batch) -> float:
    """Render one batch unless it is there; return its seconds of audio."""
    target = batch.folder / f"{batch.name}.npy"
    if target.exists():
        return float(len(np.load(target, mmap_mode="r"))) / SAMPLE_RATE
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        if batch.rehearsed:
            dumps = rehearsal.rehearsed(batch.rows, batch.voice, scratch)
        else:
            make = _festival if batch.voice in FESTIVAL_VOICES else _flite
            dumps = make(batch, scratch)
        waves, rows, start = [], [], 0
        for i, ((name, text), table) in enumerate(zip(batch.rows, dumps, strict=True)):
            wave, rate = soundfile.read(scratch / f"{i}.wav", dtype="float32")
            wave = soxr.resample(wave, rate, SAMPLE_RATE)
            peak = float(np.abs(wave).max()) or 1.0
            wave = wave * min(0.9 / peak, 4.0)
            samples = (wave * 32767).round().astype(np.int16)
            phones = [[p, int(float(s)), round(float(e), 4)] for p, s, e, _ in table]
            row = {"id": name, "text": text, "start": start, "samples": len(samples)}
            rows.append(row | {"phones": phones, "words": _words(table)})
            waves.append(samples)
            start += len(samples)
    (batch.folder / f"{batch.name}.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows)
    )
    audio = np.concatenate(waves)
    temporary_name = target.with_suffix(".tmp.npy")
    np.save(temporary_name, audio)
    temporary_name.rename(target)
    return len(audio) / SAMPLE_RATE


def main() -> None:
    """Render the corpus into --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("work/mini"))
    parser.add_argument("--size", type=float, default=1.0, help="scale of the training parts")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rehearse", action="store_true", help="a few sentences, said by mini")
    args = parser.parse_args()
    folder = args.out / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    batches = plan(args.size, folder, rehearse=args.rehearse)
    from rich.progress import track

    seconds = 0.0
    with multiprocessing.Pool(args.jobs) as pool:
        for s in track(pool.imap(render, batches), total=len(batches), description="render"):
            seconds += s
    print(f"{sum(len(b.rows) for b in batches)} sentences, {seconds / 3600:.2f} h")


if __name__ == "__main__":
    main()
