"""Code and formulas: operators, languages named with signs, powers, molecules, `A4`, "
"`snake_case`."""

import re

from mamtra_cli.text.number_words import cardinal, digit_string, year
from mamtra_cli.text.rules import HIDDEN, Rule, after, compiled, said, word_before

_OPERATORS = {
    "===": "is equal to", "!==": "is not equal to", "==": "equals", "!=": "is not equal to",
    "<=": "less than or equal to", ">=": "greater than or equal to", "≤": "less than or equal to",
    "≥": "greater than or equal to", "≠": "is not equal to", "->": "to", "=>": "to", "→": "to",
    "⇒": "to",
    "<-": "from", "←": "left arrow", "&&": "and", "||": "or", "++": "plus plus",
    "+=": "plus equals",
    "-=": "minus equals", "*=": "times equals", "/=": "divided by equals", ":=": "is set to",
    "<<": "shifted left by", ">>": "shifted right by", "**": "to the power of",
    "×": "times", "÷": "divided by", "±": "plus or minus", "∓": "minus or plus",
    "≈": "approximately", "√": "square root of",
    "::": "colon colon",
}  # fmt: skip
_ELEMENTS = frozenset(
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As "
    "Se Br "
    "Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce W Re Os Ir Pt Au Hg Tl "
    "Pb Bi "
    "Po At Rn Fr Ra Ac Th Pa U Np Pu".split()
)
_SALTS = r"NaCl|NaOH|HCl|KCl|KOH|HBr|AgCl|CaO|MgO|ZnO|CuO|FeO|SiC|GaN|GaAs|NaF|LiCl|KBr|NaBr"
_NUMBERED_THINGS = frozenset(
    "order ticket invoice case flight room part item model issue bug lot gate suite unit apt "
    "apartment booking claim batch locker seat serial product account".split()
)
_POWERS = {"2": "squared", "3": "cubed"}


def _operator(match: re.Match[str]) -> str:
    return said(_OPERATORS[match[0].strip()])


def _power(match: re.Match[str]) -> str:
    sign, digits = match["sign"], match["n"]
    if digits in _POWERS and not sign and match["ten"] is None:
        return said(_POWERS[digits])
    if not digits.isdigit():
        return said("to the power of") + f"{sign or ''}{digits}"
    minus = "minus " if sign == "-" else ""
    to = "to the" if match["ten"] is not None or minus else "to the power of"
    return said(f"{to} {minus}{cardinal(digits)}")


def _formula(match: re.Match[str]) -> str | None:
    """`H2SO4`: letters by name, numbers between; only where every part is an element."""
    parts = re.findall(r"([A-Z][a-z]?|\))(\d*)", match[0])
    if any(element not in _ELEMENTS and element != ")" for element, _ in parts):
        return None
    mixed = any(len(element) > 1 for element, _ in parts)
    if mixed and len(parts) == 1 and parts[0][0] not in ("Cl", "Br"):
        return None
    words = []
    for element, digits in parts:
        words += [f"^{letter}" for letter in element.lower() if letter != ")"]
        if digits:
            words.append(cardinal(digits))
    return said(" ".join(words))


def _ion(match: re.Match[str]) -> str | None:
    """`Na+`, `Ca2+`; grades (`B+`) are not met here."""
    element, digits = match["element"], match["charge"]
    if element not in _ELEMENTS:
        return None
    letters = " ".join(f"^{letter}" for letter in element.lower())
    return said(f"{letters} {cardinal(digits)} plus" if digits else f"{letters} plus")


def _salt(match: re.Match[str]) -> str:
    return said(" ".join(f"^{letter}" for letter in match[0].lower()))


def _digits(digits: str) -> str:
    """A number in a name: `A380` as `three eighty`, `4090` as `forty ninety`."""
    if digits[0] == "0" or len(digits) > 4:
        return digit_string(digits)
    if len(digits) == 3 and digits[1:] != "00":
        return year(digits)
    return year(digits) if len(digits) == 4 else cardinal(digits)


