"""Digits that name something and count nothing: telephone numbers, codes, cards, postal codes."""

import re

from mamtra_cli.text.number_words import digit_string
from mamtra_cli.text.places import state
from mamtra_cli.text.rules import Rule, after, before, said, word_after, word_before

_NAMING = (
    r"pin|zip|zip ?code|post ?code|postal code|code|passcode|password|isbn|issn|ssn|otp|serial|"
    r"serial number|account|account number|acct|passport|passport number|licence|license|"
    r"tracking|tracking number|confirmation|confirmation number|reference|reference number|ref|"
    r"card|card number|badge|badge number|extension|ext|vin|imei|sku|upc|phone|mobile|fax|tel|"
    r"number is|id"
)
_CALLING = frozenset(
    "call calls called calling dial dials dialed dialled dialing ring rang phone phoned text "
    "texted".split()
)
_GOES_ON = frozenset(
    "now for if or to and when in immediately right before at today first from on because".split()
)


def _groups(text: str) -> str:
    return ", ".join(digit_string(group) for group in re.findall(r"\d+", text))


def _telephone(match: re.Match[str]) -> str | None:
    digits = re.sub(r"\D", "", match[0])
    if re.fullmatch(r"\d+(?:-\d+){2,}", match[0]) and len(digits) < 3:
        return None
    sign = "plus " if match[0].startswith("+") else ""
    return said(sign + _groups(match[0]))


def _worded(match: re.Match[str]) -> str:
    """`1-800-FLOWERS`."""
    code = match["code"]
    spoken = f"{digit_string(code[0])} hundred" if code.endswith("00") else digit_string(code)
    first = f"{digit_string(match['one'])} " if match["one"] else ""
    return said(f"{first}{spoken}") + " " + match["word"].lower().replace("-", " ") + " "


def _called(match: re.Match[str]) -> str | None:
    """`Call 911 now`: digits; `call 300 people` counts."""
    words = [word.lower() for word in before(match)[-3:]]
    listed = words[-1:] in (["or"], ["and"]) and words[0] in _CALLING
    if not (listed or word_before(match) in _CALLING):
        return None
    following = word_after(match)
    if following and following.lower() not in _GOES_ON and after(match)[:1] not in ".,;:!?":
        return None
    return said(digit_string(match[0]))


def _code(match: re.Match[str]) -> str | None:
    if (
        match["name"].lower() in ("code", "card", "id", "ext", "phone", "mobile")
        and len(match["digits"]) < 3
    ):
        return None
    return f"{match['name']}{match['between']}{said(_groups(match['digits']))}"


def _postal(match: re.Match[str]) -> str | None:
    name = state(match["state"])
    if name is None:
        return None
    return f"{match['place']}{match['comma']}{said(name)}{said(_groups(match['zip']))}"


def _thousands(match: re.Match[str]) -> str | None:
    """`1 000 000`: blanks between thousands, where no telephone is called."""
    groups = match[0].split()
    if word_before(match) in _CALLING or (before(match) and before(match)[-1][-1:].isdigit()):
        return None
    if len(groups) == 2 and not groups[1].endswith("00"):
        return None
    return match[0].replace(" ", "")


_PLACE = r"(?P<place>\b[A-Z](?:[a-z]+|[A-Z]))"
RULES = (
    Rule(r"(?<![\w.,])[1-9]\d{0,2}(?: \d{3})+(?![\w]|[.,]\d| \d)", _thousands, "0"),
    Rule(
        rf"{_PLACE}(?P<comma>,?\s)(?P<state>[A-Z]{{2}})\s(?P<zip>\d{{5}}(?:-\d{{4}})?)\b",
        _postal,
        "0",
    ),
    Rule(
        r"(?<![\w-])(?:(?P<one>1)[- ])?\(?(?P<code>8\d\d|900)\)?[- ](?P<word>[A-Z]{3,}(?:-?"
        r"[A-Z]+)*)(?!\w)",
        _worded,
        "0",
    ),
    Rule(
        r"(?<![\w.,-])(?:"
        r"\+\d[\d ()-]{6,20}\d|"
        r"(?:\+?\d{1,2}[ -])?\(\d{3}\)\s?\d{3}[ -]\d{4}|"
        r"\(0\d{2,4}\)\s?\d{3,4}(?:[ -]?\d{3,4})?|0\d{2,4}/\d{4,8}|"
        r"(?:\d{1,2}[ -])?\d{3}([-. ])\d{3}\1\d{4}|"
        r"\d{3}-\d{4}|"
        r"0\d{2,4}(?:[ -]\d{3,6})+|"
        r"(?:1[38]00|800)(?:[ -]\d{3,4}){2}|"
        r"\d{4}(?:[ -]\d{4}){2,}|"
        r"\d+(?:-\d+){2,}"
        r")(?![\w-]|[.,]\d)",
        _telephone,
        "0",
    ),
    Rule(r"(?<![\w.,])\d{3,6}(?![\w%°]|[.,:/-]\d|\s?[-–]\s?\d)", _called, "0"),
    Rule(
        rf"\b(?P<name>(?i:{_NAMING}))(?P<between>(?:\s(?:number|no\.|is|was|code))?:?\s#?)"
        r"(?P<digits>\d{3,}(?:[ -]\d{3,})*)(?![\w%°]|[.,:/]\d)",
        _code,
        "0",
    ),
)
