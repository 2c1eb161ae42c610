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

from mamtra_cli.text.letter_network import LetterNetwork, encode
from mamtra_cli.text.letter_to_sound import LetterConfig, LetterToSound

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
# Words younger than the dictionary, and sounds that are written without vowels. Ours.
ADDED = """
airbnb eh1 r b iy1 ax n b iy1 | alibaba aa1 l iy b aa1 b ax | anime ae1 n ax m ey1
anthropic ae n th r aa1 p ih k | avengers ax v eh1 n jh er z | biofuel b ay1 ow f y uw1 ax l
bitcoin b ih1 t k oy1 n | blockchain b l aa1 k ch ey1 n | blog b l aa1 g | blogger b l aa1 g er
blogs b l aa1 g z | bluetooth b l uw1 t uw1 th | brexit b r eh1 k s ih t | brr b er1
chatbot ch ae1 t b aa1 t | chatgpt ch ae1 t jh iy1 p iy1 t iy1 | cortana k ao r t ae1 n ax
coronavirus k ax r ow1 n ax v ay1 r ax s | covid k ow1 v ih d
cybersecurity s ay1 b er s ih k y uh1 r ih t iy | docker d aa1 k er
download d aw1 n l ow1 d | downloads d aw1 n l ow1 d z | dumbledore d ah1 m b ax l d ao1 r
dunno d ax n ow1 | ebay iy1 b ey1 | email iy1 m ey1 l | emails iy1 m ey1 l z
embedding ih m b eh1 d ih ng | emoji ih m ow1 jh iy | emojis ih m ow1 jh iy z
encoder ih n k ow1 d er | euros y uh1 r ow z | facebook f ey1 s b uh1 k
firewall f ay1 er w ao1 l | frodo f r ow1 d ow | genomic jh ax n ow1 m ih k
gigabyte g ih1 g ax b ay1 t | gigahertz g ih1 g ax hh er1 t s | github g ih1 t hh ah1 b
google g uw1 g ax l | googled g uw1 g ax l d | grr g er1 | guacamole g w aa1 k ax m ow1 l iy
haha hh aa1 hh aa1 | hashtag hh ae1 sh t ae1 g | hmm hh ah1 m | hobbit hh aa1 b ih t
hogwarts hh aa1 g w ao1 r t s | homepage hh ow1 m p ey1 jh | huawei w aa1 w ey1
hummus hh ah1 m ax s | instagram ih1 n s t ax g r ae1 m | ipad ay1 p ae1 d
iphone ay1 f ow1 n | javascript jh aa1 v ax s k r ih1 p t | jedi jh eh1 d ay
karaoke k eh1 r iy ow1 k iy | kilobyte k ih1 l ax b ay1 t | kubernetes k uw1 b er n eh1 t iy z
kyiv k iy1 v | latte l aa1 t ey1 | linux l ih1 n ax k s | login l ao1 g ih1 n
logout l ao1 g aw1 t | lol l aa1 l | macron m ax k r ow1 n | malware m ae1 l w eh1 r
mamba m aa1 m b ax | megabyte m eh1 g ax b ay1 t | metformin m eh t f ao1 r m ih n
microbiome m ay1 k r ow b ay1 ow1 m | milliliter m ih1 l ax l iy1 t er
minecraft m ay1 n k r ae1 f t | mm m | mmm m | mumbai m uh m b ay1 | netflix n eh1 t f l ih1 k s
nonbinary n aa n b ay1 n eh r iy | nth eh1 n th | nvidia eh n v ih1 d iy ax
obama ow b aa1 m ax | offline ao1 f l ay1 n | omicron aa1 m ih k r aa1 n | online aa1 n l ay1 n
openai ow1 p ax n ey1 ay1 | paracetamol p eh1 r ax s iy1 t ax m aa1 l | parkour p aa r k uh1 r
paypal p ey1 p ae1 l | pfft f t | pilates p ax l aa1 t iy z | pixel p ih1 k s ax l
pixels p ih1 k s ax l z | playlist p l ey1 l ih1 s t | podcast p aa1 d k ae1 s t
pokemon p ow1 k ey m aa1 n | psst p s t | putin p uw1 t ih n | python p ay1 th aa1 n
quinoa k iy1 n w aa1 | remix r iy1 m ih1 k s | router r aw1 t er | selfie s eh1 l f iy
shh sh | skype s k ay1 p | skywalker s k ay1 w ao1 k er | smartphone s m aa1 r t f ow1 n
snapchat s n ae1 p ch ae1 t | snowboard s n ow1 b ao1 r d | sorta s ao1 r t ax
spacex s p ey1 s eh1 k s | spiderman s p ay1 d er m ae1 n | spotify s p aa1 t ih f ay1
spyware s p ay1 w eh1 r | terabyte t eh1 r ax b ay1 t | tesla t eh1 s l ax
tiktok t ih1 k t aa1 k | tokenizer t ow1 k ax n ay1 z er | transgender t r ae n z jh eh1 n d er
tsk t ih1 s k | twitter t w ih1 t er | ubuntu uw b uh1 n t uw | upload ah1 p l ow1 d
uploads ah1 p l ow1 d z | username y uw1 z er n ey1 m | vegan v iy1 g ax n | vlog v l aa1 g
vocoder v ow1 k ow1 d er | voldemort v ow1 l d ax m ao1 r t | webpage w eh1 b p ey1 jh
website w eh1 b s ay1 t | websites w eh1 b s ay1 t s | whatsapp w aa1 t s ae1 p
wifi w ay1 f ay1 | wiki w ih1 k iy | wikipedia w ih1 k ih p iy1 d iy ax | xbox eh1 k s b aa1 k s
xi sh iy1 | xiaomi sh aw1 m iy | yoda y ow1 d ax | youtube y uw1 t uw1 b
zelensky z ax l eh1 n s k iy | zumba z uw1 m b ax
"""
# Lower-case initials that would look like words.
INITIALS = """adhd aka amd api ascii asap btw cpu diy dna dvd eta faq fyi gps gpu gui html http
https imo iq json lgbt ngo omg pdf rna sms sql ssd tv uri url usb uv vip vpn wtf www xml
""".split()
INITIALS_READ = {"ascii": "ae1 s k iy", "json": "jh ey1 s ax n"}


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
    for entry in re.split(r"[|\n]", ADDED.strip()):
        word, *phones = entry.split()
        entries[word] = {"": phones}
    for word in INITIALS:
        named = [["ey1"] if c == "a" else next(iter(entries[c].values())) for c in word]
        spelled = [phone for phones in named for phone in phones]
        entries[word] = {"": INITIALS_READ[word].split() if word in INITIALS_READ else spelled}
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
) -> LetterNetwork:
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
    model = LetterNetwork(LetterConfig(outputs=outputs))
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
    parser.add_argument("--epochs", type=int, default=6)
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
    reader = LetterToSound.load(options.out / "letter_to_sound.safetensors")
    test = [w for w in words if held_out(w[0])]
    print(f"held out {len(test)} words:", flush=True)
    for name, value in scores(reader, test).items():
        print(f"  {name} {value:.3f}")


if __name__ == "__main__":
    main()