def _name(match: re.Match[str]) -> str | None:
    """Letters and digits in one word; the letters are left to be read as words or names."""
    text = match[0]
    if re.fullmatch(r"\d[\d.,]*(?:[kKmMb]n?|[.,]\d+B|st|nd|rd|th|ST|ND|RD|TH|'?s|x|e\d+)", text):
        return None
    if re.fullmatch(r"[A-Za-z]+\d+s", text):
        return None
    out = []
    for part in re.findall(r"\d+|[A-Za-z]+", text):
        if part.isdigit():
            out.append(said(_digits(part)))
        elif part.islower() and (len(part) == 1 or not re.search(r"[aeiouy]", part)):
            out.append(said(" ".join(f"^{letter}" for letter in part)))
        elif len(part) == 1:
            out.append(said(f"^{part.lower()}"))
        else:
            out.append(f" {part} ")
    return "".join(out)


def _figures(match: re.Match[str]) -> str:
    """`0x1F`, `0b101`: figure by figure."""
    return said(" ".join(cardinal(c) if c.isdigit() else f"^{c.lower()}" for c in match[0]))


def _seats(match: re.Match[str]) -> str | None:
    """`A1-A12`."""
    return f"{match[1]}{match[2]}{said('to')}" if int(match[2]) < int(match[3]) else None


def _standard(match: re.Match[str]) -> str:
    """`H.264`."""
    return said(f"^{match[1].lower()} {_digits(match[2])}")


def _aircraft(match: re.Match[str]) -> str:
    """`747-8`, `737-800`: a type and its variant."""
    return said(f"{_digits(match[1] or match[3])} {cardinal(match[2] or match[4])}")


def _sharp(match: re.Match[str]) -> str:
    return said(f"^{match[1].lower()} sharp")


def _hashtag(match: re.Match[str]) -> str:
    """`#fun`; `#A-1034` and `order #B77` are numbers."""
    code = compiled(r"[A-Z]{1,5}(-)?\d").match(after(match))
    numbered = code and (code[1] or word_before(match) in _NUMBERED_THINGS)
    return said("number" if numbered else "hashtag")


def _call(match: re.Match[str]) -> str:
    return f"{match[1][0]} {'prime ' if match[1][1:] else ''}{match[2]} "


def _root(match: re.Match[str]) -> str:
    return said("square root of")


def _slash(match: re.Match[str]) -> str | None:
    """Between two words a slash is not said; in a path it is."""
    text = match.string
    left = text[max(0, match.start() - 60) : match.start()].split(" ")[-1]
    right = text[match.end() : match.end() + 60].split(" ")[0]
    path = left[:1] in ("/", ".", "~", "\\") or f"{left}/{right}".count("/") > 2
    return None if path else " "


