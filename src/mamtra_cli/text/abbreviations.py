"""Abbreviations: titles, streets, Latin, `No. 7`, `w/o`, degrees.

The tables serve two: rules that write the words, and the cutter of sentences, which asks whether a
stop ends anything.
"""

import re

from mamtra_cli.text.rules import HIDDEN, Rule, after, before, compiled, said, show

TITLES = {
    "dr": "doctor", "mr": "mister", "mrs": "mrs", "ms": "ms", "prof": "professor",
    "gen": "general", "sen": "senator", "rep": "representative", "gov": "governor",
    "capt": "captain", "lt": "lieutenant", "col": "colonel", "sgt": "sergeant",
    "rev": "reverend", "hon": "honorable", "pres": "president", "st": "saint", "mt": "mount",
    "ft": "fort", "messrs": "messers", "fr": "father", "cpl": "corporal", "maj": "major",
    "adm": "admiral", "cmdr": "commander", "supt": "superintendent", "insp": "inspector",
}  # fmt: skip
_BARE_TITLES = "Dr|Mr|Mrs|Ms|Prof|St|Mt|Lt|Sgt|Capt|Col|Gov|Sen|Rev"  # met without a stop
STREETS = {
    "st": "street", "dr": "drive", "rd": "road", "ave": "avenue", "blvd": "boulevard",
    "ln": "lane", "hwy": "highway", "pl": "place", "sq": "square", "ct": "court",
    "pkwy": "parkway", "expy": "expressway", "fwy": "freeway", "cres": "crescent",
}  # fmt: skip
SHORT = {
    "etc": "et cetera", "vs": "versus", "jr": "junior", "sr": "senior", "inc": "incorporated",
    "ltd": "limited", "co": "company", "corp": "corporation", "bros": "brothers",
    "dept": "department", "approx": "approximately", "est": "established", "tel": "telephone",
    "al": "al", "ca": "circa", "cf": "compare", "misc": "miscellaneous", "max": "maximum",
    "min": "minimum", "avg": "average", "temp": "temperature", "incl": "including",
    "excl": "excluding", "intl": "international", "natl": "national", "assoc": "association",
    "govt": "government", "univ": "university", "assn": "association", "jan": "january",
    "feb": "february", "mar": "march", "apr": "april", "jun": "june", "jul": "july",
    "aug": "august", "sep": "september", "sept": "september", "oct": "october",
    "nov": "november", "dec": "december", "mon": "monday", "tue": "tuesday", "tues": "tuesday",
    "wed": "wednesday", "thu": "thursday", "thurs": "thursday", "fri": "friday",
    "sat": "saturday", "sun": "sunday", "esp": "especially", "mgr": "manager", "asst": "assistant",
}  # fmt: skip
# Words of their own where they begin small.
_WORDS_TOO = frozenset("sun sat mar al ca co est art wed mon dec temp max min".split())
NUMBERED = {
    "no": "number", "nos": "numbers", "fig": "figure", "figs": "figures", "vol": "volume",
    "vols": "volumes", "ch": "chapter", "sec": "section", "p": "page", "pp": "pages",
    "eq": "equation", "art": "article", "par": "paragraph", "para": "paragraph",
    "apt": "apartment", "ext": "extension", "ep": "episode", "chap": "chapter", "ste": "suite",
    "rte": "route", "rm": "room", "bldg": "building", "pg": "page", "pgs": "pages",
    "chs": "chapters", "eqs": "equations", "op": "opus", "lvl": "level",
}  # fmt: skip
DOTTED = {"e.g": "for example", "i.e": "that is", "a.k.a": "also known as", "ph.d": "^p ^h ^d"}
NEVER_LAST = (
    TITLES.keys()
    | NUMBERED.keys()
    | {"vs", "approx", "ca", "cf", "e.g", "i.e", "incl", "excl", "esp", "avg"}
)
ALL = NEVER_LAST | STREETS.keys() | SHORT.keys() | DOTTED.keys()
# After these the capital before a stop is the initial of a name.
BEFORE_NAMES = frozenset("and or by with from to for of but than as said says".split())
_SLASHED = {"w/o": "without", "w/": "with", "c/o": "care of", "b/c": "because",
"n/a": "not applicable",
            "w/in": "within"}  # fmt: skip


