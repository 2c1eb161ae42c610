"""Texts: reading on the command line, streams, encodings, and the published front end."""

import json
import re
from functools import cache
from typing import Any

from benchmarks import reading
from cases.case import CASES, TRIES, Place, case, first, told

PUBLISHED = {
    "zhdot-1": ("出口7.81万亿元，增长4.9%。", None, ("七点八一", "四点九")),
    "zhdot-3": ("圆周率是3.14", None, ("三点一四",)),
    "zhdot-4": ("版本2.0发布了", None, ("二点零",)),
    "cvraw-1": ("It costs $5.50.", len, ("five dollars and fifty cents",)),
    "cvraw-2": ("at 10:30", len, ("ten thirty",)),
    "cvraw-4": ("100%", len, ("one hundred percent",)),
    "cvraw-6": ("in the 1990s", len, ("nineteen nineties",)),
}
"""By the front end of CosyVoice 2 without wetext: a text, its counter, and what is in it."""
RAISED = ("It is +5 degrees today.", "Call +1 555 123 4567.", "ages 18+", "#1",
          "√2 is irrational", "[1]", "It costs 50¢.")  # fmt: skip


@cache
def front() -> Any:
    """Our reading, loaded once."""
    return reading.mamtra()


def _row(row: dict[str, Any]) -> Any:
    def check(place: Place) -> str:
        right, got = reading.ours_is_right(row, front())
        return "" if right else f"{row['input']!r} is read {got}"

    return check


for _found in reading.rows():
    if _found["set"] == "reports":
        CASES[_found["id"]] = _row(_found)


def _published(text: str, count: Any, words: tuple[str, ...]) -> Any:
    def check(place: Place) -> str:
        from mamtra_cli.families.cosyvoice2.text import text_normalize

        got = " ".join(text_normalize(text, count, compat=False)).lower()
        plain = got.replace(",", "")
        return "" if all(word in plain for word in words) else got

    return check


for _id, (_text, _count, _words) in PUBLISHED.items():
    CASES[_id] = _published(_text, _count, _words)


@case("wetext-1", "wetext-2", "wetext-4", "wetext-5", "wetext-7")
def what_wetext_raises_on(place: Place) -> str:
    from mamtra_cli.families.cosyvoice2 import text as rules

    normalizers = rules.wetext_normalizers()

    def broken(text: str) -> str:
        raise AssertionError(text)

    raising = rules.guarded(broken)
    made = normalizers or rules.Normalizers(zh=raising, en=raising)
    for text in RAISED:
        for compat in (False, True):
            if not "".join(rules.text_normalize(text, len, normalizers=made, compat=compat)):
                return f"{text!r} is nothing"
    return ""


@case("stream-1", "stream-3")
def a_stream_with_pictures(place: Place) -> str:
    place.file("t.txt", "Great job! 🎉 Keep going 👍 and have fun. The end.")
    line = f"mamtra synth --text-stream -m '{place.model}' {' '.join(TRIES)} --json -o x.wav"
    ran = place.shell(f"{line} < t.txt 2> told.txt")
    warned = (place.home / "told.txt").read_text()
    if wrong := told(ran, code=0):
        return wrong + warned[-200:]
    answer = json.loads(ran.said)
    names = [found["name"] for found in answer["skipped"]]
    spoken = " ".join(piece["text"] for piece in answer["spoken"])
    lost = [part for part in ("Great job", "Keep going", "have fun", "The end")
            if part not in spoken]  # fmt: skip
    lost += [name for name in ("party popper", "thumbs up sign")
             if name not in names or name not in warned]  # fmt: skip
    return f"lost: {lost}" if lost else ""


@case("long-1")
def a_cut_within_a_phrase(place: Place) -> str:
    from mamtra_cli.families.phones import PhoneFrontEnd

    front_end = PhoneFrontEnd.load(reading.LEXICON)
    words = "our guide counted the garden wall and the long path that led us to the old house"
    for piece in front_end.split(" ".join([words] * 7), 200)[:-1]:
        if re.search(r"\b(the|a|an|our|old|to|and|that|long)$", piece):
            return f"cut after `{piece[-20:]}`"
    return ""


@case("long-3")
def a_word_without_an_end(place: Place) -> str:
    text = f"The sequence is {'GATTACA' * 24} today."
    ran = place.run("synth", text, "-m", place.model, "--show-text", "--json")
    return told(ran, code=0)


@case("enc-1", "enc-2")
def texts_in_other_encodings(place: Place) -> str:
    text = "“Hello there,” she said. It’s late."
    wrong = []
    for encoding in ("utf-16", "cp1252"):
        path = place.file(f"{encoding}.txt", text.encode(encoding))
        ran = place.run("synth", "-i", path, "-m", place.model, "--show-text", "--json")
        hint = "WINDOWS-1252" if encoding == "cp1252" else "UTF-16"
        wrong.append(told(ran, code=0) if ran.code == 0 else told(ran, hint))
    return first(*wrong)


@case("ext-ordinary-1")
def tags_in_a_text(place: Place) -> str:
    text = 'wait [pause:1s] here <break time="1s"/> and [Kokoro](/kˈOkəɹO/) too'
    ran = place.run("synth", text, "-m", place.model, "--show-text", "--json")
    spoken = " ".join(re.findall(r'"words?": "([^"]*)"', ran.said)).lower()
    loud = [word for word in ("pause", "break", "less than", "one second") if word in spoken]
    return first(told(ran, code=0), f"read aloud: {loud}" if loud else "")


@case("see-1", "see-2")
def seeing_and_mending_a_reading(place: Place) -> str:
    lexicon = place.file("l.txt", "Kokoro\tkoh koh row\n")
    line = ("synth", "Say Kokoro 5x.", "-m", place.model, "--show-text", "--lexicon", lexicon)
    return told(place.run(*line), "koh", "five", code=0)
