"""Build the text front end of `mini` from Debian's `festlex-cmu`: lexicon, symbols, network.

    $ sudo apt install festlex-cmu
    $ python examples/mini/front_end.py --out src/mamtra_cli/models/mini

Writes `lexicon.txt.xz` (every entry of the dictionary and of its addenda), `symbols.json` and
`letter_to_sound.safetensors`, and prints how the network does on 5 % of the words that it never
saw. Deterministic from `--seed`; about four minutes on one core.
"""

import argparse
import hashlib
import json
import lzma
import math
import re
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from rapidfuzz.distance import Levenshtein
from torch.nn import functional as F

from mamtra_cli.families.cosyvoice2.letter_to_sound import LetterConfig, LetterToSound, encode

DICTIONARY = Path("/usr/share/festival/dicts/cmu")
PAUSES = ["#", ",", ".", "?"]
Entries = dict[str, dict[str, list[str]]]
# Homographs of which one reading is all but always meant, or that the dictionary lists only once.
CORRECTED: Entries = {
    "a": {"dt": ["ax"]},
    "to": {"to": ["t", "ax"]},
    "does": {"v": ["d", "ah1", "z"]},
    "putting": {"v": ["p", "uh1", "t", "ih", "ng"]},
    "reading": {"v": ["r", "iy1", "d", "ih", "ng"]},
    "lead": {"v": ["l", "iy1", "d"]},
    "read": {"n": ["r", "eh1", "d"], "v": ["r", "iy1", "d"]},
}


def phones_of(syllables: str) -> list[str]:
    """Read `((k ae t) 1)` groups as `k ae1 t`."""
    phones = []
    for group, stress in re.findall(r"\(\(\s*([a-z ]+?)\s*\)\s*(\d)\)", syllables):
        for phone in group.split():
            phones.append(phone + ("1" if stress == "1" and phone[0] in "aeiou" else ""))
    return phones


def read_entries(folder: Path) -> Entries:
    """All words with their readings, keyed by part of speech (`""` where there is one)."""
    entries: Entries = defaultdict(dict)
    pattern = re.compile(r'^\("([^"]+)" (\S+) \((.*)\)\)\s*$')
    for line in (folder / "cmudict-0.4.out").read_text("latin-1").splitlines():
        match = pattern.match(line)
        if match:
            word, kind, syllables = match.groups()
            entries[word.lower()].setdefault(kind, phones_of(syllables))
    addenda = re.compile(r"\(lex\.add\.entry\s+'\(\"?([^\"\s]+)\"? \S+\s+\((.*?\))\)\)\)", re.S)
    added: Entries = {}
    source = (folder / "cmulex.scm").read_text("latin-1")
    source = re.sub(r"^\s*;.*$", "", source, flags=re.M)
    for word, syllables in addenda.findall(source):
        # Abbreviations and homograph tags of the addenda belong to the synthesizer's tokenizer.
        spoken = re.fullmatch(r"[a-z]+|[iI]?[a-z]*'[a-z]+|February|NASA", word)
        if spoken and word not in ("lead", "read", "to", "hz", "khz", "mhz", "'s"):
            added[word.lower()] = {"nil": phones_of(syllables)}
    entries.update(added)
    entries.update(CORRECTED)
    return entries


def lexicon_lines(entries: Entries) -> Iterator[str]:
    """`word TAB phones`, and `word(kind) TAB phones` for each reading of a homograph."""
    for word in sorted(entries):
        readings = entries[word]
        first = next(iter(readings.values()))
        yield f"{word}\t{' '.join(first)}"
        if len({" ".join(phones) for phones in readings.values()}) > 1:
            for kind, phones in readings.items():
                if kind in ("n", "v", "j"):
                    yield f"{word}({kind})\t{' '.join(phones)}"


def align(
    letters: str, phones: list[str], cost: dict[tuple[str, str], float], unseen: float
) -> list[str]:
    """Cheapest split of phones over letters, at most two each; stress plays no part."""
    bare = [phone.rstrip("1") for phone in phones]
    n, m = len(letters), len(phones)
    best = [[math.inf] * (m + 1) for _ in range(n + 1)]
    back = [[0] * (m + 1) for _ in range(n + 1)]
    best[0][0] = 0.0
    for i, letter in enumerate(letters):
        rest = 2 * (n - i - 1)
        for j in range(max(0, m - rest - 2), min(m, 2 * i) + 1):
            here = best[i][j]
            if here == math.inf:
                continue
            for k in range(min(2, m - j) + 1):
                total = here + cost.get((letter, " ".join(bare[j : j + k])), unseen)
                if total < best[i + 1][j + k]:
                    best[i + 1][j + k] = total
                    back[i + 1][j + k] = k
    if best[n][m] == math.inf:
        return []
    chunks = []
    j = m
    for i in range(n, 0, -1):
        k = back[i][j]
        chunks.append(" ".join(phones[j - k : j]))
        j -= k
    return chunks[::-1]


