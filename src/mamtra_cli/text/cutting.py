"""Where a reader stops: sentences, lines of lists and poems, and the stops that end nothing."""

import re

from mamtra_cli.text.abbreviations import ALL, BEFORE_NAMES, NEVER_LAST, NUMBERED, TITLES
from mamtra_cli.text.markup import LIST_MARK
from mamtra_cli.text.rules import NEAR, compiled

WRAPPED = 60  # characters from which on the end of a line may be the edge of the page
_STARTERS = frozenset(
    "the a an this that these those there he she it they we you i his her its their our my "
    "your he's "
    "she's it's they're we're you're i'm in on at by for from with to but and so or yet if "
    "when then "
    "while after before since as because although what who why how where which is are was were do "
    "does did can could will would should may might must have has had not no yes some many "
    "most all "
    "each every both another one two now here today yesterday tomorrow please let go "
    "meanwhile".split()
)
_LETTERED = frozenset(
    "plan vitamin grade type group class section hepatitis option exhibit appendix schedule point "
    "team unit part room gate block building factor note chapter table figure letter answer "
    "choice variant model step zone area level category phase case".split()
)
_TIMED = frozenset("monday tuesday wednesday thursday friday saturday sunday est pst cst gmt "
                   "utc eastern "
                   "pacific central".split())  # fmt: skip
_CLOSING = frozenset("\"')”’")
_MEASURES = frozenset({"ft", "in", "lb", "lbs", "oz", "mi", "yd", "min", "hr", "hrs", "sec", "no"})


def sentences(text: str) -> list[str]:
    """Cut a text after sentences; the pieces joined by a space hold all its words."""
    pieces: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        for line in _lines(paragraph):
            pieces += _cut(" ".join(line.split()))
    return [piece for piece in pieces if piece]


def sentence_at(text: str, place: int) -> str:
    """The sentence of a text that holds the character at `place`."""
    start = 0
    for piece in sentences(text):
        words = r"\s+".join(map(re.escape, piece.split()))
        found = re.compile(words).search(text, start)
        if found is None:
            break
        if place < found.end():
            return piece
        start = found.end()
    return " ".join(text[max(0, place - NEAR) : place + NEAR].split())


def _lines(paragraph: str) -> list[str]:
    """Lines of a paragraph that belong together, joined; a list item or a verse stands alone."""
    lines = [line for line in re.split(r"[\n\r\u2028\u2029]", paragraph) if line.strip()]
    joined: list[str] = []
    for line in lines:
        if joined and not _breaks(joined[-1].rsplit("\n", 1)[-1], line):
            joined[-1] += "\n" + line
        else:
            joined.append(line)
    return joined


def _breaks(line: str, following: str) -> bool:
    """Whether a line ends where it is written to end, and not at the edge of the page."""
    if compiled(LIST_MARK).match(following) or compiled(r"\s*(?:#{1,6}\s|[|>]|```)").match(
        following
    ):
        return True
    if compiled(r"\s*(?:#{1,6}\s|```|\|)").match(line):
        return True
    first = following.lstrip(" \t\"'“‘([*_")[:1]
    return len(line) < WRAPPED and (first.isupper() or first.isdigit())


def _cut(line: str) -> list[str]:
    pieces, start = [], 0
    mark = compiled(LIST_MARK).match(line)
    begin = mark.end() if mark else 0
    for stop in compiled(r"[.!?…]+[\"')\]”’*_]*(?=\s)").finditer(line, begin):
        if is_abbreviation(line, stop):
            continue
        pieces.append(line[start : stop.end()].strip())
        start = stop.end()
    pieces.append(line[start:].strip())
    return pieces


def is_abbreviation(text: str, stop: re.Match[str]) -> bool:
    """Whether a stop ends an abbreviation, an initial, a list mark or a cry, and no sentence."""
    if stop[0][0] in "!?" and stop[0][-1] in _CLOSING:
        return text[stop.end() : stop.end() + 2].strip().islower()  # `"Stop!" he cried.`
    if text[stop.start()] != "." or stop[0].startswith(".."):
        return False
    word = compiled(r"[\w.]*$").search(text[max(0, stop.start() - NEAR) : stop.start()])
    last = word[0] if word else ""
    rest = text[stop.end() : stop.end() + NEAR].lstrip(" \"'(“‘")
    goes_on = not rest[:1].isupper()
    following = compiled(r"[\w']*").match(rest)
    starts = following is not None and following[0].lower().replace("’", "'") in _STARTERS
    before = text[max(0, stop.start() - NEAR) : stop.start() - len(last)].split()
    name = last.lower()
    if name in NUMBERED and name not in TITLES:
        return rest[:1].isdigit()
    if name in _MEASURES and before and before[-1][-1:].isdigit():
        return goes_on
    if name in NEVER_LAST:
        street = name in ("st", "dr") and bool(before) and before[-1][0].isupper()
        return not (street and starts)
    if last == "c":
        return rest[:1].isdigit()  # circa
    if len(last) == 1 and last.isupper() and last != "I":
        if before and before[-1].lower() in _LETTERED:
            return goes_on
        named = not before or before[-1][0].isupper() or before[-1].lower() in BEFORE_NAMES
        named = named or compiled(r"[A-Z]\.").match(rest) is not None
        return goes_on or (named and not (starts and len(before) > 1))
    dotted = compiled(r"(?:[A-Za-z]\.)+[A-Za-z]").fullmatch(last) is not None
    if dotted and name in ("p.m", "a.m"):
        return goes_on or (following is not None and following[0].lower() in _TIMED)
    if dotted:
        return goes_on or not starts
    if name in ("inc", "ltd", "co", "corp", "jr", "sr", "bros"):
        return goes_on or not starts
    return name in ALL and goes_on