_SIGNS = "".join(sorted({sign for key in _OPERATORS for sign in key}))
RULES = (
    Rule(r"(?<![\w^])\bC\+\+", lambda m: said("^c plus plus"), "+"),
    Rule(r"(?<![\w^])([A-GJXQ])#(?![\w#])", _sharp, "#"),
    Rule(r"#(?=[A-Za-z])", _hashtag, "#"),
    Rule(r"\bObjective-C\b", lambda m: said("objective ^c"), "-"),
    Rule(r"√\s?", _root, "√"),
    Rule(r"(?<=\bBoeing )(7\d7)-(\d{1,3})\b|\b(7\d7)-(\d00)\b", _aircraft, "7"),
    Rule(r"\b401\(?k\)?(?!\w)", lambda m: said("four oh one ^k"), "k"),
    Rule(r"\b([A-Z])(\d{1,3})\s?[-–]\s?(?=\1(\d{1,3})\b)", _seats, "-–"),
    Rule(r"\b0(?:[xX][\da-fA-F]+|b[01]+)\b", _figures, "0"),
    Rule(r"\b([A-Z])\.(\d{2,4})\b(?!\.\d)", _standard, "."),
    Rule(r"(?<=\b[a-z]\s)/(?=\s[a-z]\b)", lambda m: said("divided by"), "/"),
    Rule(r"\bmc\^2", lambda m: said("^m ^c squared"), "^"),
    Rule(r"(?<=[\d)]|\b[A-Za-z])\*\*(?=-?\d|[a-z]\b)", lambda m: "^", "*"),
    Rule(r"\+/-\s?", lambda m: said("plus or minus"), "+"),
    Rule(
        r"(?P<ten>(?<=[×x*]10)|(?<=[×x*]\s10))?(?<=[\w)\]])\^\(?(?P<sign>[-+])?(?P<n>\d+|[a-z](?![a-z]))\)?(?!\w|\^)(?<!m\^2)(?<!m\^3)"
        r"(?<!t\^2)(?<!n\^2)(?<!t\^3)(?<!n\^3)(?<!s\^2)",
        _power,
        "^",
    ),
    Rule(r"(?<=\bc)\^2(?!\d)|(?<=\b[a-ln-z])\^2(?!\d)", lambda m: said("squared"), "^"),
    Rule(r"(?<=[\w)])\^(?=[\w(-])(?![23]\b)", lambda m: said("to the power of"), "^"),
    Rule(r"\b([a-z]'?)\(([a-z])\)", _call, "("),
    Rule(
        r"(?:===|!==|==|!=|<=|>=|->|=>|<-|&&|\|\||\+\+|[-+*/:]=|<<|>>|::)(?![=<>|&])",
        _operator,
        _SIGNS,
    ),
    Rule(r"[≤≥≠→⇒←÷≈]", _operator, "≤≥≠→⇒←÷≈"),
    Rule(r"(?<=\b[a-z])--(?![\w-]|\s[A-Za-z])", lambda m: said("minus minus"), "-"),
    Rule(r"(?<![\w!?])!(?=[a-z]\b)", lambda m: said("not"), "!"),
    Rule(r"\b(?P<element>[A-Z][a-z]|H|K)(?P<charge>\d?)\+(?![\w+])", _ion, "+"),
    Rule(rf"\b(?:{_SALTS})\b", _salt, "aCBgnuei"),
    Rule(
        r"(?<![\w^.])(?=[A-Za-z()]{0,40}\d)"  # bounded: each of many parentheses looks ahead
        r"(?:[A-Z][a-z]?\d{0,3}|\((?:[A-Z][a-z]?\d{0,3})+\)\d){2,}(?![\w]|[.]\d)",
        _formula,
        "0",
    ),
)
NAMES = (
    Rule(
        r"(?<=\b(?:Boeing|Airbus) )\d{3}\b|\b7\d7(?=\s(?:MAX|Max|jets?|planes?|pilots?)\b)"
        r"|(?<=\b[A-Z]-)\d{3}\b",
        lambda m: said(_digits(m[0])),
        "0",
    ),
    Rule(r"(?<=[A-Za-z])[-–](?=\d)|(?<=\d)-(?=[A-Za-z])", lambda m: " ", "-–"),
    Rule(r"(?<![\w^.,$£€])(?=\w*[A-Za-z])(?=\w*\d)[A-Za-z\d]{2,}(?![\w]|\.\d)", _name, "0"),
)
LAST = (
    Rule(r"\^(?P<n>[23])", lambda m: said(_POWERS[m["n"]]), "^"),
    Rule(rf"(?<=[{HIDDEN}]\s)\s*[×x]\s*(?=\s[{HIDDEN}])", lambda m: said("times"), "×x"),
    Rule(r"[×±∓√]", _operator, "×±∓√"),
    Rule(rf"(?<=[\d{HIDDEN}])\s*Ω", lambda m: said("ohms"), "Ω"),
    Rule(r"Ω", lambda m: said("omega"), "Ω"),
    Rule(r"µ(?=[A-Za-z])", lambda m: said("micro"), "µ"),
    Rule(r"µ", lambda m: said("mu"), "µ"),
    Rule(
        r"(?<=[a-z]s)/(?=(?:second|minute|hour|day|night|week|month|year|person)\b)",
        lambda m: said("per"),
        "/",
    ),
    Rule(r"(?<=[A-Za-z])/(?=[A-Za-z])", _slash, "/"),
)