def align_all(words: list[tuple[str, list[str]]], rounds: int) -> list[list[str]]:
    """Align by counting and re-aligning (hard EM), starting from lengths alone."""
    cost: dict[tuple[str, str], float] = {}
    seen = words[:: max(1, len(words) // 15000)]
    for round_ in range(rounds):
        counts: dict[tuple[str, str], float] = defaultdict(float)
        totals: dict[str, float] = defaultdict(float)
        for word, phones in seen:
            if round_ == 0:
                # Any phone may come from any letter near it; closer ones count more.
                for i, letter in enumerate(word):
                    middle = (i + 0.5) * len(phones) / len(word) - 0.5
                    for j, phone in enumerate(phones):
                        weight = math.exp(-abs(j - middle))
                        counts[letter, phone.rstrip("1")] += weight
                        totals[letter] += weight
                    totals[letter] += 0.2
                    counts[letter, ""] += 0.2
            else:
                for letter, chunk in zip(word, align(word, phones, cost, 12.0), strict=False):
                    counts[letter, chunk.replace("1", "")] += 1
                    totals[letter] += 1
        cost = {key: -math.log(value / totals[key[0]]) for key, value in counts.items()}
    return [align(word, phones, cost, 12.0) for word, phones in words]


def held_out(word: str) -> bool:
    return hashlib.sha256(word.encode()).digest()[0] < 13


def scores(model: LetterToSound, words: list[tuple[str, list[str]]]) -> dict[str, float]:
    """Phone errors and whole words right, with stress and without."""
    errors = bare_errors = total = right = bare_right = 0
    for word, phones in words:
        guess = model.pronounce(word)
        bare, bare_guess = ([p.rstrip("1") for p in x] for x in (phones, guess))
        errors += Levenshtein.distance(phones, guess)
        bare_errors += Levenshtein.distance(bare, bare_guess)
        total += len(phones)
        right += phones == guess
        bare_right += bare == bare_guess
    n = len(words)
    return {
        "phone_error": errors / total,
        "word_accuracy": right / n,
        "phone_error_no_stress": bare_errors / total,
        "word_accuracy_no_stress": bare_right / n,
    }


def train(
    words: list[tuple[str, list[str]]], minutes: float, epochs: int, seed: int
) -> LetterToSound:
    """Train on aligned letters with a one-cycle learning rate."""
    torch.manual_seed(seed)
    start = time.perf_counter()
    chunks = align_all(words, rounds=5)
    frequency: dict[str, int] = defaultdict(int)
    for row in chunks:
        for chunk in row:
            frequency[chunk] += 1
    outputs = tuple(sorted(c for c, count in frequency.items() if count >= 12))
    index = {chunk: i for i, chunk in enumerate(outputs)}
    kept = [
        (word, [index[c] for c in row])
        for (word, _), row in zip(words, chunks, strict=True)
        if row and all(c in index for c in row)
    ]
    print(
        f"aligned {len(kept)} of {len(words)} words, {len(outputs)} outputs, "
        f"{time.perf_counter() - start:.0f} s",
        flush=True,
    )
    model = LetterToSound(LetterConfig(outputs=outputs))
    print(f"parameters {sum(p.numel() for p in model.parameters())}", flush=True)
    kept.sort(key=lambda item: len(item[0]))
    batches = []
    for at in range(0, len(kept), 256):
        part = kept[at : at + 256]
        longest = max(len(word) for word, _ in part)
        target = torch.tensor([row + [-100] * (longest - len(row)) for _, row in part])
        batches.append((encode([word for word, _ in part]), target))
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.98), weight_decay=0.02)
    total = epochs * len(batches)
    generator = torch.Generator().manual_seed(seed)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    start, step = time.perf_counter(), 0
    for epoch in range(epochs):
        losses = 0.0
        for at in torch.randperm(len(batches), generator=generator).tolist():
            rate = min(1.0, step / 100) * (0.5 + 0.5 * math.cos(math.pi * step / total))
            optimiser.param_groups[0]["lr"] = 4e-3 * max(rate, 1e-3)
            letters, target = batches[at]
            logits = model(letters)
            loss = F.cross_entropy(
                logits.flatten(0, 1), target.flatten(), ignore_index=-100, label_smoothing=0.02
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            for name, value in model.state_dict().items():
                average[name].lerp_(value, 0.01)
            losses += loss.item()
            step += 1
        spent = (time.perf_counter() - start) / 60
        print(
            f"epoch {epoch + 1}/{epochs}  loss {losses / len(batches):.3f}  {spent:.1f} min",
            flush=True,
        )
        if spent > minutes:
            print(f"stopping: {minutes} minutes are spent")
            break
    model.load_state_dict(average)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dictionary", type=Path, default=DICTIONARY, help="folder of festlex-cmu")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write into")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=8.0, help="hard limit of training time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lexicon-only", action="store_true", help="keep the network as it is")
    options = parser.parse_args()
    torch.set_num_threads(1)

    entries = read_entries(options.dictionary)
    text = "\n".join(lexicon_lines(entries)) + "\n"
    options.out.mkdir(parents=True, exist_ok=True)
    packed = lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)
    (options.out / "lexicon.txt.xz").write_bytes(packed)
    found = {phone for readings in entries.values() for ps in readings.values() for phone in ps}
    symbols = PAUSES + sorted(found)
    (options.out / "symbols.json").write_text(json.dumps(symbols) + "\n")
    print(f"{len(entries)} words, {len(packed)} bytes, {len(symbols)} symbols", flush=True)
    if options.lexicon_only:
        return

    words = [
        (word, next(iter(readings.values())))
        for word, readings in sorted(entries.items())
        if word.isalpha() and len(word) > 1
    ]
    words = [(word, phones) for word, phones in words if phones]
    model = train(
        [w for w in words if not held_out(w[0])], options.minutes, options.epochs, options.seed
    )
    model.save(options.out / "letter_to_sound.safetensors")
    model = LetterToSound.load(options.out / "letter_to_sound.safetensors")
    test = [w for w in words if held_out(w[0])]
    print(f"held out {len(test)} words:", flush=True)
    for name, value in scores(model, test).items():
        print(f"  {name} {value:.3f}")


if __name__ == "__main__":
    main()