# Met with a stop and without, and nothing else.
_LOOSE = {
    "yrs": "years", "hrs": "hours", "mins": "minutes", "secs": "seconds", "lbs": "pounds",
    "wks": "weeks", "approx": "approximately", "mtg": "meeting", "appt": "appointment",
    "pls": "please", "Pls": "please", "plz": "please", "thx": "thanks", "Thx": "thanks",
    "Ctrl": "control", "ctrl": "control", "Cmd": "command", "acct": "account", "pkg": "package",
    "YoY": "year over year", "QoQ": "quarter over quarter", "MoM": "month over month",
    "qty": "quantity", "Qty": "quantity", "wknd": "weekend",
}  # fmt: skip
_MONTHS = "jan feb mar apr jun jul aug sep sept oct nov dec".split()
_DAYS = "mon tue tues wed thu thurs fri sat sun".split()
_CALENDAR = frozenset([*_MONTHS, *_DAYS, *(SHORT[name] for name in (*_MONTHS, *_DAYS))])
_JOINERS = frozenset(["and", "or", "to", "&", ","])
_CALENDAR_NAMES = "|".join(name.capitalize() for name in (*_MONTHS, *_DAYS))
_NAMED = frozenset("Jan Mar Jun Sep Dec Mon Wed Sat Sun".split())  # words and names too
_SEVERAL = "pp|vols|figs|chs|pgs|eqs"
_LIVES = {"c": "circa", "b": "born", "d": "died", "fl": "flourished"}
_RANKED = {
    "ed": "edition", "fl": "floor", "c": "century", "cent": "century", "hr": "hour", "mo": "month",
    "yr": "year", "wk": "week", "min": "minute",
}  # fmt: skip
_SIDES = {"N": "north", "S": "south", "E": "east", "W": "west"}
# Of scripture, before chapter and verse.
BOOKS = {
    "Gen": "Genesis", "Ex": "Exodus", "Exod": "Exodus", "Lev": "Leviticus", "Num": "Numbers",
    "Deut": "Deuteronomy", "Josh": "Joshua", "Judg": "Judges", "Sam": "Samuel", "Kgs": "Kings",
    "Chr": "Chronicles", "Neh": "Nehemiah", "Ps": "Psalm", "Prov": "Proverbs",
    "Eccl": "Ecclesiastes", "Isa": "Isaiah", "Jer": "Jeremiah", "Ezek": "Ezekiel",
    "Dan": "Daniel", "Hos": "Hosea", "Mic": "Micah", "Zech": "Zechariah", "Mal": "Malachi",
    "Matt": "Matthew", "Mt": "Matthew", "Mk": "Mark", "Lk": "Luke", "Jn": "John",
    "Rom": "Romans", "Cor": "Corinthians", "Gal": "Galatians", "Eph": "Ephesians",
    "Phil": "Philippians", "Col": "Colossians", "Thess": "Thessalonians", "Tim": "Timothy",
    "Heb": "Hebrews", "Jas": "James", "Pet": "Peter", "Rev": "Revelation",
}  # fmt: skip
_SMALL_TOO = frozenset({"dr", "mr", "mrs", "ms", "prof", "messrs", "ave", "blvd", "rd", "hwy"})


def _begins(rest: str) -> bool:
    """Whether a sentence may begin here, or none follows; the letter of `Ave. B` begins none."""
    return not rest or (rest[0].isupper() and not re.match(r"[B-HJ-Z]\b(?!['.])", rest))


def _street(match: re.Match[str]) -> str | None:
    word = match["word"].lower()
    doubtful = word in ("st", "dr", "pl", "sq", "ct", "cres")
    if (
        doubtful
        and re.match(r"\s[A-Z]", after(match))
        and not re.match(r"\s(?:[NSEW]|[A-Z]{2})\b", after(match))
    ):
        starts = match["stop"] and match["house"]
        if not starts:
            return None
    rest = after(match).lstrip()
    ends = bool(match["stop"]) and (_begins(rest) or rest[0] in "\"'")
    return f"{match['name']} {said(STREETS[word])}" + (". " if ends else "")


def _ranked_street(match: re.Match[str]) -> str | None:
    """`5th Ave.`: the rank has been said."""
    if not show(match["name"]).rstrip().endswith(("st", "nd", "rd", "th")):
        return None
    rest = after(match).lstrip()
    ends = bool(match["stop"]) and _begins(rest)
    return f"{match['name']}{said(STREETS[match['word'].lower()])}" + (". " if ends else "")


def _dotted(match: re.Match[str]) -> str:
    words = DOTTED[match[1].lower().rstrip(".")]
    return said(words if words[0] == "^" else words + ",")


def _numbered(match: re.Match[str]) -> str:
    return said(NUMBERED[match[1].lower()])


def _featuring(match: re.Match[str]) -> str | None:
    """`Drake ft. Rihanna`: a name on both sides."""
    named = before(match)
    return said("featuring") if named and named[-1][0].isupper() else None


