"""Two hundred sentences that make a speaker skip or repeat words, and how many it did.

`hard_sentences.txt` begins with forty of ours; the rest are made here by rule: a word said many
times, lists with repeats, two words in turn, phrases again and again, letters, numbers, long words.

    python benchmarks/hard_sentences.py --write               # the file, from its rules
    python benchmarks/hard_sentences.py --model mini-mvc      # phones left out or out of order
    mamtra eval mini-mvc --teacher mini --data benchmarks/hard_sentences.txt --sentences 200 \\
      --asr whisper-base --sim none --utmos none --records hard.jsonl
    python benchmarks/hard_sentences.py --records hard.jsonl  # of words, as the judge heard them

A judge is no witness of repeats: what it leaves out may have been said. A word that was heard and
not written is `repeated` where one of three on either side is the same, else `added`. Where a judge
writes far more than could be said it runs in a loop of its own: those sentences (`loops`), and the
words that it wrote for them (`looped`), are counted apart.
"""

import argparse
import itertools
import json
import random
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

from mamtra_cli.engine.judging.metrics import whisper_words

TEXTS = Path(__file__).with_name("hard_sentences.txt")
COUNT, OURS = 200, 40
REACH = 3  # words beside a repeated word that it may be of
LOOP = 2, 5  # times the words of a text, and so many more: nobody said those
SHORT = (
    "no yes never very far more soon now here there up down on and so well go stop hush run".split()
)
THINGS = (
    "apples bread milk butter cheese eggs plums grapes salt sugar tea coffee rice beans onions "
    "carrots spoons forks knives plates cups candles paper pencils"
).split()
PAIRS = (
    "left right|day night|red blue|stop go|in out|black white|up down|east west|sun rain|hot cold"
)
PHRASES = (
    "step by step|round and round|time after time|over and over|little by little|side by side|"
    "day after day|again and again|mile after mile|one by one"
)
LONG = (
    "responsibility characterization misunderstanding internationalization incomprehensibility "
    "industrialization electroencephalography photosynthesis telecommunications thermodynamics "
    "counterrevolution misrepresentation institutionalization microarchitecture authoritarianism "
    "individualization constitutionality rehabilitation interchangeability autobiography"
).split()
NUMBERS = "one two three four five six seven eight nine ten".split()
LETTERS = "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z".split()


def ruled(seed: int = 0) -> Iterator[str]:
    """Sentences without end, of eight kinds in turn."""
    rng = random.Random(seed)
    pairs, phrases = ([one.split(" ") for one in PAIRS.split("|")], PHRASES.split("|"))
    while True:
        word = rng.choice(SHORT)
        yield f"{' '.join([word] * rng.randint(4, 8)).capitalize()}, they said."
        few = rng.sample(THINGS, rng.randint(3, 5))
        listed = [rng.choice(few) for _ in range(rng.randint(7, 12))]
        yield f"{', '.join(listed).capitalize()}, and {rng.choice(few)}."
        one, other = rng.choice(pairs)
        turns = [one, other] * rng.randint(3, 6) + [one] * rng.randint(0, 2)
        yield f"{', '.join(turns).capitalize()}."
        phrase = rng.choice(phrases)
        yield f"{' and '.join([phrase] * rng.randint(3, 5)).capitalize()} we went on."
        yield f"{' '.join(LETTERS[i] for i in sorted(rng.sample(range(26), rng.randint(8, 16))))}."
        digits = [rng.choice(NUMBERS) for _ in range(rng.randint(8, 14))]
        yield f"The number is {' '.join(digits)}."
        first, second, third = rng.sample(LONG, 3)
        yield f"The {first} of {second} and {third} was discussed."
        clause = f"the {rng.choice(THINGS)} and the {rng.choice(THINGS)}"
        yield f"{', '.join([clause] * rng.randint(2, 4)).capitalize()}, that is all."


def sentences() -> list[str]:
    """All of them: ours as they stand, then those made by rule, none twice."""
    found = TEXTS.read_text("utf-8").splitlines()[:OURS]
    for text in ruled():
        if len(found) == COUNT:
            break
        if text not in found:
            found.append(text)
    return found


def by_frames(name: str) -> dict[str, object]:
    """Phones that a model without tokens gave no frame, or went back to."""
    from mamtra_cli.engine.model import Engine

    engine = Engine.load(name, device="cpu", threads=1)
    speaker, voice = engine.speaker, engine.voice()
    phones = skipped = repeated = 0
    for text in sentences():
        for piece in speaker.pieces(text):
            ids = speaker.encode(piece)
            owners = [frame.owner for made in speaker.made(ids, voice) for frame in made.frames]
            phones += len(ids)
            skipped += len(ids) - len(set(owners))
            repeated += sum(b < a for a, b in itertools.pairwise(owners))
    return {"model": name, "phones": phones, "skipped": skipped, "repeated": repeated}


def heard(reference: list[str], words: list[str]) -> dict[str, int]:
    """Words of a text that were not heard, and words that were and are not in it."""
    found = {"skipped": 0, "repeated": 0, "added": 0}
    for kind, a, b, c, d in SequenceMatcher(None, reference, words, False).get_opcodes():
        if kind == "equal":
            continue
        found["skipped"] += max(0, (b - a) - (d - c))
        for place in range(c + (b - a), d):  # beyond those that stand for another
            near = words[max(0, place - REACH) : place] + words[place + 1 : place + 1 + REACH]
            again = words[place] in near
            found["repeated" if again else "added"] += 1
    return found


def by_records(path: Path) -> list[dict[str, object]]:
    """Sums of a model each."""
    sums: dict[str, dict[str, int]] = {}
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        if row["heard"] is None:
            continue
        mine = sums.setdefault(row["model"], {"sentences": 0, "words": 0, "loops": 0, "looped": 0})
        reference, words = (whisper_words(row[name]).split() for name in ("text", "heard"))
        found = {"sentences": 1, "words": len(reference)}
        if len(words) > LOOP[0] * len(reference) + LOOP[1]:
            found |= {"loops": 1, "looped": len(words)}
        else:
            found |= heard(reference, words)
            found["incomplete"] = int(found["skipped"] > 0)
        for name, value in found.items():
            mine[name] = mine.get(name, 0) + value
    return [{"model": name, **found} for name, found in sums.items()]


def main() -> None:
    """Write or count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--model", default="mini-mvc")
    parser.add_argument("--records", type=Path, help="of `mamtra eval --records`")
    args = parser.parse_args()
    if args.write:
        TEXTS.write_text("\n".join(sentences()) + "\n", "utf-8")
    elif args.records:
        for row in by_records(args.records):
            print(json.dumps(row))
    else:
        print(json.dumps(by_frames(args.model)))


if __name__ == "__main__":
    main()