def _counted(match: re.Match[str]) -> str | None:
    """`max. 5`; after a number it is a unit, `22 min 14 s`, after a name one: `Pro Max 5`."""
    words = before(match)
    if words and (words[-1][-1:].isdigit() or (match[0] == "Max" and words[-1][0].isupper())):
        return None
    return said(SHORT[(match[1] or match[2]).lower()])


def _title(match: re.Match[str]) -> str:
    return said(TITLES[match[1].lower()])


def _short(match: re.Match[str]) -> str | None:
    written, word = match[1], match[1].lower()
    rest = after(match).lstrip()
    measured = word in ("max", "min", "temp") and rest[:1].islower()
    if word in _WORDS_TOO and not (written[0].isupper() or measured):
        return None
    if written.islower() and word not in SHORT and word not in _SMALL_TOO:
        return None
    words = SHORT.get(word) or TITLES.get(word) or STREETS.get(word)
    ends = _begins(rest)
    return said(str(words)) + (". " if ends and word not in NEVER_LAST else "")


def _month_range(match: re.Match[str]) -> str:
    return ". to "


def _side(match: re.Match[str]) -> str:
    """`12 N. Main St.`: the side of a town."""
    return said(_SIDES[match[1]])


def _several(match: re.Match[str]) -> str:
    """`30 pp.`; `$25 pp` is what each pays, `2.5pp` a difference of shares."""
    amount = compiled(r"([$£€]?)(\d[\d.,]*)$").search(
        match.string[max(0, match.start() - 20) : match.start()]
    )
    if match[1].lower() == "pp" and amount and (amount[1] or "." in amount[2]):
        return said("per person" if amount[1] else "percentage points")
    return _numbered(match)


def _book(match: re.Match[str]) -> str:
    """`1 Cor. 13:4`: the name is left for the rule of verses."""
    nth = {"1": "first", "2": "second", "3": "third"}.get(match["nth"] or "")
    return (said(nth) if nth else "") + BOOKS[match["book"] or match["psalm"]] + " "


def _listed(match: re.Match[str]) -> str | None:
    """`Jan, Feb and Mar`, `in Oct`: months and days that are words too stand beside others."""
    written = match[1]
    if after(match)[:1] in ("-", "–"):
        return None
    if written in _NAMED:
        sides = (list(reversed(before(match))), after(match).split())
        near = [next((word for word in side if word not in _JOINERS), "") for side in sides]
        names = compiled(r"[a-z]+").findall(" ".join(near).lower())
        if not any(name in _CALENDAR for name in names):
            return None
    return said(SHORT[written.lower()])


def _loose(match: re.Match[str]) -> str:
    ends = bool(match[2]) and _begins(after(match).lstrip())
    return said(_LOOSE[match[1]]) + (". " if ends else "")


def _alternatives(words: object) -> str:
    return "|".join(sorted(words, key=len, reverse=True))  # type: ignore[call-overload]


_STREET = rf"(?:{_alternatives(n.capitalize() for n in [*STREETS, *STREETS.values()])})"
RULES = (
    Rule(r"(?<![\w/])(w/o|w/in|c/o|b/c|n/a)(?![\w/])", lambda m: said(_SLASHED[m[1]]), "/"),
    Rule(r"(?<![\w/])w/\s?(?=[A-Za-z]{2}|a\s|\d)", lambda m: said("with"), "/"),
    Rule(r"\b(?i:(e\.g|i\.e|a\.k\.a|ph\.d))\b\.?,?", _dotted, "."),
    Rule(r"\bet al\b\.?", lambda m: said("et al"), "."),
    Rule(r"(?<=[A-Za-z]\s)\(?(?:ft|feat)\b\.?(?=\s[A-Z])", _featuring, "f"),
    Rule(
        rf"\b((?i:{_alternatives(word for word in NUMBERED if word != 'p')}))\."
        r"\s?(?=[IVXL]+\b(?!\.\S))",
        _numbered,
        "IVXL",
    ),
    Rule(r"(?<=[a-z])\.?-(?=[A-Z][a-z]{2}\.)", _month_range, "-"),
    Rule(rf"\b([NSEW])\.(?=\s[A-Z][a-z]+\s{_STREET}\b)", _side, "NSEW"),
    Rule(
        rf"(?P<name>(?P<house>[{HIDDEN}]\s+(?:[A-Z][a-z']*\s)*)?\b(?:[A-Z][a-z]+(?:'s)?|\d+(?:st|nd|rd|th)))\s"
        rf"(?P<word>{_alternatives(name.capitalize() for name in STREETS)})\b(?P<stop>\.)?",
        _street,
        "dtelywqxs",
    ),
    Rule(
        rf"(?P<name>[{HIDDEN}]+\s+)(?P<word"
        rf">{_alternatives(name.capitalize() for name in STREETS)})\b(?P<stop>\.)?",
        _ranked_street,
        "dtelywqxs",
    ),
    Rule(r"\bHwy\b\.?", lambda m: said("highway"), "H"),
    Rule(rf"\b({_alternatives(_LOOSE)})\b(\.)?(?!')", _loose, "bcklmpqtzoC"),
    Rule(
        rf"\b(?:({_alternatives(name.capitalize() for name in TITLES)})\.|({_BARE_TITLES})\b)(?"
        rf"=\s[A-Z])",
        lambda m: said(TITLES[(m[1] or m[2]).lower()]),
        "",
    ),
    Rule(
        rf"\b((?i:{_alternatives(SHORT.keys() | STREETS.keys() | TITLES.keys())}))\.(?!\w)",
        _short,
        ".",
    ),
    Rule(
        rf"\b({_CALENDAR_NAMES})\b(?!\.\w|')(?:/(?=(?:{_CALENDAR_NAMES})\b))?",
        _listed,
        "JFMASONDTW",
    ),
)
BEFORE_NUMBERS = (
    Rule(
        r"\b([Mm]ax|[Mm]in|[Aa]vg)\.?(?=\s[$£€]?\d)|\b([Cc]a|[Aa]pprox)\.(?=\s[$£€]?\d)",
        _counted,
        "0",
    ),
    Rule(r"\b([NSEW])\.(?=\s\d+(?:st|nd|rd|th)\b)", _side, "NSEW"),
    Rule(rf"(?<=\d\s)([NSEW])\.?(?=\s(?:[A-Z][a-z]+|\d+[a-z]{{2}})\s{_STREET}\b)", _side, "NSEW"),
    Rule(r"\b[Ee]st\.(?=\s?(?:1[5-9]|20)\d\d\b(?![,.]\d))", lambda m: said("established"), "."),
    Rule(r"\b[Ee]st\.(?=\s?[$£€]?\d)", lambda m: said("estimated"), "."),
    Rule(rf"\b((?i:{_alternatives(NUMBERED)}))\.\s?(?=\(?\d)", _numbered, "."),
    Rule(rf"(?<=\d)\s?((?i:{_SEVERAL}))\b\.?", _several, "pvfcgPVFCG"),
    Rule(
        r"(?<![\w.'])(c|b|d|fl)\.\s?(?=[1-9]\d{2,3}s?\b(?![,.:]\d))",
        lambda m: said(_LIVES[m[1]]),
        "cbdf",
    ),
    Rule(
        r"(?<=\d(?:st|nd|rd|th)\s)(ed|fl|c|cent|hr|mo|yr|wk|min)\b\.?(?!')",
        lambda m: said(_RANKED[m[1]]),
        "efchmyw",
    ),
    Rule(
        r"\b((?:I|US|SR|CR|Hwy|Route|Rte)[- ]\d+)\s([NSEW])\b(?!\.?\w)",
        lambda m: f"{m[1]} {said(_SIDES[m[2]])}",
        "NSEW",
    ),
    Rule(
        rf"\b(?:(?P<nth>[1-3])\s)?(?P<book>{_alternatives(BOOKS)})\.?\s(?=\d+:\d)"
        r"|\b(?P<psalm>Ps)\.\s(?=\d)",
        _book,
        ":P",
    ),
    Rule(r"#(?=\d)|\b[Nn]°\s?(?=\d)", lambda m: said("number"), "#°"),
)
DEGREES = (
    Rule(r"\b(Ph|D)\.?Phil\b\.?", lambda m: said(f"^{m[1][0].lower()} phil"), "P"),
    Rule(r"\bPh\.?\s?D('?s)?\b", lambda m: said("^p ^h ^d" + ("'s" if m[1] else "")), "P"),
    Rule(
        r"\b([BMD])\.?(Sc|Ed|Eng|Tech|Litt|Mus|Arch|Com|Phil|Res)\b(?:\.(?=\s[a-z]|,|\s?$))?",
        lambda m: said(_degree(m)),
        "BMD",
    ),
    Rule(r"\b(LL)\.?([BMD])\b\.?", lambda m: said(f"^l ^l ^{m[2].lower()}"), "L"),
)


def _degree(match: re.Match[str]) -> str:
    subject = match[2].lower()
    spoken = "^s ^c" if subject == "sc" else subject
    return f"^{match[1].lower()} {spoken}"
